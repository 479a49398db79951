"""compare_models: the same folds for all, scores from kept predictions, failures, inputs."""

import traceback

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import average_precision_score, fbeta_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skcyto.exceptions import MissingClassWarning
from skcyto.metrics import get_scorers
from skcyto.model_selection import (
    ModelComparison,
    OptunaSearchCV,
    RepeatedStratifiedGroupKFold,
    compare_models,
)
from skcyto.model_selection._comparison._candidates import seed_estimator

DEFAULT = [
    *("accuracy", "precision_macro", "recall_macro", "f1_macro", "average_f1"),
    *("balanced_accuracy", "roc_auc_ovr", "average_precision_macro", "log_loss", "brier_score"),
    "expected_calibration_error",
]


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(
        150,
        6,
        n_informative=4,
        n_classes=3,
        weights=[0.6, 0.3, 0.1],
        class_sep=1.5,
        random_state=0,
    )
    return X, np.array(["healthy", "rubbish", "unhealthy"])[y]


@pytest.fixture(scope="module")
def models():
    return {
        "majority": DummyClassifier(),
        "naive Bayes": GaussianNB(),
        "tree": DecisionTreeClassifier(max_depth=4),
    }


@pytest.fixture(scope="module")
def comparison(data, models):
    return compare_models(models, *data, random_state=0)


class ByMean(ClassifierMixin, BaseEstimator):
    """Classifies anything with a length by a number that it makes of every item."""

    def __init__(self, number=float):
        self.number = number

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        values = np.array([self.number(item) for item in X])
        self.centres_ = np.array([values[y == label].mean() for label in self.classes_])
        return self

    def predict(self, X):
        values = np.array([self.number(item) for item in X])
        return self.classes_[np.abs(values[:, None] - self.centres_).argmin(axis=1)]


class FailsOn(ClassifierMixin, BaseEstimator):
    """Fails where the training cases hold a certain value."""

    def __init__(self, value=None, message="out of luck"):
        self.value = value
        self.message = message

    def fit(self, X, y):
        if self.value is None or self.value in X[:, 0]:
            raise RuntimeError(self.message)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def test_default_scores_and_folds(comparison, data):
    _, y = data
    assert comparison.metrics == DEFAULT + [f"recall[{label}]" for label in np.unique(y)]
    assert comparison.models == ["majority", "naive Bayes", "tree"]
    assert comparison.primary_metric == "f1_macro"
    # Two rounds of five folds, each testing every case once.
    assert len(comparison.splits.splits) == 10
    kept = comparison.out_of_fold("tree")
    for _, tested in kept.groupby("repeat")["sample"]:
        assert sorted(tested) == list(range(len(y)))
    assert comparison.scores.shape == (30, 14)
    assert comparison.scores.index.names == ["model", "repeat", "fold"]
    assert comparison.times.to_numpy().min() > 0


def test_scores_are_those_of_cross_validate(data, models):
    X, y = data
    cv = StratifiedKFold(4, shuffle=True, random_state=3)
    scoring = get_scorers()
    tree = DecisionTreeClassifier(max_depth=3, random_state=1)
    found = compare_models({"tree": tree}, X, y, cv=cv).scores
    expected = cross_validate(tree, X, y, cv=cv, scoring=scoring)
    for name in scoring:
        sign = -1 if name.startswith("neg_") else 1
        np.testing.assert_allclose(
            found[name.removeprefix("neg_")], sign * expected[f"test_{name}"], err_msg=name
        )


@pytest.mark.parametrize(
    "scoring",
    [
        "roc_auc_ovr_weighted",
        ["f1_weighted", "neg_log_loss", "matthews_corrcoef"],
        # Before 1.9, scikit-learn looks for pos_label among the labels even where it means nothing.
        {
            "f2": make_scorer(fbeta_score, beta=2, average="macro", pos_label=None),
            "top": "top_k_accuracy",
        },
    ],
)
def test_any_scikit_learn_scorer(data, scoring):
    X, y = data
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    found = compare_models({"nb": GaussianNB()}, X, y, cv=cv, scoring=scoring)
    expected = cross_validate(GaussianNB(), X, y, cv=cv, scoring=scoring)
    if isinstance(scoring, str):
        np.testing.assert_allclose(found.scores[scoring], expected["test_score"])
        assert found.primary_metric == scoring
        return
    for name in scoring:
        sign = -1 if name.startswith("neg_") else 1
        np.testing.assert_allclose(
            found.scores[name.removeprefix("neg_")], sign * expected[f"test_{name}"]
        )
    found.bootstrap(metric=next(iter(scoring)), n_resamples=10)


def test_a_scorer_of_the_fitted_estimator(data):
    X, y = data

    def depth(estimator, X, y):
        return estimator.get_depth()

    found = compare_models(
        {"tree": DecisionTreeClassifier(max_depth=2)}, X, y, scoring=depth, cv=3, random_state=0
    )
    assert found.metrics == ["depth"]
    assert set(found.scores["depth"]) == {2.0}
    with pytest.raises(ValueError, match="needs the fitted estimator"):
        found.bootstrap()


def test_a_score_that_cannot_be_had_fails_before_anything_is_fitted(data):
    for scoring in ("f1", {"binary": "precision"}):
        with pytest.raises(ValueError, match=r"Target is multiclass|not a valid label"):
            compare_models({"never fitted": FailsOn()}, *data, scoring=scoring)


def test_a_score_that_one_fold_cannot_have_loses_no_other(data):
    X, y = data
    rows = np.concatenate([np.flatnonzero(y != "unhealthy"), np.flatnonzero(y == "unhealthy")[:3]])
    with pytest.warns(MissingClassWarning, match="means over the folds that hold every class"):
        found = compare_models(
            {"nb": GaussianNB()}, X[rows], y[rows], cv=5, random_state=0, scoring="roc_auc_ovo"
        )
    assert found.scores["roc_auc_ovo"].isna().sum() == 2
    assert np.isfinite(found.table().iloc[0, 0])


def test_n_jobs_changes_nothing(data, models, comparison):
    candidates = {**models, "forest": RandomForestClassifier(15)}
    one = compare_models(candidates, *data, random_state=0, n_jobs=1)
    two = compare_models(candidates, *data, random_state=0, n_jobs=2)
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    for name in candidates:
        pd.testing.assert_frame_equal(
            one.out_of_fold(name), two.out_of_fold(name), check_exact=True
        )
    # Another candidate beside them changes nothing for the rest.
    pd.testing.assert_frame_equal(
        one.scores.loc[comparison.models], comparison.scores, check_exact=True
    )


def test_every_candidate_gets_the_seed_of_the_fold(data):
    forest = RandomForestClassifier(10)
    twice = compare_models({"a": forest, "b": forest}, *data, random_state=1, cv=3)
    np.testing.assert_array_equal(twice.fold_scores("a"), twice.fold_scores("b"))
    other = compare_models({"a": forest}, *data, random_state=2, cv=3)
    assert not np.array_equal(twice.fold_scores("a"), other.fold_scores("a"))
    # A seed that the user set is kept.
    fixed = RandomForestClassifier(10, random_state=5)
    splits = twice.splits.splits
    found = compare_models({"a": fixed}, *data, random_state=9, cv=splits)
    expected = cross_validate(fixed, *data, cv=splits, scoring="f1_macro")["test_score"]
    np.testing.assert_allclose(found.fold_scores("a"), expected)
    assert forest.random_state is None


@pytest.mark.parametrize(
    "splitter",
    [
        StratifiedKFold(3, shuffle=True),
        StratifiedShuffleSplit(3, test_size=0.3),
        RepeatedStratifiedKFold(n_splits=2, n_repeats=2),
        RepeatedStratifiedGroupKFold(n_splits=2, n_repeats=2),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_a_splitter_inside_a_candidate_gets_a_seed(data, splitter):
    X, y = data
    search = GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2, 3, 5, 8]}, cv=splitter)
    candidates = {"search": search, "in a pipeline": make_pipeline(StandardScaler(), search)}
    before = dict(vars(splitter))
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    groups = np.arange(len(y)) if "Group" in type(splitter).__name__ else None

    def run(seed, **options):
        return compare_models(
            candidates,
            *(X, y),
            groups=groups,
            cv=3,
            random_state=seed,
            scoring="neg_log_loss",
            **options,
        )

    one, two = run(0), run(0, n_jobs=2)
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    # The user's own object is as it was.
    assert search.cv is splitter
    assert vars(splitter) == before


def test_only_splitters_that_draw_at_random_get_a_seed():
    def seeded(splitter):
        search = GridSearchCV(GaussianNB(), {}, cv=splitter)
        return seed_estimator(search, 3).cv

    for splitter in (
        StratifiedKFold(3),
        StratifiedKFold(3, shuffle=True, random_state=5),
        ShuffleSplit(random_state=np.random.RandomState(1)),
        LeaveOneOut(),
        [([0], [1])],
        5,
        None,
    ):
        assert seeded(splitter) is splitter
    given = ShuffleSplit(3)
    seeds = {seeded(given).random_state, seeded(StratifiedKFold(3, shuffle=True)).random_state}
    assert len(seeds) == 1
    assert seeds != {None}
    assert given.random_state is None
    other = seed_estimator(GridSearchCV(GaussianNB(), {}, cv=given), 4).cv
    assert other.random_state not in seeds


def test_global_random_state_is_left_alone(data, models):
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    compare_models(models, *data, random_state=0, cv=3)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_one_failing_candidate_is_reported_and_loses_nothing(data, models, comparison):
    X, y = data
    candidates = {"broken": FailsOn(), **models, "on one fold": FailsOn(X[0, 0])}
    with pytest.warns(FitFailedWarning, match=r"'broken' on 10 of 10 folds.*out of luck"):
        found = compare_models(candidates, X, y, random_state=0)
    assert found.models == list(models)
    pd.testing.assert_frame_equal(found.table(), comparison.table())
    assert set(found.failures) == {"broken", "on one fold"}
    assert len(found.failures["on one fold"]) == 8
    failure = found.failures["broken"][0]
    assert failure.error == "RuntimeError: out of luck"
    assert "in fit" in failure.traceback
    # The folds that went well are still there to be looked at, but enter no mean.
    assert found.scores.loc["on one fold"]["accuracy"].notna().sum() == 2
    with pytest.raises(ValueError, match=r"'broken' failed: RuntimeError: out of luck"):
        found.fold_scores("broken")
    named = found.ttest(reference="majority")
    assert set(named.index.get_level_values("reference")) == {"majority"}


def test_no_other_takes_the_place_of_a_reference_that_failed(data):
    candidates = {"ce": FailsOn(), "focal": GaussianNB(), "ldam": DecisionTreeClassifier()}
    with pytest.warns(FitFailedWarning):
        found = compare_models(candidates, *data, cv=3, random_state=0, scoring="accuracy")
    message = r"'ce', is the reference and failed: RuntimeError: out of luck.*\['focal', 'ldam'\]"
    for method in ("ttest", "bayesian", "delong", "mcnemar", "bootstrap", "plot_scores"):
        with pytest.raises(ValueError, match=message):
            getattr(found, method)()
    # A named one or all pairs are what was asked for.
    for method in ("ttest", "bayesian", "delong", "mcnemar"):
        for reference in ("focal", "all"):
            table = getattr(found, method)(reference=reference)
            assert set(table.index.droplevel(list(range(2, table.index.nlevels)))) == {
                ("ldam", "focal")
            }
    assert list(found.bootstrap(reference="ldam", n_resamples=20).index) == ["focal", "ldam"]


def test_a_first_candidate_without_scores_is_no_reference_for_areas(data):
    candidates = {"mean": ByMean(np.mean), "nb": GaussianNB(), "ridge": RidgeClassifier()}
    found = compare_models(candidates, *data, cv=3, random_state=0, scoring="accuracy")
    with pytest.raises(ValueError, match=r"'mean', gives no scores.*name one of \['nb', 'ridge'\]"):
        found.delong()
    assert {pair[:2] for pair in found.delong(reference="nb").index} == {("ridge", "nb")}
    only = compare_models({"mean": ByMean(np.mean)}, *data, cv=3, random_state=0)
    with pytest.raises(ValueError, match=r"'mean', gives no scores.*nor does any other model"):
        only.delong()


def test_when_all_fail_the_first_traceback_is_shown(data):
    with pytest.raises(ValueError, match="every candidate failed") as caught:
        compare_models({"a": FailsOn(), "b": FailsOn(message="b")}, *data, cv=3)
    assert "raise RuntimeError(self.message)" in "".join(traceback.format_exception(caught.value))


def test_a_single_fold_failure_is_enough_to_be_left_out(data):
    X, y = data
    candidates = {"nb": GaussianNB(), "sometimes": FailsOn(X[0, 0])}
    with pytest.warns(FitFailedWarning):
        found = compare_models(candidates, X, y, cv=3, random_state=0)
    assert found.models == ["nb"]
    assert found.ttest().empty
    assert found.bayesian().empty
    assert found.delong().empty
    assert found.mcnemar().empty


def images(n=40):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], n // 2)
    return (rng.integers(0, 120, (n, 6, 6, 3)) + 80 * y[:, None, None, None]).astype(np.uint8), y


def test_arrays_of_images():
    X, y = images()
    found = compare_models({"mean": ByMean(np.mean)}, X, y, cv=4, random_state=0)
    assert found.table("accuracy").loc["mean", ("accuracy", "mean")] > 0.9


def test_lists_of_paths(tmp_path):
    X, y = images(20)
    paths = []
    for number, image in enumerate(X):
        np.save(tmp_path / f"{number}.npy", image)
        paths.append(str(tmp_path / f"{number}.npy"))
    found = compare_models(
        {"mean": ByMean(lambda path: np.load(path).mean())}, paths, list(y), cv=4, random_state=0
    )
    assert found.table("accuracy").loc["mean", ("accuracy", "mean")] > 0.9


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_data_frames_reach_the_estimators_as_frames(data, kind):
    X, y = data
    names = [f"feature {i}" for i in range(X.shape[1])]
    frame = kind({name: X[:, i] for i, name in enumerate(names)})
    seen = []

    class Look(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            seen.append((type(X), list(X.columns)))
            return self

        def transform(self, X):
            return np.asarray(X)

    found = compare_models(
        {"nb": make_pipeline(Look(), GaussianNB())}, frame, pd.Series(y), cv=3, random_state=0
    )
    assert set(map(str, seen)) == {str((kind, names))}
    plain = compare_models({"nb": GaussianNB()}, X, y, cv=3, random_state=0)
    np.testing.assert_allclose(found.fold_scores("nb"), plain.fold_scores("nb"))


@pytest.mark.parametrize(
    "labels", [[True, False, True], [10, -3, 7], ["c", "a", "b"], [0.0, 2.0, 1.0]]
)
def test_labels_of_any_type(data, labels):
    X, y = data
    coded = np.unique(y, return_inverse=True)[1]
    named = np.asarray(labels)[coded]
    found = compare_models({"nb": GaussianNB()}, X, named, cv=3, random_state=0)
    predictions = found.out_of_fold("nb")
    assert set(predictions["y_pred"].tolist()) <= set(labels)
    assert f"recall[{labels[1]}]" in found.metrics
    # Two of the boolean labels are one class.
    if len(set(labels)) == 3:
        reference = compare_models({"nb": GaussianNB()}, X, y, cv=3, random_state=0)
        assert found.table("accuracy").iloc[0, 0] == pytest.approx(
            reference.table("accuracy").iloc[0, 0], abs=0.05
        )


def test_out_of_fold_predictions_are_those_of_the_fold(data):
    X, y = data
    found = compare_models({"nb": GaussianNB()}, X, y, cv=3, random_state=0)
    train, test = found.splits.splits[1]
    model = GaussianNB().fit(X[train], y[train])
    kept = found.out_of_fold("nb").query("fold == 1")
    np.testing.assert_array_equal(kept["sample"], test)
    np.testing.assert_array_equal(kept["y_pred"], model.predict(X[test]))
    columns = [f"predict_proba[{label}]" for label in found.classes]
    np.testing.assert_allclose(kept[columns], model.predict_proba(X[test]), atol=1e-12)


def test_models_without_probabilities_keep_their_ranking(data):
    X, y = data
    found = compare_models(
        {"ridge": RidgeClassifier(), "svc": SVC(), "mean": ByMean(np.mean)}, X, y, random_state=0
    )
    table = found.table()
    assert table.loc[["ridge", "svc"], ("roc_auc_ovr", "mean")].notna().all()
    assert np.isnan(table.loc["mean", ("roc_auc_ovr", "mean")])
    assert table["log_loss"].isna().all(axis=None)
    assert list(found.plot_roc().curves) == ["ridge", "svc"]
    with pytest.raises(ValueError, match="gives neither probabilities nor decision values"):
        found.plot_roc(models=["mean"])
    assert "decision_function[healthy]" in found.out_of_fold("svc")
    # One-against-one values belong to pairs of classes: with three classes they look like scores.
    pairs = compare_models({"svc": SVC(decision_function_shape="ovo")}, X, y, cv=3, random_state=0)
    with pytest.raises(ValueError, match="no model gives probabilities or decision values"):
        pairs.plot_roc()


def test_binary_decision_values(data):
    X, y = data
    rare = y == "unhealthy"
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    found = compare_models({"ridge": RidgeClassifier()}, X, rare, cv=cv)
    expected = cross_validate(RidgeClassifier(), X, rare, cv=cv, scoring="roc_auc")["test_score"]
    np.testing.assert_allclose(found.scores["roc_auc_ovr"], expected)


class Crooked(GaussianNB):
    """Gives logits for probabilities, as nets without their last layer do."""

    def predict_proba(self, X):
        return super().predict_log_proba(X)


def test_logits_in_place_of_probabilities_are_refused(data):
    with pytest.warns(FitFailedWarning, match="rows that are no probabilities"):
        compare_models({"nb": GaussianNB(), "logits": Crooked()}, *data, cv=3, random_state=0)


class Single(GaussianNB):
    """Rounds its probabilities as float32 nets do."""

    def predict_proba(self, X):
        return super().predict_proba(X).astype(np.float32)


def test_float32_probabilities_score_like_float64(data):
    found = compare_models({"a": GaussianNB(), "b": Single()}, *data, cv=3, random_state=0)
    np.testing.assert_allclose(
        found.scores.loc["a", "log_loss"], found.scores.loc["b", "log_loss"], rtol=1e-4
    )


def test_a_class_that_a_fold_lacks(data):
    X, y = data
    rows = np.concatenate([np.flatnonzero(y != "unhealthy"), np.flatnonzero(y == "unhealthy")[:3]])
    with pytest.warns(MissingClassWarning, match=r"test part lacks class 'unhealthy' in 2"):
        found = compare_models({"nb": GaussianNB()}, X[rows], y[rows], cv=5, random_state=0)
    scores = found.scores
    assert scores["roc_auc_ovr"].isna().sum() == 2
    assert scores["recall[unhealthy]"].isna().sum() == 2
    assert scores["log_loss"].notna().all()
    assert found.table("roc_auc_ovr").notna().all(axis=None)
    assert len(found.plot_roc().curves["nb"]) == 3


def test_a_class_that_training_lacks_has_probability_zero(data):
    X, y = data
    rare = np.flatnonzero(y == "unhealthy")
    rest = np.flatnonzero(y != "unhealthy")
    cv = [(rest[20:], np.concatenate([rest[:20], rare]))]
    with pytest.warns(MissingClassWarning, match="training part lacks class 'unhealthy'"):
        found = compare_models({"nb": GaussianNB(), "ridge": RidgeClassifier()}, X, y, cv=cv)
    kept = found.out_of_fold("nb")
    assert (kept["predict_proba[unhealthy]"] == 0).all()
    assert found.scores["recall[unhealthy]"].tolist() == [0, 0]
    values = found.out_of_fold("ridge").filter(like="decision_function")
    assert values.idxmin(axis=1).eq("decision_function[unhealthy]").all()


def test_other_splitters(data):
    X, y = data
    shuffled = compare_models(
        {"nb": GaussianNB(), "majority": DummyClassifier()},
        X,
        y,
        cv=ShuffleSplit(4, test_size=0.5, random_state=0),
    )
    assert shuffled.splits.test_train_ratio == 1.0
    assert shuffled.splits.repeat.tolist() == [0, 1, 2, 3]
    assert shuffled.ttest(metric="accuracy")["df"].item() == 3
    with pytest.warns(UserWarning, match="few cases of a class"):
        shuffled.delong()
    shuffled.mcnemar()
    shuffled.bootstrap(n_resamples=20)


def test_leaving_one_out_scores_what_one_case_allows(data):
    X, y = data
    with pytest.warns(MissingClassWarning, match="undefined there"):
        found = compare_models(
            {"majority": DummyClassifier(), "nb": GaussianNB()},
            X[:60],
            y[:60],
            cv=LeaveOneOut(),
        )
    hits = found.out_of_fold("nb").eval("y_true == y_pred")
    assert found.table("accuracy").loc["nb", ("accuracy", "mean")] == pytest.approx(hits.mean())
    assert found.table("roc_auc_ovr").loc["nb"].isna().all()
    # Every case has its own model: their scores make no common order.
    with pytest.raises(ValueError, match=r"classes 'healthy', .*: no test part holds both classes"):
        found.delong()
    with pytest.raises(
        ValueError, match=r"no test part holds two classes.* no ROC AUC in any fold"
    ):
        found.bootstrap(metric="roc_auc_ovr", n_resamples=50)
    # What counts cases needs no order.
    assert found.mcnemar()["pvalue"].notna().all()


def test_noise_is_no_better_than_the_majority_by_pooled_areas():
    # In one ranking over ten folds, the majority's area is far below one half: folds with fewer
    # positive cases in training test more of them.
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1], [60, 20]))
    X = rng.normal(size=(80, 4))
    with pytest.warns(MissingClassWarning):
        found = compare_models(
            {"majority": DummyClassifier(), "neighbours": KNeighborsClassifier(7)},
            *(X, y),
            cv=KFold(10, shuffle=True, random_state=0),
            random_state=0,
            scoring=["roc_auc_ovr", "f1_macro"],
        )
    kept = found.out_of_fold("majority")
    assert roc_auc_score(kept["y_true"], kept["predict_proba[1]"]) < 0.4
    row = found.delong().loc[("neighbours", "majority", 1)]
    assert row["auc_reference"] == pytest.approx(0.5)
    assert row["pvalue"] > 0.05
    kept = found.out_of_fold("neighbours")
    wins = pairs = 0
    for _, fold in kept.groupby("fold"):
        ill, well = (fold.loc[fold["y_true"] == code, "predict_proba[1]"] for code in (1, 0))
        difference = ill.to_numpy()[:, None] - well.to_numpy()
        wins += np.sum(difference > 0) + 0.5 * np.sum(difference == 0)
        pairs += difference.size
    assert row["auc"] == pytest.approx(wins / pairs)
    table = found.bootstrap(metric="roc_auc_ovr", n_resamples=60)
    assert table.loc["majority", "estimate"] == pytest.approx(0.5)
    assert table.loc["neighbours", "estimate"] == pytest.approx(wins / pairs)
    low, high = table.loc["neighbours", ["difference_low", "difference_high"]]
    assert low < 0 < high


def test_five_of_five_is_not_certain():
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [5, 35])
    X = rng.normal(size=(40, 2))
    X[:, 0] += 12 * y
    found = compare_models(
        {"lr": LogisticRegression(), "majority": DummyClassifier()}, X, y, random_state=0
    )
    row = found.table().loc["lr"]
    # Mid-P: half of p**5 is 0.025. Clopper and Pearson say 0.478 to 1.
    assert row["recall[1]", "ci_low"] == pytest.approx(0.05 ** (1 / 5))
    assert row["recall[1]", "ci_high"] == 1
    # Of the others, too, less is known than 35 of 35 says: the models learned from four rare cases.
    # Five folds a round: up to 1 + 5 / 4 of the variance.
    assert row["recall[0]", "ci_low"] == pytest.approx(0.05 ** (2.25 / 35))
    assert row["roc_auc_ovr", "mean"] == 1
    assert 0.7 < row["roc_auc_ovr", "ci_low"] < 0.9
    assert row["f1_macro", "ci_low"] < 0.9
    with pytest.warns(UserWarning, match="same in all folds for majority less lr"):
        test = found.ttest(metric="recall[1]").loc[("majority", "lr")]
    assert test["difference"] == -1
    assert test[["t", "pvalue", "p_holm", "ci_low", "ci_high"]].isna().all()
    assert found.bayesian(metric="recall[1]")[["p_better", "p_worse"]].isna().all(axis=None)
    with pytest.warns(UserWarning, match="no variance, and so no p-value, for majority and lr"):
        areas = found.delong().loc[("majority", "lr", 1)]
    assert areas["difference"] == -0.5
    assert areas[["t", "pvalue", "ci_low"]].isna().all()


def test_recalls_have_their_interval_by_patient_where_there_are_groups():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 4)
    y = (patient < 6).astype(int)
    X = rng.normal(size=(120, 2))
    X[:, 0] += 12 * y
    alone = compare_models({"lr": LogisticRegression()}, X, y, random_state=0)
    grouped = compare_models({"lr": LogisticRegression()}, X, y, groups=patient, random_state=0)
    for found, units in ((alone, 24), (grouped, 6)):
        low = found.table("recall[1]").loc["lr", ("recall[1]", "ci_low")]
        assert low == pytest.approx(0.05 ** (1 / units))


def test_scores_of_ones_own_end_at_their_bounds(data):
    def nearly(y_true, y_pred):
        return 10 - np.mean(y_true != y_pred)

    X, y = data
    scoring = {"points": make_scorer(nearly)}
    candidates = {"tree": DecisionTreeClassifier(max_depth=3)}
    free = compare_models(candidates, X, y, scoring=scoring, random_state=0)
    high = free.table().loc["tree", ("points", "ci_high")]
    cut = compare_models(
        candidates, X, y, scoring=scoring, bounds={"points": (0, high - 0.01)}, random_state=0
    )
    assert cut.table().loc["tree", ("points", "ci_high")] == pytest.approx(high - 0.01)
    for bounds, message in (
        ({"accuracy": (0, 1)}, r"bounds names \['accuracy'\], which are not scored"),
        ({"points": (1, 0)}, r"bounds\['points'\]=\(1, 0\) must be a smaller and a larger"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_models(candidates, X, y, scoring=scoring, bounds=bounds)


def test_grid_over_one_pipeline(data):
    pipeline = make_pipeline(StandardScaler(), DecisionTreeClassifier())
    found = compare_models(
        (
            pipeline,
            {
                "decisiontreeclassifier__max_depth": [1, 3],
                "standardscaler": ["passthrough", StandardScaler()],
                "decisiontreeclassifier__criterion": ["gini"],
            },
        ),
        *data,
        cv=3,
        random_state=0,
    )
    # Only what varies is in the names.
    assert found.models == [
        "max_depth=1, standardscaler=passthrough",
        "max_depth=1, standardscaler=StandardScaler()",
        "max_depth=3, standardscaler=passthrough",
        "max_depth=3, standardscaler=StandardScaler()",
    ]
    assert found.estimators[found.models[2]].named_steps["decisiontreeclassifier"].max_depth == 3
    assert pipeline.named_steps["decisiontreeclassifier"].max_depth is None


def test_a_search_is_a_candidate_like_any_other(data):
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 4]}, cv=3)
    found = compare_models({"search": search, "nb": GaussianNB()}, *data, cv=3, random_state=0)
    assert found.models == ["search", "nb"]
    assert not hasattr(search, "best_params_")


class CountedScaler(StandardScaler):
    fits = 0

    def fit(self, X, y=None, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


def test_memory_fits_a_shared_step_once_a_fold(data, tmp_path):
    candidates = {
        f"depth {depth}": make_pipeline(CountedScaler(), DecisionTreeClassifier(max_depth=depth))
        for depth in (1, 2, 3)
    }
    CountedScaler.fits = 0
    plain = compare_models(candidates, *data, cv=3, random_state=0)
    assert CountedScaler.fits == 9
    CountedScaler.fits = 0
    cached = compare_models(candidates, *data, cv=3, random_state=0, cache=tmp_path)
    assert CountedScaler.fits == 3
    pd.testing.assert_frame_equal(plain.scores, cached.scores)


def test_results_survive_pickling(comparison):
    import pickle

    again = pickle.loads(pickle.dumps(comparison))
    assert isinstance(again, ModelComparison)
    pd.testing.assert_frame_equal(again.ttest(), comparison.ttest())
    assert "3 models on 150 cases" in repr(again)


def test_verbose_shows_progress(data, capsys):
    compare_models({"nb": GaussianNB()}, *data, cv=3, random_state=0, verbose=1)
    assert "comparing" in capsys.readouterr().err
    compare_models({"nb": GaussianNB()}, *data, cv=3, random_state=0)
    assert capsys.readouterr().err == ""


def test_calibration_shows_in_the_calibration_error(data):
    X, y = data
    found = compare_models(
        {
            "tree": DecisionTreeClassifier(),
            "calibrated": CalibratedClassifierCV(DecisionTreeClassifier(), cv=3),
        },
        X,
        y,
        random_state=0,
    )
    means = found.table("neg_expected_calibration_error")["expected_calibration_error"]["mean"]
    assert means["calibrated"] < means["tree"]
    # For a loss, smaller is better.
    assert found.bayesian(metric="log_loss").loc[("calibrated", "tree"), "p_better"] > 0.9
    assert found.ttest(metric="log_loss").loc[("calibrated", "tree"), "difference"] < 0


X_SMALL, Y_SMALL = np.random.default_rng(0).normal(size=(20, 2)), np.repeat(["a", "b"], 10)
NB = {"nb": GaussianNB()}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (({}, X_SMALL, Y_SMALL), {}, ValueError, "estimators is empty"),
        (([GaussianNB()], X_SMALL, Y_SMALL), {}, TypeError, "must be a dict"),
        (({"nb": GaussianNB}, X_SMALL, Y_SMALL), {}, TypeError, r"estimators\['nb'\] must be"),
        (({"s": StandardScaler()}, X_SMALL, Y_SMALL), {}, TypeError, "must be a classifier"),
        (({1: GaussianNB()}, X_SMALL, Y_SMALL), {}, TypeError, "must be a string"),
        (((GaussianNB(), {"C": [1]}), X_SMALL, Y_SMALL), {}, ValueError, r"grid sets \['C'\]"),
        ((NB, X_SMALL[:9], Y_SMALL), {}, ValueError, "inconsistent numbers of samples"),
        ((NB, X_SMALL, np.arange(20) / 7), {}, ValueError, "y is continuous"),
        ((NB, X_SMALL, ["a"] * 20), {}, ValueError, "one class only, 'a'"),
        ((NB, X_SMALL, [None, *["a", "b"] * 9, "a"]), {}, ValueError, "missing labels in 1"),
        ((NB, X_SMALL, Y_SMALL), {"groups": [np.nan, *range(19)]}, ValueError, "missing for 1"),
        ((NB, X_SMALL, Y_SMALL), {"scoring": "nope"}, ValueError, "scoring='nope' is unknown"),
        ((NB, X_SMALL, Y_SMALL), {"scoring": []}, ValueError, "scoring is empty"),
        ((NB, X_SMALL, Y_SMALL), {"scoring": ["accuracy"] * 2}, ValueError, "twice"),
        ((NB, X_SMALL, Y_SMALL), {"scoring": {"a": 3}}, TypeError, r"scoring\['a'\] must be"),
        ((NB, X_SMALL, Y_SMALL), {"cv": []}, ValueError, "gives no fold"),
        ((NB, X_SMALL, Y_SMALL), {"cv": [([0, 1], [1, 2])]}, ValueError, "tests 1 rows that it"),
        ((NB, X_SMALL, Y_SMALL), {"cv": [([0, 1], [2, 99])]}, ValueError, "rows outside 0 to 19"),
        ((NB, X_SMALL, Y_SMALL), {"cv": [([0, 1], [2, 2])]}, ValueError, "tests a row twice"),
        ((NB, X_SMALL, Y_SMALL), {"cv": [([0, 1], [])]}, ValueError, "has no test rows"),
        ((NB, X_SMALL, Y_SMALL), {"params": {"groups": Y_SMALL}}, ValueError, "as groups="),
        ((NB, X_SMALL, Y_SMALL), {"params": {"w": [1, 2]}}, ValueError, r"params\['w'\] must"),
        ((NB, X_SMALL, Y_SMALL), {"params": {"w": [1] * 20}}, ValueError, "takes no"),
    ],
)
def test_bad_input_is_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        compare_models(*arguments, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.ttest(reference="x"), "there is no model 'x'; there are"),
        (lambda c: c.ttest(metric="x"), "'x' was not scored; there are"),
        (lambda c: c.table(["accuracy", "x"]), "'x' was not scored"),
        (lambda c: c.bayesian(rope=-1), "rope=-1"),
        (lambda c: c.table(confidence_level=95), "confidence_level=95"),
        (lambda c: c.plot_roc(pos_label="x"), "pos_label='x' is no class"),
        (lambda c: c.plot_roc(models=["x"]), "there is no model 'x'"),
        (lambda c: c.plot_critical_difference({}), "at least two data sets"),
        (lambda c: c.plot_critical_difference({"this": c}), "also the name of another data set"),
    ],
)
def test_bad_questions_are_named(comparison, call, message):
    with pytest.raises(ValueError, match=message):
        call(comparison)


def test_logistic_regression_is_tested_against_all_pairs(data):
    found = compare_models(
        {"a": GaussianNB(), "b": DummyClassifier(), "c": LogisticRegression()},
        *data,
        random_state=0,
    )
    pairs = found.ttest(reference="all")
    assert list(pairs.index) == [("b", "a"), ("c", "a"), ("c", "b")]
    # Holm over the three rows, by its definition.
    p = pairs["pvalue"].to_numpy()
    order = np.argsort(p)
    expected = np.empty(3)
    expected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.array([3, 2, 1])))
    np.testing.assert_allclose(pairs["p_holm"], expected, atol=1e-12)
    against = found.ttest(reference="b")
    assert list(against.index) == [("a", "b"), ("c", "b")]
    # The intervals of the table and of the tests come from the same variance.
    row = against.loc[("a", "b")]
    assert (row["ci_low"] + row["ci_high"]) / 2 == pytest.approx(row["difference"])
    np.testing.assert_allclose(
        row["difference"], (found.fold_scores("a") - found.fold_scores("b")).mean()
    )


def test_a_frozen_model_is_a_candidate(data):
    """A published model takes part as it is: its scores are those of its own predictions."""
    X, y = data
    published = GaussianNB().fit(X[:60], y[:60])
    found = compare_models(
        {"published": FrozenEstimator(published), "mine": GaussianNB()}, X, y, cv=3, random_state=0
    )
    assert found.models == ["published", "mine"]
    kept = found.out_of_fold("published").sort_values("sample")
    assert (kept["y_pred"].to_numpy() == published.predict(X)).all()


# Labels and groups of other kinds --------------------------------------------------------------


class Counting(ClassifierMixin, BaseEstimator):
    """Takes the labels 0, 1, ..., without a gap, as XGBClassifier does, with its message."""

    def fit(self, X, y):
        found = np.unique(y)
        expected = np.arange(len(found))
        if found.dtype.kind not in "iu" or (found != expected).any():
            raise ValueError(
                "Invalid classes inferred from unique values of `y`.  "
                f"Expected: {expected}, got {found}"
            )
        self.classes_ = expected
        self.tree_ = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
        return self

    def predict(self, X):
        return self.tree_.predict(X)

    def predict_proba(self, X):
        return self.tree_.predict_proba(X)


def wrapped(estimator):
    return VotingClassifier([("model", estimator)], voting="soft")


def test_classifiers_of_numbered_labels_alone_get_text(data):
    X, names = data
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    with pytest.warns(FitFailedWarning, match=r"'healthy', .*VotingClassifier\(\[\('model'"):
        found = compare_models(
            {"plain": Counting(), "wrapped": wrapped(Counting()), "tree": tree},
            X,
            names,
            cv=3,
            random_state=0,
        )
    assert list(found.failures) == ["plain"]
    # What the message advises gives the same as a classifier that takes any label.
    table = found.table()
    pd.testing.assert_series_equal(table.loc["wrapped"], table.loc["tree"], check_names=False)


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.MissingClassWarning")
def test_classifiers_of_numbered_labels_alone_miss_a_class(data):
    X, names = data
    y = np.unique(names, return_inverse=True)[1]
    rows = np.arange(150)
    cv = [(rows[(rows >= 75) & (y != 1)], rows[:75]), (rows[:75], rows[75:])]
    with pytest.warns(FitFailedWarning, match="The labels of this training part are 0, 2"):
        found = compare_models(
            {"plain": Counting(), "wrapped": wrapped(Counting())}, X, y, cv=cv, random_state=0
        )
    assert list(found.failures) == ["plain"]
    assert found.models == ["wrapped"]


def test_a_search_names_the_remedy_too(data):
    X, y = data
    search = OptunaSearchCV(Counting(), {}, n_trials=1, cv=2, random_state=0)
    with pytest.raises(ValueError, match="VotingClassifier"):
        search.fit(X, y)


def test_errors_that_are_not_about_labels_get_no_remedy(data):
    X, y = data
    X = np.where(X > 2, np.nan, X)
    with pytest.warns(FitFailedWarning, match="NaN") as caught:
        compare_models(
            {"logistic": LogisticRegression(), "tree": DecisionTreeClassifier()},
            X,
            y,
            cv=3,
            random_state=0,
        )
    assert "VotingClassifier" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("dtype", "names"),
    [("Int64", ["recall[0]", "recall[1]"]), ("boolean", ["recall[False]", "recall[True]"])],
)
def test_nullable_labels_are_named_as_they_are(dtype, names):
    X, y = make_classification(80, random_state=0)
    y = pd.Series(y).astype(dtype)
    models = {"a": GaussianNB(), "b": DummyClassifier()}
    found = compare_models(models, X, y, cv=2, external={"elsewhere": (X, y)}, random_state=0)
    assert [name for name in found.metrics if name.startswith("recall[")] == names
    external = found.external["elsewhere"]
    assert [name for name in external.metrics if name.startswith("recall[")] == names


def test_groups_as_tuples_are_whole():
    X, y = make_classification(120, random_state=0)
    pairs = [(f"patient {i // 8:02}", i // 4 % 2) for i in range(120)]
    models = {"a": GaussianNB(), "b": DummyClassifier()}
    settings = {"scoring": ["f1_macro"], "random_state": 0}
    tuples = compare_models(models, X, y, groups=pairs, **settings)
    joined = compare_models(models, X, y, groups=[f"{a} {b}" for a, b in pairs], **settings)
    for train, test in tuples.splits.splits:
        assert not {pairs[i] for i in train} & {pairs[i] for i in test}
    assert len(set(tuples.groups)) == 30
    pd.testing.assert_frame_equal(tuples.table(), joined.table())
    pd.testing.assert_frame_equal(tuples.bootstrap(), joined.bootstrap())
    with pytest.raises(ValueError, match=r"elsewhere.*groups"):
        compare_models(
            models, X, y, groups=pairs, external={"elsewhere": (X[:9], y[:9], pairs[:9])}
        )


@pytest.mark.parametrize("pos_label", ["a", "b"])
@pytest.mark.parametrize(
    "model", [GaussianNB(), SVC(), DecisionTreeClassifier(max_depth=2, random_state=0)]
)
def test_areas_of_one_class_are_those_of_scikit_learn(pos_label, model):
    X, y = make_classification(90, weights=[0.7], flip_y=0.2, random_state=0)
    y = np.array(["a", "b"])[y]
    found = compare_models(
        {"model": model, "majority": DummyClassifier()},
        X,
        y,
        cv=StratifiedKFold(3),
        scoring=["average_precision", "roc_auc"],
        pos_label=pos_label,
        random_state=0,
    )
    # One by one: cross_validate would hand the scores of one class to both scorers.
    scorers = {
        "average_precision": make_scorer(
            average_precision_score,
            response_method=("decision_function", "predict_proba"),
            pos_label=pos_label,
        ),
        "roc_auc": "roc_auc",
    }
    for name, scorer in scorers.items():
        expected = cross_val_score(model, X, y, cv=StratifiedKFold(3), scoring=scorer).mean()
        mean = found.table().loc["model", (name, "mean")]
        assert mean == pytest.approx(expected, abs=1e-12)
