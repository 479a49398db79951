"""OptunaSearchCV keeps what GridSearchCV promises."""

import pickle
import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skcyto import metrics
from skcyto.model_selection import OptunaSearchCV

GRID = {"C": [0.01, 0.1, 1.0], "gamma": [0.003, 0.03, 0.3]}
TIMES = {"mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    # With noise, so that candidates differ.
    return X + np.random.RandomState(0).normal(0, 1.0, X.shape), y


def rows(search):
    """Results as a table whose order depends on the parameters alone."""
    table = pd.DataFrame(search.cv_results_).assign(params=lambda t: t["params"].map(repr))
    table["params"] = [repr(sorted(p.items())) for p in search.cv_results_["params"]]
    return table.sort_values("params").reset_index(drop=True)


class Fussy(ClassifierMixin, BaseEstimator):
    """Predicts the constant `value`; fails to fit where it is in `bad`."""

    def __init__(self, value=0, bad=(), error=ValueError):
        self.value = value
        self.bad = bad
        self.error = error

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.value in self.bad:
            raise self.error(f"value {self.value} is bad")
        return self

    def predict(self, X):
        return np.full(len(X), self.value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("trials_per_batch", [1, 4, 100])
@pytest.mark.parametrize(
    "sampler",
    [lambda: optuna.samplers.GridSampler(GRID), optuna.samplers.BruteForceSampler],
    ids=["grid", "brute force"],
)
def test_with_a_grid_sampler_it_is_grid_search(iris, sampler, trials_per_batch):
    settings = {"cv": 4, "return_train_score": True}
    expected = GridSearchCV(SVC(), GRID, **settings).fit(*iris)
    search = OptunaSearchCV(
        SVC(), GRID, sampler=sampler(), n_trials=50, trials_per_batch=trials_per_batch, **settings
    ).fit(*iris)
    assert set(search.cv_results_) == set(expected.cv_results_) | {"status", "trial"}
    compared = sorted(set(expected.cv_results_) - TIMES - {"params"})
    pd.testing.assert_frame_equal(
        rows(search)[compared], rows(expected)[compared], check_dtype=False
    )
    assert search.best_params_ == expected.best_params_
    assert search.best_score_ == expected.best_score_
    np.testing.assert_array_equal(search.predict(iris[0]), expected.predict(iris[0]))
    assert search.score(*iris) == expected.score(*iris)
    assert search.n_splits_ == 4
    assert list(search.classes_) == [0, 1, 2]
    assert search.n_features_in_ == 4
    assert set(search.cv_results_["status"]) == {"complete"}


def test_three_metrics_and_refit(iris):
    scoring = {
        "acc": "accuracy",
        "macro": "recall_macro",
        "loss": get_scorer("neg_log_loss"),
    }
    grid = {"C": [0.001, 0.1, 10.0]}
    settings = {"scoring": scoring, "refit": "loss", "cv": 3}
    estimator = LogisticRegression(max_iter=1000)
    expected = GridSearchCV(estimator, grid, **settings).fit(*iris)
    sampler = optuna.samplers.GridSampler(grid)
    search = OptunaSearchCV(estimator, grid, sampler=sampler, **settings).fit(*iris)
    for name in scoring:
        column = f"mean_test_{name}"
        np.testing.assert_array_equal(rows(search)[column], rows(expected)[column])
    assert search.best_params_ == expected.best_params_
    assert search.best_score_ == expected.best_score_ == search.study_.best_value
    assert search.score(*iris) == expected.score(*iris)
    assert search.multimetric_
    assert set(search.scorer_) == set(scoring)


@pytest.mark.parametrize(
    ("scoring", "same", "refit"),
    [
        ("average_f1", metrics.get_scorer("average_f1"), True),
        # By name scikit-learn's needs probabilities, which this estimator hasn't.
        ("roc_auc_ovr", metrics.get_scorer("roc_auc_ovr"), True),
        (
            ["accuracy", "average_f1"],
            metrics.get_scorers(["accuracy", "average_f1"]),
            "average_f1",
        ),
        (
            {"mine": "average_f1", "theirs": "jaccard_macro"},
            {"mine": metrics.get_scorer("average_f1"), "theirs": "jaccard_macro"},
            "mine",
        ),
    ],
    ids=["own", "both", "list", "dict"],
)
def test_skcytos_scorers_by_name(iris, scoring, same, refit):
    grid = {"C": [0.01, 0.1, 1.0]}
    expected = GridSearchCV(SVC(), grid, scoring=same, refit=refit, cv=3).fit(*iris)
    sampler = optuna.samplers.GridSampler(grid)
    search = OptunaSearchCV(SVC(), grid, sampler=sampler, scoring=scoring, refit=refit, cv=3)
    copied = clone(search)
    with config_context(enable_metadata_routing=True):
        search.fit(*iris)
    assert np.isfinite(expected.best_score_)
    assert search.best_score_ == expected.best_score_
    assert search.best_params_ == expected.best_params_
    assert search.score(*iris) == expected.score(*iris)
    columns = [name for name in expected.cv_results_ if "test" in name]
    pd.testing.assert_frame_equal(rows(search)[columns], rows(expected)[columns], check_dtype=False)
    # The parameter is as it was given.
    assert search.get_params()["scoring"] is scoring
    assert copied.scoring == scoring
    assert pickle.loads(pickle.dumps(search)).score(*iris) == search.score(*iris)


def test_scores_of_probabilities_by_skcytos_names(iris):
    names = ["accuracy", "neg_expected_calibration_error"]
    search = OptunaSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [0.01, 1.0]},
        n_trials=3,
        cv=3,
        scoring=names,
        refit="accuracy",
        random_state=0,
    ).fit(*iris)
    assert set(search.scorer_) == set(names)
    assert (search.cv_results_["mean_test_neg_expected_calibration_error"] < 0).all()


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        # The message lists all names: skcyto's and scikit-learn's.
        ("average_f2", "(?=.*'average_f1')(?=.*'jaccard_macro')"),
        (["accuracy", "average_f2"], r"'average_f2' is unknown, did you mean 'average_f1'"),
        ({"mine": "average_f2"}, r"'average_f2' is unknown, did you mean 'average_f1'"),
        (["accuracy", "accuracy"], "[Dd]uplicate"),
        ([], "[Ee]mpty"),
        (["accuracy", f1_score], "callable"),
    ],
)
def test_names_that_are_no_scorers(iris, scoring, message):
    search = clone(OptunaSearchCV(SVC(), {"C": [0.1, 1.0]}, scoring=scoring, refit=False))
    with pytest.raises(ValueError, match=message):
        search.fit(*iris)


def test_callable_refit_and_callable_scoring(iris):
    def scoring(estimator, X, y):
        return {"acc": estimator.score(X, y), "depth": -estimator.get_depth()}

    def shallowest(results):
        return int(np.argmax(results["mean_test_depth"]))

    space = {"max_depth": [1, 2, 3, 4]}
    search = OptunaSearchCV(
        DecisionTreeClassifier(random_state=0),
        space,
        n_trials=8,
        scoring=scoring,
        refit=shallowest,
        objectives=["acc"],
        random_state=0,
    ).fit(*iris)
    assert search.cv_results_["mean_test_depth"][search.best_index_] == max(
        search.cv_results_["mean_test_depth"]
    )
    assert not hasattr(search, "best_score_")
    by_name = clone(search).set_params(refit="acc", objectives=None).fit(*iris)
    assert by_name.best_score_ == by_name.study_.best_value
    with pytest.raises(ValueError, match="not \\['score'\\]: name one of them in refit"):
        clone(search).set_params(refit=True, objectives=None).fit(*iris)


def test_several_objectives(iris):
    search = OptunaSearchCV(
        LogisticRegression(),
        {"C": loguniform(1e-3, 1e3)},
        scoring=["accuracy", "neg_log_loss"],
        objectives=["accuracy", "neg_log_loss"],
        refit="accuracy",
        n_trials=8,
        cv=3,
        random_state=0,
    ).fit(*iris)
    results = search.cv_results_
    expected = np.column_stack([results["mean_test_accuracy"], results["mean_test_neg_log_loss"]])
    np.testing.assert_array_equal([trial.values for trial in search.study_.trials], expected)
    assert all(trial.number in results["trial"] for trial in search.study_.best_trials)
    assert search.best_score_ == results["mean_test_accuracy"].max()
    # A search that names no score maximises all of them.
    free = clone(search).set_params(objectives=None, refit=False).fit(*iris)
    assert len(free.study_.directions) == 2
    assert not hasattr(free, "best_params_")
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        clone(search).set_params(refit=True).fit(*iris)


def test_groups_stay_whole(iris):
    X, y = iris
    groups = np.random.RandomState(0).randint(0, 12, len(y))
    # The last column names the group: the estimator can tell whom it has seen.
    X = np.column_stack([X, groups])

    class Witness(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None, check_input=True):
            self.seen_ = set(X[:, -1])
            return super().fit(X, y)

        def score(self, X, y):
            assert not self.seen_ & set(X[:, -1])
            return super().score(X, y)

    grid = {"max_depth": [1, 2, 3]}
    settings = {"cv": StratifiedGroupKFold(3), "error_score": "raise"}
    sampler = optuna.samplers.GridSampler(grid)
    search = OptunaSearchCV(Witness(random_state=0), grid, sampler=sampler, **settings)
    search.fit(X, y, groups=groups)
    expected = GridSearchCV(Witness(random_state=0), grid, **settings).fit(X, y, groups=groups)
    assert search.best_score_ == expected.best_score_
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        search.set_params(cv=GroupKFold(3)).fit(X, y)


def test_metadata_is_routed(iris):
    X, y = iris
    weight = np.random.RandomState(0).uniform(0.1, 2, len(y))
    groups = np.arange(len(y)) % 10
    grid = {"C": [0.01, 1.0]}
    with config_context(enable_metadata_routing=True):
        estimator = LogisticRegression().set_fit_request(sample_weight=True)
        estimator.set_score_request(sample_weight=True)
        settings = {"cv": GroupKFold(3)}
        expected = GridSearchCV(estimator, grid, **settings)
        expected.fit(X, y, sample_weight=weight, groups=groups)
        sampler = optuna.samplers.GridSampler(grid)
        search = OptunaSearchCV(estimator, grid, sampler=sampler, **settings)
        search.fit(X, y, sample_weight=weight, groups=groups)
        np.testing.assert_array_equal(
            rows(search)["mean_test_score"], rows(expected)["mean_test_score"]
        )
        outer = cross_validate(
            search, X, y, params={"sample_weight": weight, "groups": groups}, cv=GroupKFold(2)
        )
        assert np.isfinite(outer["test_score"]).all()


@pytest.mark.parametrize("error_score", [np.nan, -1.0])
def test_a_failing_trial_under_a_numeric_error_score(iris, error_score):
    grid = {"value": [0, 1, 2]}
    settings = {"error_score": error_score, "cv": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = GridSearchCV(Fussy(bad=(1,)), grid, **settings).fit(*iris)
    search = OptunaSearchCV(
        Fussy(bad=(1,)), grid, sampler=optuna.samplers.GridSampler(grid), **settings
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(*iris)
    (failed,) = (w for w in caught if w.category is FitFailedWarning)
    assert "3 fits failed out of a total of 9" in str(failed.message)
    assert "value 1 is bad" in str(failed.message)
    table = rows(search)
    for column in ("mean_test_score", "split2_test_score", "rank_test_score"):
        np.testing.assert_array_equal(table[column], rows(expected)[column])
    assert list(table["status"]) == ["complete", "failed", "complete"]
    state = search.study_.trials[table["trial"][1]].state.name
    # A number is a result, from which the sampler learns; NaN is none.
    assert state == ("FAIL" if np.isnan(error_score) else "COMPLETE")
    assert any("non-finite" in str(w.message) for w in caught) == np.isnan(error_score)


def test_a_failing_trial_raises_where_asked(iris):
    search = OptunaSearchCV(
        Fussy(bad=(1,)), {"value": [0, 1]}, n_trials=20, error_score="raise", random_state=0
    )
    with pytest.raises(ValueError, match="value 1 is bad"):
        search.fit(*iris)


def test_a_whole_batch_may_fail_but_not_all_fits(iris):
    grid = {"value": [0, 1, 2, 3]}
    search = OptunaSearchCV(
        Fussy(bad=(0, 1, 2)),
        grid,
        sampler=optuna.samplers.GridSampler(grid),
        trials_per_batch=1,
        cv=3,
    )
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(*iris)
    assert search.best_params_ == {"value": 3}
    with pytest.raises(ValueError, match="All the 12 fits failed"):
        search.set_params(estimator=Fussy(bad=(0, 1, 2, 3))).fit(*iris)


def test_failing_scores(iris):
    def scoring(estimator, X, y):
        if estimator.max_depth == 1:
            raise RuntimeError("no score")
        return estimator.score(X, y)

    grid = {"max_depth": [1, 2]}
    search = OptunaSearchCV(
        DecisionTreeClassifier(), grid, sampler=optuna.samplers.GridSampler(grid), scoring=scoring
    )
    with pytest.warns(UserWarning, match="no score"), pytest.warns(UserWarning, match="non-finite"):
        search.fit(*iris)
    assert list(rows(search)["status"]) == ["failed", "complete"]
    assert search.best_params_ == {"max_depth": 2}


def test_same_results_for_every_n_jobs(iris):
    search = OptunaSearchCV(
        SVC(),
        {"C": loguniform(1e-3, 1e3), "gamma": loguniform(1e-4, 1e1)},
        n_trials=15,
        cv=3,
        trials_per_batch=5,
        random_state=0,
    )
    one = clone(search).fit(*iris)
    two = clone(search).set_params(n_jobs=2).fit(*iris)
    again = one.cv_results_
    one.fit(*iris)
    for other in (two.cv_results_, again):
        assert one.cv_results_["params"] == other["params"]
        np.testing.assert_array_equal(one.cv_results_["mean_test_score"], other["mean_test_score"])
    other_seed = clone(search).set_params(random_state=1).fit(*iris)
    assert one.cv_results_["params"] != other_seed.cv_results_["params"]
    # Candidates of a batch are kept apart.
    assert len({tuple(params.values()) for params in one.cv_results_["params"]}) == 15


def test_the_sampler_learns(iris):
    """The second half of the trials scores better than the first, random half."""
    search = OptunaSearchCV(
        SVC(), {"C": loguniform(1e-4, 1e4), "gamma": loguniform(1e-5, 1e3)}, n_trials=40, cv=3
    )
    gains = []
    for seed in range(2):
        scores = search.set_params(random_state=seed).fit(*iris).cv_results_["mean_test_score"]
        gains.append(scores[20:].mean() - scores[:10].mean())
    assert np.mean(gains) > 0.1


def test_folds_are_drawn_once(iris):
    """Every candidate sees the same folds, also where the splitter draws new ones each time."""
    search = OptunaSearchCV(
        DecisionTreeClassifier(random_state=0),
        {"max_depth": [2, 2, 2]},
        n_trials=6,
        trials_per_batch=2,
        cv=ShuffleSplit(2, test_size=0.3),
    ).fit(*iris)
    assert len(set(search.cv_results_["split0_test_score"])) == 1


def test_without_target_and_without_refit(iris):
    X, _ = iris
    grid = {"n_clusters": [2, 3]}
    estimator = KMeans(n_init=1, random_state=0)
    sampler = optuna.samplers.GridSampler(grid)
    search = OptunaSearchCV(estimator, grid, sampler=sampler, refit=False).fit(X)
    assert search.best_params_ == {"n_clusters": 3}
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "n_features_in_")
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        search.predict(X)


def test_tables_pickles_and_a_second_fit(iris):
    X = pd.DataFrame(iris[0], columns=list("abcd"))
    y = np.array(["x", "y", "z"])[iris[1]]
    search = OptunaSearchCV(SVC(), {"C": [0.1, 1.0]}, n_trials=2, cv=2, random_state=0).fit(X, y)
    assert list(search.feature_names_in_) == list("abcd")
    restored = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(restored.predict(X), search.predict(X))
    assert len(restored.study_.trials) == 2
    assert len(search.fit(X, y).study_.trials) == 2


def test_timeout_ends_the_search(iris):
    search = OptunaSearchCV(
        SVC(), {"C": loguniform(0.1, 1)}, n_trials=None, timeout=0.2, trials_per_batch=2, cv=2
    ).fit(*iris)
    assert len(search.cv_results_["params"]) % 2 == 0
    # The first batch is run whatever its time.
    search.set_params(timeout=1e-9).fit(*iris)
    assert len(search.cv_results_["params"]) == 2


def test_optuna_is_quiet_and_progress_is_shown_on_demand(iris, capfd):
    before = optuna.logging.get_verbosity()
    search = OptunaSearchCV(SVC(), {"C": [0.1, 1.0]}, n_trials=2, cv=2).fit(*iris)
    assert capfd.readouterr() == ("", "")
    search.set_params(verbose=1).fit(*iris)
    out, err = capfd.readouterr()
    assert "2/2" in err
    assert out == ""
    search.set_params(verbose=2).fit(*iris)
    assert "[CV] END" in capfd.readouterr().out
    assert optuna.logging.get_verbosity() == before


BAD = [
    ({"n_trials": 0}, "n_trials"),
    ({"trials_per_batch": 0}, "trials_per_batch"),
    ({"timeout": 0}, "timeout"),
    ({"sampler": "tpe"}, "sampler"),
    ({"n_trials": None}, "n_trials and timeout are both None"),
    ({"objectives": ["f1"], "scoring": ["accuracy"], "refit": "accuracy"}, "distinct names"),
    ({"objectives": []}, "distinct names"),
    (
        {
            "pruner": optuna.pruners.MedianPruner(),
            "scoring": ["accuracy", "f1_macro"],
            "refit": False,
        },
        "pruner can't be used with several objectives",
    ),
    ({"study": optuna.create_study(), "cv": 2}, "study must maximise"),
    (
        {"study": optuna.create_study(direction="maximize"), "storage": "sqlite:///x.db"},
        "storage can't be given along with study",
    ),
    (
        {"study": optuna.create_study(directions=["maximize", "maximize"])},
        "study has 2 objective\\(s\\) and the search 1",
    ),
    ({"cv": []}, "No fits were performed"),
    ({"estimator": SVC(), "param_distributions": {"depth": [1]}}, "Invalid parameter 'depth'"),
]


@pytest.mark.parametrize(("params", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_parameters(iris, params, message):
    search = OptunaSearchCV(SVC(), {"C": [0.1, 1.0]})
    with pytest.raises(ValueError, match=message):
        search.set_params(**params).fit(*iris)


def test_callbacks_of_scikit_learn_are_not_ignored_in_silence(iris):
    search = OptunaSearchCV(SVC(), {"C": [0.1, 1.0]})
    search._skl_callbacks = [object()]  # what set_callbacks does from scikit-learn 1.9 on
    with pytest.raises(ValueError, match="use verbose=1"):
        search.fit(*iris)
