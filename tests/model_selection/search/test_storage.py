"""Searches in a storage: keyed by their data, resumed after a crash, shared by processes."""

import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcyto.losses import Focal, get_loss
from skcyto.model_selection import OptunaSearchCV
from skcyto.model_selection._search._ledger import OWNER, RECORD, key_of, queue_again
from skcyto.neural_network import ImbalancedMLPClassifier

SPACE = {"max_depth": [1, 2, 3, 4, 5, 6], "ccp_alpha": loguniform(1e-4, 1e-1)}


class LoggedTree(DecisionTreeClassifier):
    """Writes a line to the file LOG for every fit, and takes its time."""

    def fit(self, X, y, sample_weight=None, check_input=True):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{self.max_depth} {self.ccp_alpha} {len(X)}\n")
        return super().fit(X, y)


@pytest.fixture
def log(tmp_path, monkeypatch):
    path = tmp_path / "fits.log"
    path.touch()
    monkeypatch.setenv("LOG", str(path))
    return path


@pytest.fixture(scope="module")
def data():
    return make_classification(150, 6, flip_y=0.2, random_state=0)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'trials.db'}"


def make_search(storage, **params):
    settings = {"n_trials": 6, "cv": 3, "random_state": 0, "refit": False, **params}
    return OptunaSearchCV(LoggedTree(random_state=0), SPACE, storage=storage, **settings)


def fits(log):
    return len(log.read_text(encoding="utf-8").splitlines())


def assert_same_results(a, b):
    assert a.cv_results_["params"] == b.cv_results_["params"]
    for name in ("split0_test_score", "split2_test_score", "mean_test_score"):
        np.testing.assert_array_equal(a.cv_results_[name], b.cv_results_[name])
    np.testing.assert_array_equal(a.cv_results_["status"], b.cv_results_["status"])


def test_a_second_run_computes_nothing_and_a_longer_one_goes_on(data, url, log):
    first = make_search(url).fit(*data)
    assert fits(log) == 18
    again = make_search(url).fit(*data)
    assert fits(log) == 18
    assert_same_results(first, again)
    np.testing.assert_array_equal(
        first.cv_results_["mean_fit_time"], again.cv_results_["mean_fit_time"]
    )
    longer = make_search(url, n_trials=11).fit(*data)
    assert fits(log) == 33
    assert longer.cv_results_["params"][:6] == first.cv_results_["params"]
    assert_same_results(longer, make_search(None, n_trials=11).fit(*data))


def test_journal_storage(data, tmp_path, log):
    def storage():
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
        return optuna.storages.JournalStorage(backend)

    first = make_search(storage()).fit(*data)
    again = make_search(storage()).fit(*data)
    assert fits(log) == 18
    assert_same_results(first, again)


def test_outer_folds_of_nested_cross_validation_share_no_trial(data, url, log):
    X, y = data
    groups = np.arange(len(y)) % 15
    search = make_search(url, refit=True, cv=GroupKFold(3))

    def nested(search):
        scores = []
        fitted = []
        for train, test in GroupKFold(4).split(X, y, groups):
            estimator = clone(search).fit(X[train], y[train], groups=groups[train])
            scores.append(estimator.score(X[test], y[test]))
            fitted.append(estimator)
        return scores, fitted

    scores, fitted = nested(search)
    studies = [estimator.study_ for estimator in fitted]
    assert len({study.study_name for study in studies}) == 4
    assert len({study._study_id for study in studies}) == 4
    ids = [trial._trial_id for study in studies for trial in study.trials]
    assert len(ids) == len(set(ids)) == 24
    keys = [{key_of(trial) for trial in study.trials} for study in studies]
    assert all(len(key) == 1 for key in keys)
    assert len(set.union(*keys)) == 4
    # The same numbers as with each fold's search in a memory of its own.
    without, in_memory = nested(search.set_params(storage=None))
    assert scores == without
    for kept, plain in zip(fitted, in_memory, strict=True):
        assert_same_results(kept, plain)
    # Once more: all is found, nothing but the four refits is fitted.
    before = fits(log)
    assert nested(search.set_params(storage=url))[0] == scores
    assert fits(log) == before + 4
    assert len(optuna.get_all_study_names(url)) == 4


def test_cross_validate_with_a_storage(data, url, log):
    search = make_search(url, refit=True)
    first = cross_validate(search, *data, cv=3)
    before = fits(log)
    again = cross_validate(search, *data, cv=3)
    np.testing.assert_array_equal(first["test_score"], again["test_score"])
    assert fits(log) == before + 3
    assert len(optuna.get_all_study_names(url)) == 3


# This module under its own name, whatever else is called tests on the machine.
SCRIPT = """
import importlib.util, sys
try:
    from joblib.externals import cloudpickle
except ImportError:  # joblib 1.6 and later
    import cloudpickle

spec = importlib.util.spec_from_file_location({name!r}, {path!r})
module = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
cloudpickle.register_pickle_by_value(module)
data = module.make_classification(150, 6, flip_y=0.2, random_state=0)
module.make_search({url!r}, n_trials={n_trials}, n_jobs={n_jobs}).fit(*data)
"""


def start(url, n_trials, n_jobs=None, **environment):
    script = SCRIPT.format(name=__name__, path=__file__, url=url, n_trials=n_trials, n_jobs=n_jobs)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        start_new_session=True,
    )


def trials_of(url):
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_loses_no_finished_trial(data, url, log, n_jobs):
    process = start(url, 12, n_jobs, PAUSE="0.08")
    try:
        deadline = time.monotonic() + 600
        while fits(log) < 17:  # in the middle of the second batch
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {t.number: t for t in trials_of(url) if RECORD in t.user_attrs}
    assert 4 <= len(before) < 12
    assert any(trial.state == TrialState.RUNNING for trial in trials_of(url))
    log.write_text("")

    resumed = make_search(url, n_trials=12).fit(*data)
    # What was finished is not fitted again, all else is.
    assert fits(log) == (12 - len(before)) * 3
    after = {trial.number: trial for trial in trials_of(url)}
    for number, trial in before.items():
        assert after[number].user_attrs[RECORD] == trial.user_attrs[RECORD]
        assert after[number].params == trial.params
        assert after[number].state == TrialState.COMPLETE
    assert set(before) <= set(resumed.cv_results_["trial"])
    assert not any(trial.state == TrialState.RUNNING for trial in after.values())
    # And the search comes to what it would have without the crash.
    assert_same_results(resumed, make_search(None, n_trials=12).fit(*data))


def test_interrupted_and_resumed_in_one_session(data, url, log, monkeypatch):
    fit, calls = DecisionTreeClassifier.fit, []

    def interrupt(self, X, y):
        calls.append(1)
        if len(calls) == 16:
            raise KeyboardInterrupt
        return fit(self, X, y)

    with monkeypatch.context() as patch:
        # Not the class's own method: other code would be another estimator.
        patch.setattr(DecisionTreeClassifier, "fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_search(url, n_trials=12).fit(*data)
    log.write_text("", encoding="utf-8")
    resumed = make_search(url, n_trials=12).fit(*data)
    # Of 15 fits, five trials were whole.
    assert fits(log) == (12 - 5) * 3
    assert_same_results(resumed, make_search(None, n_trials=12).fit(*data))


def test_a_trial_that_kills_its_process_is_tried_three_times(data, url, log):
    def deadly(self, X, y, sample_weight=None, check_input=True):
        raise SystemExit

    search = make_search(url, n_trials=2, trials_per_batch=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoggedTree, "fit", deadly)
        for _ in range(4):
            with pytest.raises(SystemExit):
                search.fit(*data)
    trials = trials_of(url)
    assert [trial.state.name for trial in trials] == ["FAIL"] * 4 + ["WAITING"]
    assert trials[0].params == trials[1].params == trials[2].params != trials[3].params
    assert len(search.fit(*data).cv_results_["params"]) == 2


def forge(url, name):
    """Leave a running trial behind, of a search on another machine."""
    study = optuna.load_study(study_name=name, storage=url)
    trial = study.ask()
    identity = {"host": "elsewhere", "pid": 1, "started": "1", "search": "x"}
    trial.set_user_attr(OWNER, {**study.trials[0].user_attrs[OWNER], **identity})
    trial.suggest_categorical("max_depth", SPACE["max_depth"])
    return study, trial


def test_a_machine_whose_heart_stops_is_not_waited_for(data, url, log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            url, heartbeat_interval=1, grace_period=2, **{callback_name(): queue_again}
        )
    first = make_search(storage, n_trials=2).fit(*data)
    _, trial = forge(url, first.study_.study_name)
    first.study_._storage.record_heartbeat(trial._trial_id)
    second = make_search(storage, n_trials=3).fit(*data)
    states = [trial.state.name for trial in second.study_.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert second.study_.trials[3].params["max_depth"] == trial.params["max_depth"]
    assert list(second.cv_results_["trial"]) == [0, 1, 3]
    storage.engine.dispose()


def callback_name():
    import inspect

    names = inspect.signature(optuna.storages.RDBStorage).parameters
    return next(
        name
        for name in ("heartbeat_stale_trial_callback", "failed_trial_callback")
        if name in names
    )


def test_where_no_heart_beats_other_machines_are_not_waited_for(data, url, log):
    first = make_search(url, n_trials=2).fit(*data)
    _, trial = forge(url, first.study_.study_name)
    second = make_search(url, n_trials=3).fit(*data)
    assert len(second.cv_results_["params"]) == 3
    assert second.study_.trials[trial.number].state == TrialState.RUNNING


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_the_key_is_of_content(data):
    X, y = data
    groups = np.arange(len(y)) % 10
    base = {
        "X": X,
        "y": y,
        "groups": groups,
        "estimator": make_pipeline(StandardScaler(), LogisticRegression()),
        "cv": StratifiedKFold(3),
        "scoring": "accuracy",
        "param_distributions": {"logisticregression__C": [0.1, 1.0]},
        "storage": optuna.storages.InMemoryStorage(),
        "n_trials": 1,
        "random_state": 0,
        "refit": False,
    }

    def name(**changes):
        params = {**base, **changes}
        X, y, groups = (params.pop(key) for key in ("X", "y", "groups"))
        return OptunaSearchCV(**params).fit(X, y, groups=groups).study_.study_name

    expected = name()
    same = [
        name(X=X.copy(), y=list(y)),
        name(n_jobs=1, n_trials=2, random_state=None, verbose=0, error_score=0.0),
        name(estimator=make_pipeline(StandardScaler(), LogisticRegression(verbose=0, n_jobs=1))),
        name(cv=3),
        name(scoring="accuracy", sampler=optuna.samplers.RandomSampler()),
    ]
    other = [
        name(X=X + 1e-9),
        name(y=1 - y),
        name(groups=groups[::-1]),
        name(X=X[:-1], y=y[:-1], groups=groups[:-1]),
        name(estimator=make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3))),
        name(estimator=make_pipeline(StandardScaler(with_mean=False), LogisticRegression())),
        name(cv=4),
        name(cv=StratifiedKFold(3, shuffle=True, random_state=0)),
        name(scoring="roc_auc"),
        name(scoring=["accuracy", "roc_auc"], objectives=["accuracy"]),
        name(scoring=["accuracy", "roc_auc"], objectives=["roc_auc"]),
        name(param_distributions={"logisticregression__C": [0.1, 2.0]}),
        name(return_train_score=True),
    ]
    assert set(same) == {expected}
    assert len({*other, expected}) == len(other) + 1
    assert expected.startswith("OptunaSearchCV-Pipeline-")


def test_folds_that_change_at_every_call_are_refused(data, url):
    search = make_search(url, cv=ShuffleSplit(3))
    with pytest.raises(ValueError, match="gives other folds at every call"):
        search.fit(*data)


def test_a_study_of_the_users_own(data, log):
    X, y = data
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=3))
    study.enqueue_trial({"max_depth": 3, "ccp_alpha": 0.05})
    search = make_search(None, study=study, n_trials=5).fit(X, y)
    assert search.study_ is study
    assert search.cv_results_["params"][0] == {"max_depth": 3, "ccp_alpha": 0.05}
    assert isinstance(study.sampler, optuna.samplers.RandomSampler)
    assert len(study.trials) == 5
    # It goes on with the same data and is refused with others.
    search.set_params(n_trials=7).fit(X, y)
    assert len(study.trials) == 7
    with pytest.raises(ValueError, match="holds trials of other data"):
        search.fit(X[:-1], y[:-1])
    # Outer folds get copies of it where it is in memory.
    empty = optuna.create_study(direction="maximize")
    cross_validate(make_search(None, study=empty, refit=True), X, y, cv=2, error_score="raise")
    assert empty.trials == []


def test_a_study_of_the_users_own_in_a_storage_cannot_mix_outer_folds(data, url, log):
    study = optuna.create_study(direction="maximize", storage=url)
    search = make_search(None, study=study, refit=True)
    with pytest.raises(ValueError, match="leak from one outer fold into another"):
        cross_validate(search, *data, cv=2, error_score="raise")


def test_failed_and_pruned_trials_come_back(data, url):
    grid = {"max_depth": [0, 1, 2, 3]}  # 0 is refused
    settings = {"cv": 3, "storage": url, "refit": False, "random_state": 0, "n_trials": 12}
    search = OptunaSearchCV(
        DecisionTreeClassifier(random_state=0),
        grid,
        pruner=optuna.pruners.ThresholdPruner(lower=0.81),
        **settings,
    )
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        first = clone(search).fit(*data)
    assert {"complete", "pruned", "failed"} == set(first.cv_results_["status"])
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        again = clone(search).fit(*data)
    assert_same_results(first, again)
    # The score of a fold that failed is the searcher's choice at any time.
    with pytest.warns(FitFailedWarning, match="will be set to -1.0"):
        scored = clone(search).set_params(error_score=-1.0).fit(*data)
    failed = first.cv_results_["status"] == "failed"
    assert (scored.cv_results_["mean_test_score"][failed] == -1).all()


def everything(X):
    return X


def nothing_but_the_first(X):
    return X[:, :1]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([nothing_but_the_first], [everything]),
        ([lambda X: X[:, :1]], [lambda X: X]),
        ([None, nothing_but_the_first], [None, everything]),
    ],
)
def test_choices_of_the_same_label_are_not_taken_for_one_another(data, url, one, two):
    def search(functions, storage):
        pipeline = make_pipeline(FunctionTransformer(), LogisticRegression())
        return OptunaSearchCV(
            pipeline,
            {"functiontransformer__func": functions},
            n_trials=len(functions) + 1,
            sampler=optuna.samplers.BruteForceSampler(seed=0),
            cv=3,
            storage=storage,
            random_state=0,
        ).fit(*data)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search(one, url)
        second, alone = search(two, url), search(two, None)
    assert second.best_params_ == alone.best_params_
    np.testing.assert_array_equal(
        second.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("own_study", [False, True])
def test_a_grid_of_objects_needs_another_sampler_in_a_storage(data, url, own_study, monkeypatch):
    grid = {"loss": [get_loss("ce"), Focal(gamma=1.5)]}
    network = ImbalancedMLPClassifier((4,), max_epochs=1, random_state=0)
    with pytest.warns(UserWarning, match="persistent storage"):  # optuna's own
        sampler = optuna.samplers.GridSampler(grid)
    if own_study:
        storage = {"study": optuna.create_study(storage=url, direction="maximize", sampler=sampler)}
    else:
        storage = {"storage": url, "sampler": sampler}
    search = OptunaSearchCV(network, grid, n_trials=2, cv=2, **storage)
    with monkeypatch.context() as patch:
        patch.setattr(ImbalancedMLPClassifier, "fit", lambda *args: pytest.fail("a fit began"))
        with pytest.raises(ValueError, match=r"grid of 'loss' holds .*BruteForceSampler"):
            search.fit(*data)
    if own_study:
        return
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        search.set_params(sampler=optuna.samplers.BruteForceSampler())
    search.fit(*data)
    kinds = {type(params["loss"]).__name__ for params in search.cv_results_["params"]}
    assert kinds == {type(loss).__name__ for loss in grid["loss"]}
