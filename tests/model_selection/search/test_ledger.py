"""Trials that several searches ask for in the same moment."""

import threading
import time
from functools import partialmethod

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from scipy.stats import uniform
from sklearn.tree import DecisionTreeClassifier

from skcyto.model_selection import OptunaSearchCV
from skcyto.model_selection._search import _ledger as _search_ledger
from skcyto.model_selection._search._ledger import OWNER, TrialLedger
from skcyto.model_selection._search._space import make_space
from skcyto.model_selection._search._worker import Worker


@pytest.fixture
def make_ledger(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(storage=url, study_name="shared")

    def make(worker):
        return TrialLedger(
            optuna.load_study(storage=url, study_name="shared"),
            "key",
            make_space({"C": uniform(0, 1)}),
            worker,
            n_trials=10,
            make_sampler=RandomSampler,
        )

    return make


def test_a_trial_that_has_not_said_whose_it_is_yet_keeps_its_rank(make_ledger, monkeypatch):
    begun = threading.Event()
    plain = optuna.Trial.set_user_attr

    def late(trial, key, value):
        if key == OWNER and threading.current_thread().name == "slow":
            begun.set()
            time.sleep(0.5)
        plain(trial, key, value)

    monkeypatch.setattr(optuna.Trial, "set_user_attr", late)
    found = {}

    def ask(ledger):
        found["slow"] = ledger.ask(1)[0]

    with Worker() as worker:
        thread = threading.Thread(target=ask, args=[make_ledger(worker)], name="slow")
        thread.start()
        assert begun.wait(30)
        found["quick"] = make_ledger(worker).ask(1)[0]
        thread.join(30)
    for rank, name in enumerate(["slow", "quick"]):
        study = optuna.create_study(sampler=RandomSampler(rank))
        expected = study.ask({"C": optuna.distributions.FloatDistribution(0, 1)})
        assert found[name].number == rank
        assert found[name].params == expected.params


def test_a_trial_of_nobody_is_waited_for_once(make_ledger, monkeypatch):
    monkeypatch.setattr(_search_ledger, "_PATIENCE", 0.2)
    with Worker() as worker:
        ledger = make_ledger(worker)
        ledger.study.ask()  # as by a process that died right after
        start = time.monotonic()
        first = ledger.ask(1)
        assert time.monotonic() - start >= 0.2
        monkeypatch.setattr(_search_ledger, "_PATIENCE", 3600.0)
        rest = ledger.ask(20)
    assert [c.number for c in first + rest] == list(range(1, 11))
    assert len({c.params["C"] for c in first + rest}) == 10


class Killed(BaseException):
    """In place of a signal: from then on, nothing reaches the storage."""


# As called by the cache that optuna puts before a database.
WRITES = (
    "create_new_study",
    "_create_new_trial",
    "_set_trial_param",
    "set_trial_user_attr",
    "set_trial_state_values",
)


def search(url):
    return OptunaSearchCV(
        DecisionTreeClassifier(random_state=0),
        {"max_depth": [1, 2, 3, 4], "min_samples_leaf": [1, 2, 3], "ccp_alpha": uniform(0, 0.1)},
        n_trials=3,
        trials_per_batch=2,
        cv=2,
        random_state=0,
        refit=False,
        storage=url,
    ).fit(np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2)


def test_a_search_does_not_depend_on_when_it_was_killed(tmp_path, monkeypatch):
    """Before each of its first writes: while it names its trials and draws their parameters."""
    monkeypatch.setattr(_search_ledger, "_PATIENCE", 0.1)
    expected = search(None).cv_results_
    storage = optuna.storages.RDBStorage
    plain = {name: getattr(storage, name) for name in WRITES}
    for last in range(1, 15):
        n_writes = 0

        def write(self, *args, name, last=last, **keywords):
            nonlocal n_writes
            n_writes += 1
            if n_writes > last:
                raise Killed
            return plain[name](self, *args, **keywords)

        url = f"sqlite:///{tmp_path}/killed{last}.db"
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(storage, name, partialmethod(write, name=name))
            with pytest.raises(Killed):
                search(url)
        found = search(url).cv_results_
        assert found["params"] == expected["params"], last
        np.testing.assert_array_equal(found["mean_test_score"], expected["mean_test_score"])
