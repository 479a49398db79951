"""Biases tuned on rows that the models have not seen."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    get_scorer,
    get_scorer_names,
    make_scorer,
    matthews_corrcoef,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils._param_validation import InvalidParameterError

from skcyto import metrics
from skcyto.metrics._counts import SCORES_OF_COUNTS
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.model_selection._logit_bias._ascent import (
    CountObjective,
    ScorerObjective,
    ascend,
    candidates,
)
from skcyto.model_selection._logit_bias._folds import Fold


@pytest.fixture(scope="module")
def three():
    return make_classification(
        n_samples=600,
        n_informative=6,
        n_classes=3,
        weights=[0.8, 0.14],
        class_sep=0.8,
        random_state=0,
    )


@pytest.fixture(scope="module")
def two():
    return make_classification(n_samples=150, weights=[0.85], class_sep=0.5, random_state=3)


def as_fold(y, scores, weight=None):
    params = {} if weight is None else {"sample_weight": weight}
    return Fold(np.zeros((len(y), 1)), y, y, scores, params)


# --- the search -----------------------------------------------------------------------------


@st.composite
def scored_rows(draw):
    n_classes = draw(st.integers(2, 4))
    n_folds = draw(st.integers(1, 3))
    rng = np.random.RandomState(draw(st.integers(0, 10_000)))
    # A coarse grid makes ties, as forests do.
    grid = draw(st.sampled_from([0.5, 1e-6]))
    weighted = draw(st.booleans())
    folds = []
    for _ in range(n_folds):
        y = rng.randint(n_classes, size=rng.randint(5, 25))
        scores = np.round(rng.randn(len(y), n_classes) / grid) * grid
        folds.append(as_fold(y, scores, rng.randint(1, 4, len(y)) * 1.0 if weighted else None))
    return folds, n_classes, rng.randn(n_classes)


@pytest.mark.parametrize("name", SCORES_OF_COUNTS)
@given(rows=scored_rows())
@settings(deadline=None, max_examples=6)
def test_counted_scores_are_scikit_learns(name, rows):
    folds, n_classes, bias = rows
    counted = CountObjective(folds, name)
    # Where scikit-learn has no such score, skcyto's own, which is tested elsewhere.
    known = get_scorer if name in get_scorer_names() else metrics.get_scorer
    called = ScorerObjective(folds, np.arange(n_classes), known(name))
    with warnings.catch_warnings():
        # A class that is never predicted, or absent from the fold's truth.
        warnings.simplefilter("ignore")
        for b in (np.zeros(n_classes), bias):
            assert counted.value(b) == pytest.approx(called.value(b), abs=1e-12)
        for c in range(n_classes):
            tried = candidates(c, folds, bias, 6)
            np.testing.assert_allclose(
                counted.along(c, bias, tried), called.along(c, bias, tried), atol=1e-12
            )


@given(rows=scored_rows())
@settings(deadline=None, max_examples=40)
def test_one_step_finds_the_best_bias_of_a_class(rows):
    folds, _, bias = rows
    objective = CountObjective(folds, "f1_macro")
    found = objective.along(0, bias, candidates(0, folds, bias, 10_000)).max()
    trial = bias.copy()
    for trial[0] in np.linspace(-8, 8, 97) + 0.0123456:
        assert objective.value(trial) <= found + 1e-12


@given(rows=scored_rows(), n_candidates=st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_ascent_never_falls_and_ends_where_no_class_can_move(rows, n_candidates):
    folds, n_classes, bias = rows
    objective = CountObjective(folds, "balanced_accuracy")
    path = ascend(objective, folds, bias, n_candidates)
    scores = [score for _, score in path]
    assert scores == sorted(scores)
    assert scores[0] == objective.value(bias)
    end, best = path[-1]
    # With two classes one bias is enough.
    for c in range(int(n_classes == 2), n_classes):
        tried = candidates(c, folds, end, n_candidates)
        assert objective.along(c, end, tried).max() <= best + 1e-9


def test_candidates_look_at_rare_classes():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], [5000, 20])
    scores = np.column_stack([np.zeros(len(y)), rng.randn(len(y)) + 2 * y])
    fold = as_fold(y, scores)
    tried = candidates(1, [fold], np.zeros(2), 60)
    assert 40 <= len(tried) <= 62
    # Every step of the rare class's recall can be reached.
    recalls = {np.mean(scores[y == 1, 1] + b > 0) for b in tried}
    assert len(recalls) >= 20


# --- the estimator --------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["f1_macro", "balanced_accuracy", "accuracy"])
@pytest.mark.parametrize(
    "model", [LogisticRegression(), RandomForestClassifier(10, random_state=0), LinearSVC()]
)
def test_never_worse_out_of_fold_than_without_biases(three, model, scoring):
    X, y = three
    tuned = TunedLogitBiasClassifierCV(model, scoring=scoring, cv=3).fit(X, y)
    assert tuned.best_score_ >= tuned.unbiased_score_
    assert tuned.best_bias_.sum() == pytest.approx(0)
    # Without biases this is the cross-validated score of the model itself.
    if not isinstance(model, RandomForestClassifier):
        expected = cross_val_score(model, X, y, cv=3, scoring=scoring).mean()
        assert tuned.unbiased_score_ == pytest.approx(expected)


def test_helps_on_rows_that_nothing_has_seen():
    X, y = make_classification(
        n_samples=12_000,
        n_informative=6,
        n_classes=3,
        weights=[0.8, 0.14],
        class_sep=0.8,
        random_state=0,
    )
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=2000, stratify=y, random_state=0
    )
    plain = LogisticRegression().fit(X_train, y_train)
    tuned = TunedLogitBiasClassifierCV(LogisticRegression()).fit(X_train, y_train)
    scores = [f1_score(y_test, m.predict(X_test), average="macro") for m in (plain, tuned)]
    assert scores[1] > scores[0] + 0.03
    np.testing.assert_array_equal(tuned.predict_proba(X_test), plain.predict_proba(X_test))


def test_predict_is_argmax_of_biased_scores(three):
    X, y = three
    tuned = TunedLogitBiasClassifierCV(LogisticRegression()).fit(X, y)
    biased = tuned.predict_log_proba(X) + tuned.best_bias_
    np.testing.assert_array_equal(tuned.predict(X), tuned.classes_[biased.argmax(axis=1)])
    assert (tuned.predict(X) != tuned.estimator_.predict(X)).any()
    of_logits = TunedLogitBiasClassifierCV(LinearSVC()).fit(X, y)
    biased = of_logits.decision_function(X) + of_logits.best_bias_
    np.testing.assert_array_equal(of_logits.predict(X), biased.argmax(axis=1))
    assert not hasattr(of_logits, "predict_proba")


def test_best_score_is_that_of_the_out_of_fold_decisions(three):
    X, y = three
    cv = StratifiedKFold(4)
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), cv=cv).fit(X, y)
    log_proba = cross_val_predict(LogisticRegression(), X, y, cv=cv, method="predict_log_proba")
    decisions = (log_proba + tuned.best_bias_).argmax(axis=1)
    scores = [f1_score(y[test], decisions[test], average="macro") for _, test in cv.split(X, y)]
    assert tuned.best_score_ == pytest.approx(np.mean(scores))


@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        ("balanced_accuracy", balanced_accuracy_score),
        ("matthews_corrcoef", matthews_corrcoef),
    ],
)
def test_binary_is_the_best_threshold(two, scoring, metric):
    X, y = two
    train, test = next(StratifiedKFold(2, shuffle=True, random_state=0).split(X, y))
    tuned = TunedLogitBiasClassifierCV(
        LogisticRegression(), scoring=scoring, cv=[(train, test)], refit=False, n_candidates=500
    ).fit(X, y)
    proba = LogisticRegression().fit(X[train], y[train]).predict_proba(X[test])[:, 1]
    by_threshold = [metric(y[test], (proba > t).astype(int)) for t in np.r_[-1, np.sort(proba)]]
    assert tuned.best_score_ == pytest.approx(max(by_threshold))
    # The threshold that the biases stand for.
    log_odds = tuned.best_bias_[0] - tuned.best_bias_[1]
    threshold = 1 / (1 + np.exp(-log_odds))
    np.testing.assert_array_equal(
        tuned.predict(X), (tuned.predict_proba(X)[:, 1] > threshold).astype(int)
    )
    # scikit-learn's tuner tries a grid of thresholds.
    rival = TunedThresholdClassifierCV(
        LogisticRegression(), scoring=scoring, cv=[(train, test)], refit=False, thresholds=300
    ).fit(X, y)
    assert metric(y[test], rival.predict(X[test])) <= tuned.best_score_ + 1e-12
    assert metric(y[test], rival.predict(X[test])) == pytest.approx(tuned.best_score_, abs=0.02)
    assert np.mean(rival.predict(X) == tuned.predict(X)) > 0.9


def test_starts_from_the_prior_too(three):
    X, y = three
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), store_cv_results=True).fit(X, y)
    results = tuned.cv_results_
    assert set(results) == {"start", "biases", "scores"}
    first = {name: np.flatnonzero(results["start"] == name)[0] for name in ("zero", "prior")}
    np.testing.assert_array_equal(results["biases"][first["zero"]], 0)
    expected = -np.log(np.bincount(y) / len(y))
    np.testing.assert_allclose(
        results["biases"][first["prior"]], expected - expected.mean(), rtol=1e-12
    )
    assert results["scores"].max() == pytest.approx(tuned.best_score_)
    assert results["scores"][first["zero"]] == tuned.unbiased_score_
    assert not hasattr(TunedLogitBiasClassifierCV(LogisticRegression()).fit(X, y), "cv_results_")


def test_scorers_by_object_and_by_function(three):
    X, y = three
    by_name = TunedLogitBiasClassifierCV(LogisticRegression(), cv=2, n_candidates=5).fit(X, y)
    for scoring in (
        get_scorer("f1_macro"),
        lambda estimator, X, y: f1_score(y, estimator.predict(X), average="macro"),
    ):
        other = clone(by_name).set_params(scoring=scoring).fit(X, y)
        np.testing.assert_allclose(other.best_bias_, by_name.best_bias_)
        assert other.best_score_ == pytest.approx(by_name.best_score_)


def test_skcytos_scorers_by_name(three):
    X, y = three
    by_name = TunedLogitBiasClassifierCV(
        LogisticRegression(), scoring="average_f1", cv=2, n_candidates=5
    )
    other = clone(by_name).set_params(scoring=metrics.get_scorer("average_f1")).fit(X, y)
    with config_context(enable_metadata_routing=True):
        by_name.fit(X, y)
    np.testing.assert_allclose(by_name.best_bias_, other.best_bias_)
    assert by_name.best_score_ == pytest.approx(other.best_score_)
    assert by_name.best_score_ > by_name.unbiased_score_
    assert by_name.get_params()["scoring"] == "average_f1"


def test_a_misspelt_score_is_answered_with_all_names(three):
    tuned = clone(TunedLogitBiasClassifierCV(LogisticRegression(), scoring="average_f2"))
    with pytest.raises(InvalidParameterError, match=r"(?=.*'average_f1')(?=.*'jaccard_macro')"):
        tuned.fit(*three)


def cost(y_true, y_pred):
    return (confusion_matrix(y_true, y_pred) * [[0, 1, 1], [5, 0, 2], [20, 10, 0]]).sum()


def test_any_cost_of_labels(three):
    X, y = three
    scorer = make_scorer(cost, greater_is_better=False)
    tuned = TunedLogitBiasClassifierCV(
        LogisticRegression(), scoring=scorer, cv=2, n_candidates=6
    ).fit(X, y)
    assert tuned.best_score_ > tuned.unbiased_score_
    # Missing the last class is dear: it is predicted more often.
    assert (tuned.predict(X) == 2).sum() > (tuned.estimator_.predict(X) == 2).sum()


@pytest.mark.parametrize(
    "scoring", ["roc_auc_ovr", "neg_log_loss", "neg_expected_calibration_error"]
)
def test_scores_of_probabilities_are_refused(three, scoring):
    with pytest.raises(ValueError, match="scoring must depend on predicted labels alone"):
        TunedLogitBiasClassifierCV(LogisticRegression(), scoring=scoring).fit(*three)


def test_string_labels_and_frames(three):
    X, y = three
    names = np.array(["ASC-US", "HSIL", "LSIL"], dtype=object)[y]
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), cv=3).fit(frame, pd.Series(names))
    assert list(tuned.classes_) == ["ASC-US", "HSIL", "LSIL"]
    assert set(tuned.predict(frame)) == set(names)
    assert list(tuned.feature_names_in_) == list(frame.columns)
    assert tuned.n_features_in_ == X.shape[1]
    codes = TunedLogitBiasClassifierCV(LogisticRegression(), cv=3).fit(X, y)
    np.testing.assert_allclose(codes.best_bias_, tuned.best_bias_)


def test_prefit(three):
    X, y = three
    fitted = LogisticRegression().fit(X[:300], y[:300])
    tuned = TunedLogitBiasClassifierCV(fitted, cv="prefit", refit=False).fit(X[300:], y[300:])
    assert tuned.estimator_ is fitted
    decisions = (fitted.predict_log_proba(X[300:]) + tuned.best_bias_).argmax(axis=1)
    assert tuned.best_score_ == pytest.approx(f1_score(y[300:], decisions, average="macro"))
    with pytest.raises(ValueError, match="cv='prefit' fits nothing: set refit=False"):
        TunedLogitBiasClassifierCV(fitted, cv="prefit").fit(X, y)
    with pytest.raises(NotFittedError, match="needs an estimator that is fitted"):
        TunedLogitBiasClassifierCV(LogisticRegression(), cv="prefit", refit=False).fit(X, y)


def test_single_split_without_refit(three):
    X, y = three
    model = TunedLogitBiasClassifierCV(LogisticRegression(), cv=0.3, refit=False, random_state=0)
    one, two = model.fit(X, y), clone(model).fit(X, y)
    np.testing.assert_array_equal(one.best_bias_, two.best_bias_)
    with pytest.raises(ValueError, match=r"refit=False needs a single split.*got 5"):
        TunedLogitBiasClassifierCV(LogisticRegression(), refit=False).fit(X, y)


def test_a_class_that_a_fold_never_trained_on():
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 3), np.repeat([0, 1, 2], [40, 16, 4])
    X[:, 0] += y
    folds = np.arange(60) % 3
    folds[y == 2] = 0
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), cv=splits).fit(X, y)
    assert tuned.best_bias_.shape == (3,)
    assert np.isfinite(tuned.best_bias_).all()
    # The same where the classifier itself lacks the class.
    lone = TunedLogitBiasClassifierCV(LogisticRegression(), cv=splits[:1], refit=False).fit(X, y)
    assert list(lone.classes_) == [0, 1]
    assert lone.best_bias_.shape == (2,)
    assert set(lone.predict(X)) <= {0, 1}


def test_groups_reach_the_splitter(three):
    X, y = three
    groups = np.arange(len(y)) // 4
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), cv=GroupKFold(3))
    by_groups = tuned.fit(X, y, groups=groups).best_score_
    splits = list(GroupKFold(3).split(X, y, groups))
    by_hand = clone(tuned).set_params(cv=splits).fit(X, y).best_score_
    assert by_groups == by_hand
    with pytest.raises(ValueError, match="groups"):
        clone(tuned).fit(X, y)


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers what fit was given."""

    seen = []

    def fit(self, X, y, sample_weight=None, extra=None):
        self.seen.append((len(y), sample_weight, extra))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        share = 1 / (1 + np.exp(-X[:, 0]))
        return np.column_stack([1 - share, share])


def test_metadata_is_cut_to_the_rows(two):
    X, y = two
    weight, extra = np.arange(len(y)) + 1.0, np.arange(len(y))
    Recorder.seen.clear()
    cv = StratifiedKFold(2)
    TunedLogitBiasClassifierCV(Recorder(), cv=cv).fit(X, y, sample_weight=weight, extra=extra)
    rows = [np.arange(len(y))] + [train for train, _ in cv.split(X, y)]
    assert len(Recorder.seen) == 3
    for (n, seen_weight, seen_extra), expected in zip(Recorder.seen, rows, strict=True):
        assert n == len(expected)
        np.testing.assert_array_equal(seen_weight, weight[expected])
        np.testing.assert_array_equal(seen_extra, extra[expected])


def test_sample_weight_counts_in_the_score(three):
    X, y = three
    weight = np.where(y == 2, 5.0, 1.0)
    folds = list(StratifiedKFold(3).split(X, y))
    tuned = TunedLogitBiasClassifierCV(LogisticRegression(), scoring="accuracy", cv=folds)
    tuned.fit(X, y, sample_weight=weight)
    scores = []
    for train, test in folds:
        model = LogisticRegression().fit(X[train], y[train], sample_weight=weight[train])
        right = (model.predict_log_proba(X[test]) + tuned.best_bias_).argmax(axis=1) == y[test]
        scores.append(np.average(right, weights=weight[test]))
    assert tuned.best_score_ == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("scoring", ["f1_macro", get_scorer("f1_macro")])
def test_weight_two_is_a_row_twice_and_weight_zero_is_no_row(two, scoring):
    X, y = two
    weight = np.random.RandomState(1).randint(0, 3, len(y))
    folds = list(StratifiedKFold(3).split(X, y))
    model = TunedLogitBiasClassifierCV(
        LogisticRegression(tol=1e-10, max_iter=1000), scoring=scoring, cv=folds, n_candidates=20
    ).fit(X, y, sample_weight=weight)
    copies = np.repeat(np.arange(len(y)), weight)
    split = [
        (np.flatnonzero(np.isin(copies, train)), np.flatnonzero(np.isin(copies, test)))
        for train, test in folds
    ]
    repeated = clone(model).set_params(cv=split).fit(X[copies], y[copies])
    assert repeated.best_score_ == pytest.approx(model.best_score_)
    np.testing.assert_allclose(repeated.best_bias_, model.best_bias_, atol=1e-5)


def test_no_row_of_any_weight_to_score(two):
    X, y = two
    train, test = next(StratifiedKFold(3).split(X, y))
    weight = np.ones(len(y))
    weight[test] = 0
    with pytest.raises(ValueError, match="zero for every row that is scored"):
        TunedLogitBiasClassifierCV(LogisticRegression(), cv=[(train, test)]).fit(
            X, y, sample_weight=weight
        )


def test_metadata_routing(three):
    X, y = three
    weight = np.where(y == 2, 5.0, 1.0)
    groups = np.arange(len(y)) // 4
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        routed = TunedLogitBiasClassifierCV(
            LogisticRegression().set_fit_request(sample_weight=True),
            scoring=scorer,
            cv=GroupKFold(3),
            n_candidates=10,
        ).fit(X, y, sample_weight=weight, groups=groups)
        unweighted = TunedLogitBiasClassifierCV(
            LogisticRegression().set_fit_request(sample_weight=False),
            scoring=scorer,
            cv=GroupKFold(3),
            n_candidates=10,
        ).fit(X, y, sample_weight=weight, groups=groups)
        assert not hasattr(routed, "set_fit_request")
    plain = TunedLogitBiasClassifierCV(
        LogisticRegression(), scoring="accuracy", cv=GroupKFold(3), n_candidates=10
    ).fit(X, y, sample_weight=weight, groups=groups)
    assert routed.best_score_ == pytest.approx(plain.best_score_)
    np.testing.assert_allclose(routed.best_bias_, plain.best_bias_)
    assert np.abs(unweighted.estimator_.coef_ - routed.estimator_.coef_).max() > 0.01


def test_in_pipelines_and_searches(three):
    X, y = three
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        TunedLogitBiasClassifierCV(inner, cv=2),
        {"estimator__logisticregression__C": [0.01, 1.0], "scoring": ["f1_macro", "accuracy"]},
        cv=2,
        scoring="f1_macro",
        error_score="raise",
    ).fit(X, y)
    assert search.best_estimator_.scoring == search.best_params_["scoring"]
    outer = make_pipeline(StandardScaler(), TunedLogitBiasClassifierCV(LogisticRegression()))
    assert outer.fit(X, y).predict(X).shape == y.shape


def test_jobs_don_t_change_the_result(three):
    X, y = three
    model = TunedLogitBiasClassifierCV(RandomForestClassifier(5, random_state=0), cv=4)
    one = clone(model).fit(X, y)
    with parallel_config(backend="threading", n_jobs=2):
        two = clone(model).fit(X, y)
    np.testing.assert_array_equal(one.best_bias_, two.best_bias_)
    assert one.best_score_ == two.best_score_


def test_pairwise_decisions_are_refused(three):
    X, y = three
    X, y = X[:200], np.arange(200) % 4
    with pytest.raises(ValueError, match="decision_function_shape='ovr'"):
        TunedLogitBiasClassifierCV(SVC(decision_function_shape="ovo"), cv=2).fit(X, y)


def test_column_of_labels_and_other_targets(two):
    X, y = two
    with pytest.warns(Warning, match="A column-vector y was passed"):
        TunedLogitBiasClassifierCV(LogisticRegression(), cv=2).fit(X, y[:, None])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        TunedLogitBiasClassifierCV(LogisticRegression(), cv=2).fit(X, y * np.nan)
    with pytest.raises(ValueError, match="Unknown label type"):
        TunedLogitBiasClassifierCV(LogisticRegression(), cv=2).fit(X, X[:, 0])


def test_not_fitted(two):
    with pytest.raises(NotFittedError):
        TunedLogitBiasClassifierCV(LogisticRegression()).predict(two[0])


def test_on_cytology():
    """The breast cancer cytology table at 1:20: biases recover most of the recall."""
    X, y = load_breast_cancer(return_X_y=True)
    malignant = np.flatnonzero(y == 0)[:18]
    rows = np.r_[np.flatnonzero(y == 1), malignant]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    tuned = TunedLogitBiasClassifierCV(model, scoring="balanced_accuracy").fit(X[rows], y[rows])
    assert tuned.unbiased_score_ < 0.75
    assert tuned.best_score_ > 0.9
    assert tuned.best_bias_[0] > tuned.best_bias_[1]
