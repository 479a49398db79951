"""Pruning between folds and, for nets, between epochs."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcyto.model_selection import OptunaSearchCV
from skcyto.model_selection._search._pruning import final_net
from skcyto.neural_network import ImbalancedMLPClassifier


@pytest.fixture(scope="module")
def data():
    return make_classification(240, 8, n_informative=4, flip_y=0.1, weights=[0.7], random_state=0)


class Known(ClassifierMixin, BaseEstimator):
    """Scores `value` on every fold."""

    def __init__(self, value=0.0):
        self.value = value

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def score(self, X, y):
        return self.value


class PruneBelow(optuna.pruners.BasePruner):
    """Prunes where the last report is below a threshold; keeps what it was asked."""

    def __init__(self, threshold):
        self.threshold = threshold

    def prune(self, study, trial):
        return trial.intermediate_values[trial.last_step] < self.threshold


def test_pruned_candidates_in_the_results(data):
    grid = {"value": [0.2, 0.4, 0.6, 0.8]}
    search = OptunaSearchCV(
        Known(),
        grid,
        sampler=optuna.samplers.GridSampler(grid),
        pruner=PruneBelow(0.5),
        cv=3,
        return_train_score=True,
    ).fit(*data)
    results = search.cv_results_
    order = np.argsort([params["value"] for params in results["params"]])
    column = {name: np.asarray(values)[order] for name, values in results.items()}
    assert list(column["status"]) == ["pruned", "pruned", "complete", "complete"]
    np.testing.assert_array_equal(column["split0_test_score"], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_array_equal(column["split0_train_score"], [0.2, 0.4, 0.6, 0.8])
    for name in ("split1_test_score", "split2_test_score", "mean_test_score", "mean_fit_time"):
        np.testing.assert_array_equal(np.isnan(column[name]), [True, True, False, False])
    np.testing.assert_array_equal(column["rank_test_score"], [3, 3, 2, 1])
    assert search.best_params_ == {"value": 0.8}
    assert search.best_score_ == pytest.approx(0.8)
    for trial, status in zip(search.study_.trials, results["status"], strict=True):
        assert trial.state == (TrialState.PRUNED if status == "pruned" else TrialState.COMPLETE)
        assert list(trial.intermediate_values) == ([1] if status == "pruned" else [1, 2, 3])


def test_what_is_reported_is_the_mean_so_far(data):
    search = OptunaSearchCV(
        DecisionTreeClassifier(max_depth=2, random_state=0),
        {"min_samples_leaf": [1]},
        n_trials=1,
        pruner=PruneBelow(-1),
        cv=4,
    ).fit(*data)
    scores = [search.cv_results_[f"split{fold}_test_score"][0] for fold in range(4)]
    reported = search.study_.trials[0].intermediate_values
    np.testing.assert_allclose(
        [reported[step] for step in (1, 2, 3, 4)], [np.mean(scores[: k + 1]) for k in range(4)]
    )
    assert search.study_.best_value == pytest.approx(reported[4])
    wilcoxon = clone(search).set_params(pruner=wilcoxon_pruner()).fit(*data)
    assert list(wilcoxon.study_.trials[0].intermediate_values.values()) == scores


def wilcoxon_pruner():
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        return optuna.pruners.WilcoxonPruner()


def test_no_pruner_fits_all_and_pruning_changes_no_finished_score(data):
    space = {"max_depth": [1, 2, 3, 4, 5], "min_samples_leaf": [1, 5, 20, 60]}
    search = OptunaSearchCV(
        DecisionTreeClassifier(random_state=0), space, n_trials=20, cv=4, random_state=0
    ).fit(*data)
    assert set(search.cv_results_["status"]) == {"complete"}
    assert all(trial.intermediate_values == {} for trial in search.study_.trials)
    pruned = clone(search).set_params(pruner=optuna.pruners.MedianPruner()).fit(*data)
    status = pruned.cv_results_["status"]
    assert {"complete", "pruned"} == set(status)
    for params, score, state in zip(
        pruned.cv_results_["params"], pruned.cv_results_["mean_test_score"], status, strict=True
    ):
        if state == "complete":
            grid = {name: [value] for name, value in params.items()}
            plain = GridSearchCV(search.estimator, grid, cv=4).fit(*data)
            assert score == plain.best_score_


class FailsOnce(Known):
    def fit(self, X, y):
        if self.value == 0.4:
            raise RuntimeError("broken")
        return super().fit(X, y)


def test_failures_beside_pruning(data):
    grid = {"value": [0.2, 0.4, 0.8]}
    search = OptunaSearchCV(
        FailsOnce(),
        grid,
        sampler=optuna.samplers.GridSampler(grid),
        pruner=PruneBelow(0.5),
        cv=3,
    )
    with (
        pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 7"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(*data)
    status = dict(
        zip(
            [params["value"] for params in search.cv_results_["params"]],
            search.cv_results_["status"],
            strict=True,
        )
    )
    assert status == {0.2: "pruned", 0.4: "failed", 0.8: "complete"}


# --- nets ---------------------------------------------------------------------------------------


def net_search(**params):
    net = ImbalancedMLPClassifier(
        (8,), max_epochs=20, batch_size=64, device="cpu", random_state=0, lr_scheduler=None
    )
    settings = {
        "n_trials": 12,
        "cv": 3,
        "scoring": "balanced_accuracy",
        "random_state": 0,
        "refit": False,
        **params,
    }
    name = "imbalancedmlpclassifier__"
    space = {f"{name}learning_rate": loguniform(1e-5, 1e-1)}
    return OptunaSearchCV(make_pipeline(StandardScaler(), net), space, **settings)


PRUNERS = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=4),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=4),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS)
def test_epochs_are_pruned_the_same_whatever_n_jobs(data, pruner):
    one = net_search(pruner=PRUNERS[pruner]()).fit(*data)
    two = net_search(pruner=PRUNERS[pruner](), n_jobs=2).fit(*data)
    assert one.cv_results_["params"] == two.cv_results_["params"]
    for name in ("status", "split0_test_score", "split1_test_score", "mean_test_score"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    reports = [trial.intermediate_values for trial in one.study_.trials]
    assert reports == [trial.intermediate_values for trial in two.study_.trials]
    status = one.cv_results_["status"]
    assert set(status) == {"complete", "pruned"}
    # Somewhere a training was broken off between its epochs.
    assert any(
        state == "pruned" and max(steps) % 20 for state, steps in zip(status, reports, strict=True)
    )
    for state, steps in zip(status, reports, strict=True):
        if state == "complete":
            assert list(steps) == list(range(1, 61))


def test_reports_leave_training_as_it_is(data):
    """Scores of finished trials are those of a search that reports nothing."""
    watched = net_search(pruner=PruneBelow(-1), n_trials=3).fit(*data)
    plain = net_search(n_trials=3).fit(*data)
    for fold in range(3):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(watched.cv_results_[name], plain.cv_results_[name])
    # At the end of each fold stands the mean of the folds so far.
    reported = watched.study_.trials[1].intermediate_values
    scores = [watched.cv_results_[f"split{fold}_test_score"][1] for fold in range(3)]
    assert reported[40] == pytest.approx(np.mean(scores[:2]))


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_a_training_broken_off_is_no_failure(data, error_score):
    search = net_search(pruner=PruneBelow(2.0), n_trials=2, error_score=error_score)
    with pytest.raises(ValueError, match="no trial finished a fold"):
        search.fit(*data)
    assert [trial.state.name for trial in search.study_.trials] == ["PRUNED"] * 2
    assert [list(trial.intermediate_values) for trial in search.study_.trials] == [[1], [1]]


def test_candidates_with_more_epochs_keep_to_the_same_steps(data):
    search = net_search(pruner=PruneBelow(-1), n_trials=4)
    search.param_distributions = {"imbalancedmlpclassifier__max_epochs": [5, 20, 60]}
    search.fit(*data)
    for params, trial in zip(search.cv_results_["params"], search.study_.trials, strict=True):
        steps = list(trial.intermediate_values)
        assert steps[-1] == 60
        assert len(steps) == 3 * min(20, params["imbalancedmlpclassifier__max_epochs"])
        assert {20, 40, 60} <= set(steps)


def test_long_trainings_report_twenty_times(data):
    search = net_search(pruner=PruneBelow(-1), n_trials=1, cv=2)
    search.estimator.set_params(imbalancedmlpclassifier__max_epochs=45)
    search.fit(*data)
    steps = list(search.study_.trials[0].intermediate_values)
    assert len(steps) == 40
    assert steps[19::20] == [45, 90]


def test_users_callbacks_stay(data):
    from skorch.callbacks import EpochScoring

    own = EpochScoring(lambda net, X, y: 0.5, name="own")
    search = net_search(pruner=PruneBelow(-1), n_trials=1, refit=True)
    search.estimator.set_params(imbalancedmlpclassifier__callbacks=[own])
    search.fit(*data)
    history = search.best_estimator_[-1].net_.history
    assert history[-1, "own"] == 0.5
    # The search's own reporter is not in what was fitted at the end.
    names = [name for name, _ in search.best_estimator_[-1].net_.callbacks_]
    assert not any("Reporter" in name for name in names)


def test_several_metrics_and_weights_reach_the_reports(data):
    from sklearn import config_context
    from sklearn.metrics import accuracy_score, make_scorer

    X, y = data
    weight = np.where(y == 1, 5.0, 1.0)
    with config_context(enable_metadata_routing=True):
        net = ImbalancedMLPClassifier((8,), max_epochs=4, device="cpu", random_state=0)
        net.set_fit_request(sample_weight=True, groups=False)
        weighted = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        plain = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        search = OptunaSearchCV(
            net,
            {"dropout": [0.0]},
            n_trials=1,
            cv=2,
            pruner=PruneBelow(-1),
            scoring={"weighted": weighted, "plain": plain},
            refit="weighted",
        ).fit(X, y, sample_weight=weight)
    reported = search.study_.trials[0].intermediate_values
    assert reported[4] == pytest.approx(search.cv_results_["split0_test_weighted"][0])
    assert list(reported) == list(range(1, 9))
    assert search.cv_results_["mean_test_weighted"] != search.cv_results_["mean_test_plain"]


def test_which_estimators_have_epochs():
    net = ImbalancedMLPClassifier()
    assert final_net(net) is net
    assert final_net(make_pipeline(StandardScaler(), net)) is net
    assert final_net(make_pipeline(StandardScaler(), make_pipeline(net))) is net
    assert final_net(make_pipeline(net, DecisionTreeClassifier())) is None
    assert final_net(DecisionTreeClassifier()) is None
