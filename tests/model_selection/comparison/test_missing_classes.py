"""Scores where folds lack a class, with the values that scikit-learn has for pooled predictions."""

import re
import warnings

import numpy as np
import optuna
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    make_scorer,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    LeaveOneGroupOut,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB

from skcyto.exceptions import MissingClassWarning
from skcyto.model_selection import (
    OptunaSearchCV,
    TunedLogitBiasClassifierCV,
    compare_models,
)
from skcyto.model_selection._comparison._record_folder import RecordFolder
from skcyto.model_selection._results._records import FoldRecord, Predictions
from skcyto.neural_network import ImbalancedMLPClassifier

lacking = pytest.mark.filterwarnings("ignore::skcyto.exceptions.MissingClassWarning")
OF_LABELS = {
    "f1_macro": lambda y, p: f1_score(y, p, average="macro"),
    "balanced_accuracy": balanced_accuracy_score,
    "precision_macro": lambda y, p: precision_score(y, p, average="macro", zero_division=0.0),
    "recall_macro": lambda y, p: recall_score(y, p, average="macro"),
    "matthews_corrcoef": matthews_corrcoef,
}


@pytest.fixture(scope="module")
def patients():
    """Twenty patients of eight cases, each all well or all ill."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 8)
    y = np.r_[np.ones(6, int), np.zeros(14, int)][groups]
    X = rng.normal(size=(160, 3))
    X[:, 0] += 2 * y
    return X, y, groups


@pytest.fixture(scope="module")
def by_patient(patients):
    X, y, groups = patients
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingClassWarning)
        return compare_models(
            {"majority": DummyClassifier(), "bayes": GaussianNB()},
            X,
            y,
            groups=groups,
            cv=LeaveOneGroupOut(),
            scoring=[*OF_LABELS, "accuracy", "roc_auc_ovr", "recall_per_class"],
            random_state=0,
        )


class Says(ClassifierMixin, BaseEstimator):
    """Predicts by the first column, or never the rare class."""

    def __init__(self, rare=True):
        self.rare = rare

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return (np.asarray(X)[:, 0] > 0).astype(int) * int(self.rare)


@pytest.mark.parametrize("metric", OF_LABELS)
def test_leaving_patients_out_is_scored_from_pooled_predictions(patients, by_patient, metric):
    X, y, groups = patients
    table = by_patient.table(metric)[metric]
    for name, model in (("majority", DummyClassifier()), ("bayes", GaussianNB())):
        predicted = cross_val_predict(model, X, y, groups=groups, cv=LeaveOneGroupOut())
        assert table.loc[name, "mean"] == pytest.approx(OF_LABELS[metric](y, predicted))
    assert table.loc["bayes", "mean"] > table.loc["majority", "mean"]
    assert table[["std", "ci_low", "ci_high"]].isna().all(axis=None)
    assert by_patient.scores[metric].isna().all()


def test_recalls_are_pooled_like_their_mean(by_patient):
    table = by_patient.table().xs("mean", axis=1, level=1)
    mean = (table["recall[0]"] + table["recall[1]"]) / 2
    np.testing.assert_allclose(mean, table["recall_macro"])
    # The share of right cases needs no class, and areas are not pooled over models.
    assert not by_patient.is_pooled("accuracy")
    assert not by_patient.is_pooled("roc_auc_ovr")
    assert table["roc_auc_ovr"].isna().all()


def test_who_finds_the_rare_class_is_ahead_of_who_never_says_it():
    # Three rare cases in five folds: two found, two false alarms.
    y = np.r_[np.ones(3, int), np.zeros(57, int)]
    X = np.full((60, 1), -1.0)
    X[[0, 1, 10, 11]] = 1.0
    with pytest.warns(MissingClassWarning, match="taken from the pooled predictions"):
        found = compare_models(
            {"finds": Says(), "never": Says(rare=False)}, X, y, cv=5, random_state=0
        )
    means = found.table("f1_macro")["f1_macro"]["mean"]
    # By hand: F1 of the rare class 2 * 2 / (4 + 3), of the other 2 * 55 / (56 + 57).
    assert means["finds"] == pytest.approx((4 / 7 + 110 / 113) / 2)
    assert means["never"] == pytest.approx((0 + 114 / 117) / 2)


def test_no_test_over_folds_of_a_pooled_score(by_patient):
    for test in (by_patient.ttest, by_patient.bayesian):
        with pytest.raises(ValueError, match=r"'f1_macro' is undefined on folds.*bootstrap"):
            test(metric="f1_macro")
    assert by_patient.ttest(metric="accuracy")["pvalue"].notna().all()
    assert by_patient.mcnemar()["pvalue"].notna().all()


@lacking
def test_several_rounds_give_the_mean_of_their_pooled_scores():
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], [40, 30, 3])
    X = rng.normal(size=(73, 2)) + y[:, None]
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
    found = compare_models(
        {"nb": GaussianNB(var_smoothing=0.1), "majority": DummyClassifier()}, X, y, cv=cv
    )
    kept = found.out_of_fold("nb")
    rounds = [
        f1_score(part["y_true"], part["y_pred"], average="macro", labels=[0, 1, 2])
        for _, part in kept.groupby("repeat")
    ]
    np.testing.assert_allclose(found.pooled_scores("nb", "f1_macro"), rounds)
    mean = found.table("f1_macro").loc["nb", ("f1_macro", "mean")]
    assert mean == pytest.approx(np.mean(rounds))
    # The spread of two scores of the same cases is no interval, and gives no test.
    with pytest.raises(ValueError, match="no test over folds"):
        found.ttest()
    assert found.plot_scores().axes_[0].get_xlabel() == "macro F1"


def test_page_table_and_caption_say_so(by_patient, tmp_path):
    path = tmp_path / "page.html"
    by_patient.to_html(path, n_resamples=20)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", path.read_text()))
    assert "Best macro F1 of pooled predictions: bayes" in text
    assert "macro F1 has no test over folds" in text
    assert "taken from the pooled predictions of the round" in text
    assert "ROC AUC: undefined, since no fold holds every class" in text
    assert "No model differs" not in text
    assert "support the tests over folds" not in text
    markdown = by_patient.to_markdown("f1_macro")
    assert "±" not in markdown.split("\n\n")[0]
    assert "Folds lack classes" in markdown


@pytest.mark.parametrize("scoring", ["f1_macro", "balanced_accuracy", ["f1_macro", "accuracy"]])
def test_the_search_chooses_by_pooled_predictions(patients, scoring):
    X, y, groups = patients
    space = {"priors": [[0.999999, 0.000001], [0.7, 0.3]]}
    name = scoring if isinstance(scoring, str) else "f1_macro"
    search = OptunaSearchCV(
        GaussianNB(),
        space,
        sampler=optuna.samplers.RandomSampler(seed=0),
        n_trials=6,
        scoring=scoring,
        refit=True if isinstance(scoring, str) else name,
        cv=LeaveOneGroupOut(),
    ).fit(X, y, groups=groups)
    key = "score" if isinstance(scoring, str) else name
    for params, value in zip(
        search.cv_results_["params"], search.cv_results_[f"mean_test_{key}"], strict=True
    ):
        predicted = cross_val_predict(
            GaussianNB(**params), X, y, groups=groups, cv=LeaveOneGroupOut()
        )
        assert value == pytest.approx(OF_LABELS[name](y, predicted))
    assert len({value[0] for value in search.cv_results_["param_priors"]}) == 2
    assert search.best_params_["priors"] == [0.7, 0.3]
    assert search.best_score_ == max(search.cv_results_[f"mean_test_{key}"])
    assert np.isnan(search.cv_results_[f"split0_test_{key}"]).all()
    assert set(search.cv_results_["status"]) == {"complete"}


def test_a_pruner_is_told_the_pooled_score_so_far(patients):
    X, y, groups = patients
    search = OptunaSearchCV(
        GaussianNB(),
        {"var_smoothing": [1e-9]},
        pruner=optuna.pruners.MedianPruner(),
        n_trials=1,
        scoring="f1_macro",
        cv=LeaveOneGroupOut(),
    ).fit(X, y, groups=groups)
    (trial,) = search.study_.trials
    predicted = cross_val_predict(GaussianNB(), X, y, groups=groups, cv=LeaveOneGroupOut())
    # The six ill patients come first: before the seventh there is no macro F1.
    expected = {
        step: f1_score(y[: 8 * step], predicted[: 8 * step], average="macro")
        for step in range(7, 21)
    }
    assert trial.intermediate_values == pytest.approx(expected)
    assert search.best_score_ == pytest.approx(expected[20])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search.set_params(pruner=optuna.pruners.WilcoxonPruner())
    with pytest.raises(ValueError, match="WilcoxonPruner compares trials fold by fold"):
        search.fit(X, y, groups=groups)


def test_areas_of_the_search_are_means_over_whole_folds():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [57, 3])
    X = rng.normal(size=(60, 2)) + y[:, None]
    cv = list(StratifiedKFold(3).split(X, y))
    # The last fold is cut in two, one half without the rare class.
    train, test = cv.pop()
    cv += [(train, test[y[test] == 0][:8]), (train, np.setdiff1d(test, test[y[test] == 0][:8]))]
    search = OptunaSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9]}, n_trials=1, scoring="roc_auc_ovr", cv=cv
    ).fit(X, y)
    areas = [
        roc_auc_score(y[b], GaussianNB().fit(X[a], y[a]).predict_proba(X[b])[:, 1])
        for a, b in cv
        if len(set(y[b])) == 2
    ]
    assert search.best_score_ == pytest.approx(np.mean(areas))


def test_an_area_that_no_fold_has_is_refused_by_the_search(patients):
    X, y, groups = patients
    search = OptunaSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9]}, scoring="roc_auc", cv=LeaveOneGroupOut()
    )
    with pytest.raises(ValueError, match="no fold holds every class"):
        search.fit(X, y, groups=groups)


@pytest.mark.parametrize("scoring", ["f1_macro", "cohen_kappa"])
def test_biases_are_tuned_on_pooled_predictions(patients, scoring):
    X, y, groups = patients
    kappa = make_scorer(cohen_kappa_score)
    tuned = TunedLogitBiasClassifierCV(
        GaussianNB(), scoring=kappa if scoring == "cohen_kappa" else scoring, cv=LeaveOneGroupOut()
    ).fit(X, y, groups=groups)
    proba = cross_val_predict(
        GaussianNB(), X, y, groups=groups, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    score = cohen_kappa_score if scoring == "cohen_kappa" else OF_LABELS["f1_macro"]
    assert tuned.unbiased_score_ == pytest.approx(score(y, proba.argmax(axis=1)))
    decided = (np.log(proba) + tuned.best_bias_).argmax(axis=1)
    assert tuned.best_score_ == pytest.approx(score(y, decided))


def test_positive_label_is_the_rarer_and_the_same_everywhere():
    rng = np.random.default_rng(0)
    y = np.repeat(["ill", "well"], [30, 70])
    X = rng.normal(size=(100, 2)) + (y == "ill")[:, None]
    for given, positive in ((None, "ill"), ("well", "well")):
        found = compare_models(
            {"nb": GaussianNB(), "majority": DummyClassifier()},
            X,
            y,
            cv=4,
            scoring=["f1", "average_precision", "recall"],
            pos_label=given,
            random_state=0,
        )
        kept = found.out_of_fold("nb")
        expected = [
            f1_score(part["y_true"], part["y_pred"], pos_label=positive)
            for _, part in kept.groupby("fold")
        ]
        np.testing.assert_allclose(found.fold_scores("nb", "f1"), expected)
        assert set(found.delong().index.get_level_values("class")) == {positive}
        assert found.plot_roc().caption == positive
        assert found.plot_precision_recall().caption == positive
        assert positive in found.plot_scores().axes_[0].get_xlabel()
        search = OptunaSearchCV(
            GaussianNB(), {"var_smoothing": [1e-9]}, n_trials=1, scoring="f1", pos_label=given, cv=3
        ).fit(X, y)
        predicted = [
            f1_score(y[b], GaussianNB().fit(X[a], y[a]).predict(X[b]), pos_label=positive)
            for a, b in StratifiedKFold(3).split(X, y)
        ]
        assert search.best_score_ == pytest.approx(np.mean(predicted))
        tuned = TunedLogitBiasClassifierCV(GaussianNB(), scoring="f1", pos_label=given, cv=3)
        assert tuned.fit(X, y).unbiased_score_ == pytest.approx(np.mean(predicted))


def test_bad_positive_labels_are_named():
    X, y = np.zeros((9, 1)), np.repeat(["a", "b", "c"], 3)
    with pytest.raises(ValueError, match=r"pos_label='a' is for two classes; y holds 3"):
        compare_models({"m": DummyClassifier()}, X, y, cv=3, pos_label="a")
    search = OptunaSearchCV(DummyClassifier(), {"strategy": ["prior"]}, cv=3, pos_label="z")
    with pytest.raises(ValueError, match=r"pos_label='z' is no class of y"):
        search.fit(X[:6], y[:6])


class Counted(LogisticRegression):
    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        (f1_score, "is a metric, f1_score, and no scorer"),
        (lambda estimator, X, y: {"a": 1.0}, "must give a number"),
        (lambda estimator, X, y: estimator.predict(X) / "a", "fails on"),
    ],
)
def test_scorers_are_tried_before_the_first_fit(scoring, message):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int)
    Counted.fits = 0
    with pytest.raises(ValueError, match=message):
        compare_models({"a": Counted()}, X, y, scoring=scoring, random_state=0)
    assert Counted.fits == 0


def test_a_scorer_may_ask_for_what_only_the_estimator_has():
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int)
    found = compare_models(
        {"a": LogisticRegression()}, X, y, cv=2, scoring=lambda e, X, y: e.coef_[0, 0]
    )
    assert (found.table().xs("mean", axis=1, level=1) > 0).all(axis=None)


def test_a_scorer_that_fails_late_leaves_the_predictions_on_disk(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int)

    def late(estimator, X, y):
        return float(estimator.coef_) / 0  # two coefficients are no number

    with pytest.raises(ValueError, match="every candidate failed"):
        compare_models(
            {"a": Counted()}, X, y, cv=2, scoring=late, random_state=0, checkpoint=tmp_path
        )
    Counted.fits = 0
    found = compare_models({"a": Counted()}, X, y, cv=2, random_state=0, checkpoint=tmp_path)
    assert Counted.fits == 0
    assert found.models == ["a"]


def test_a_search_that_scores_nothing_stops_after_its_first_batch():
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int)
    Counted.fits = 0
    search = OptunaSearchCV(
        Counted(),
        {"C": [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]},
        n_trials=40,
        cv=2,
        scoring=lambda estimator, X, y: np.nan if hasattr(estimator, "coef_") else 0.0,
        random_state=0,
    )
    with pytest.raises(ValueError, match="all of the first 4 trials score NaN"):
        search.fit(X, y)
    assert Counted.fits == 8
    assert not hasattr(search, "best_params_")


class Column(ClassifierMixin, BaseEstimator):
    """Predictions as a column, as CatBoost gives them for three classes."""

    def fit(self, X, y):
        self.model_ = GaussianNB().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X).reshape(-1, 1)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class OneNaN(LogisticRegression):
    """One decision value is NaN."""

    predict_proba = property()

    def decision_function(self, X):
        values = super().decision_function(X)
        values[0] = np.nan
        return values

    def predict(self, X):
        return self.classes_[np.zeros(len(X), int)]


def test_one_models_odd_predictions_lose_nothing_of_the_others(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 2)) + y[:, None]
    candidates = {"nb": GaussianNB(), "column": Column(), "broken": OneNaN()}
    for _ in range(2):
        with pytest.warns(FitFailedWarning, match=r"'broken'.*decision_function returned NaN"):
            found = compare_models(
                candidates, X, y, cv=3, random_state=0, checkpoint=tmp_path / "kept"
            )
        assert found.models == ["nb", "column"]
        np.testing.assert_array_equal(found.scores.loc["nb"], found.scores.loc["column"])


def small_net():
    return ImbalancedMLPClassifier(
        (4,), max_epochs=6, batch_size=64, device="cpu", random_state=0, lr_scheduler=None
    )


def test_nets_report_pooled_scores_between_epochs_and_stacked_ones_score_the_same(patients):
    X, y, _ = patients
    # Folds of the ordered patients: the first three hold ill ones, the others none.
    cv = [
        (np.setdiff1d(np.arange(160), rows), rows)
        for rows in np.array_split(np.r_[0:16, 48:64, 16:48, 64:160], 4)
    ]
    options = {"n_trials": 2, "scoring": "f1_macro", "cv": cv, "refit": False, "random_state": 0}
    space = {"learning_rate": [0.003, 0.03]}
    plain = OptunaSearchCV(small_net(), space, **options).fit(X, y)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
    reporting = OptunaSearchCV(small_net(), space, pruner=pruner, **options).fit(X, y)
    stacked = OptunaSearchCV(small_net(), space, engine="stacked", **options).fit(X, y)
    for number, params in enumerate(plain.cv_results_["params"]):
        predicted = cross_val_predict(small_net().set_params(**params), X, y, cv=cv)
        expected = f1_score(y, predicted, average="macro")
        for search in (plain, reporting, stacked):
            assert search.cv_results_["mean_test_score"][number] == pytest.approx(expected)
        values = reporting.study_.trials[number].intermediate_values
        # Six epochs a fold, four folds; the end of each is the score of what it completes.
        assert list(values) == list(range(1, 25))
        first = np.concatenate([rows for _, rows in cv[:2]])
        assert values[12] == pytest.approx(f1_score(y[first], predicted[first], average="macro"))
        assert values[24] == pytest.approx(expected)


def test_a_search_over_lacking_folds_is_taken_up_again(patients, tmp_path):
    X, y, groups = patients
    options = {
        "scoring": ["f1_macro", "accuracy"],
        "refit": "f1_macro",
        "cv": LeaveOneGroupOut(),
        "storage": f"sqlite:///{tmp_path / 'study.db'}",
        "random_state": 0,
    }
    space = {"var_smoothing": [1e-9, 1e-1, 10.0]}
    OptunaSearchCV(GaussianNB(), space, n_trials=4, **options).fit(X, y, groups=groups)
    again = OptunaSearchCV(GaussianNB(), space, n_trials=8, **options).fit(X, y, groups=groups)
    options["storage"] = None
    once = OptunaSearchCV(GaussianNB(), space, n_trials=8, **options).fit(X, y, groups=groups)
    for name in ("mean_test_f1_macro", "rank_test_f1_macro", "mean_test_accuracy"):
        np.testing.assert_allclose(again.cv_results_[name], once.cv_results_[name])
    assert again.best_params_ == once.best_params_


def test_weights_count_in_the_pooled_score(patients):
    X, y, groups = patients
    weight = np.where(np.arange(160) % 2, 3.0, 1.0)

    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(balanced_accuracy_score).set_score_request(sample_weight=True)
        search = OptunaSearchCV(
            GaussianNB().set_fit_request(sample_weight=False),
            {"var_smoothing": [1e-9]},
            n_trials=1,
            scoring=scorer,
            cv=LeaveOneGroupOut(),
        ).fit(X, y, groups=groups, sample_weight=weight)
    predicted = cross_val_predict(GaussianNB(), X, y, groups=groups, cv=LeaveOneGroupOut())
    expected = balanced_accuracy_score(y, predicted, sample_weight=weight)
    assert search.best_score_ == pytest.approx(expected)


def test_a_failed_fold_has_the_error_score(patients):
    X, y, groups = patients
    search = OptunaSearchCV(
        GaussianNB(),
        {"var_smoothing": [-1.0, 1e-9]},
        n_trials=6,
        scoring="f1_macro",
        cv=LeaveOneGroupOut(),
        error_score=0.0,
        random_state=0,
    )
    with pytest.warns(FitFailedWarning):
        search.fit(X, y, groups=groups)
    failed = np.array([value < 0 for value in search.cv_results_["param_var_smoothing"]])
    assert 0 < failed.sum() < 6
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"][failed], 0.0)
    assert (search.cv_results_["mean_test_score"][~failed] > 0.5).all()


class NoPredictions(GaussianNB):
    def predict(self, X):
        if self.var_smoothing > 1:
            raise RuntimeError("no predictions")
        return super().predict(X)


@pytest.mark.filterwarnings("ignore:One or more of the test scores", "ignore:Scoring failed")
def test_predictions_that_fail_fail_one_trial_only(patients):
    X, y, groups = patients
    search = OptunaSearchCV(
        NoPredictions(),
        {"var_smoothing": [2.0, 1e-9]},
        n_trials=6,
        scoring=["f1_macro", "neg_log_loss"],
        refit="f1_macro",
        cv=LeaveOneGroupOut(),
        random_state=0,
    )
    search.fit(X, y, groups=groups)
    failed = search.cv_results_["param_var_smoothing"] == 2.0
    assert 0 < failed.sum() < 6
    assert np.isnan(search.cv_results_["mean_test_f1_macro"][failed.astype(bool)]).all()
    assert set(search.cv_results_["status"][~failed.astype(bool)]) == {"complete"}
    assert search.best_params_ == {"var_smoothing": 1e-9}
    assert np.isfinite(search.cv_results_["mean_test_neg_log_loss"]).all()


@pytest.mark.parametrize(
    ("predictions", "reason"),
    [
        (Predictions(np.zeros((4, 1), int), None, None), r"shape \(4, 1\)"),
        (Predictions(np.zeros(4, int), np.full((4, 2), np.nan), "decision_function"), "NaN"),
    ],
)
def test_records_that_no_score_can_use_are_computed_anew(tmp_path, predictions, reason):
    store = RecordFolder(tmp_path, {})
    store.write("key", FoldRecord(predictions))
    with pytest.warns(UserWarning, match=f"is damaged.*{reason}.*its fold is computed anew"):
        assert store.read("key") is None
