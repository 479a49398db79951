"""Many processes: a Dask cluster that loses a worker, a PostgreSQL that several sweeps share."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from glob import glob
from pathlib import Path

import joblib
import numpy as np
import optuna
import pytest
from scipy.stats import loguniform
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from skcyto.model_selection import OptunaSearchCV, compare_models
from skcyto.model_selection._search._ledger import RECORD

SPACE = {"max_depth": [1, 2, 3, 4, 5, 6], "ccp_alpha": loguniform(1e-4, 1e-1)}


class SlowTree(DecisionTreeClassifier):
    """Takes its time, and leaves a line in a file for every fit."""

    def __init__(self, max_depth=None, ccp_alpha=0.0, random_state=0, log=None, pause=0.0):
        super().__init__(max_depth=max_depth, ccp_alpha=ccp_alpha, random_state=random_state)
        self.log = log
        self.pause = pause

    def fit(self, X, y, sample_weight=None, check_input=True):
        time.sleep(self.pause)
        with open(self.log, "a") as log:
            log.write(f"{os.getpid()} {self.max_depth} {self.ccp_alpha} {X.sum()}\n")
        return super().fit(X, y)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "fits.log"
    path.touch()
    return path


def make_data():
    return make_classification(300, 6, flip_y=0.2, random_state=0)


def lines(log):
    return log.read_text(encoding="utf-8").splitlines()


def wait_for(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


# --- Dask ---------------------------------------------------------------------------------------


@contextmanager
def dask_cluster(**config):
    import cloudpickle
    import dask
    from dask.distributed import Client, LocalCluster

    # The workers can't import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with (
        warnings.catch_warnings(),
        dask.config.set({"distributed.worker.daemon": False, **config}),
    ):
        # Dask's own: sockets of the killed worker, and its event loop under a closing cluster.
        warnings.simplefilter("ignore")
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


@contextmanager
def worker_killed(client, when):
    """Kill a worker that has something to do once `when()` holds."""
    killed = []

    def kill():
        wait_for(when, "the fits to begin")
        pids = client.run(os.getpid)
        busy = []

        def look():
            busy[:] = [address for address, keys in client.processing().items() if keys]
            return bool(busy)

        wait_for(look, "a busy worker")
        os.kill(pids[busy[0]], signal.SIGKILL)
        killed.append(pids[busy[0]])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        thread.join()


def optuna_search(log, pause=0.0, **params):
    settings = {"n_trials": 10, "cv": 3, "random_state": 0, "n_jobs": -1, **params}
    return OptunaSearchCV(SlowTree(log=str(log), pause=pause), SPACE, **settings)


def assert_same_results(a, b):
    assert a.cv_results_["params"] == b.cv_results_["params"]
    for fold in range(3):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(a.cv_results_[name], b.cv_results_[name])
    assert a.best_params_ == b.best_params_


@pytest.mark.slow
@pytest.mark.parametrize("pruner", [None, optuna.pruners.MedianPruner(n_startup_trials=3)])
def test_dask_gives_the_same_numbers(log, pruner):
    X, y = make_data()
    expected = optuna_search(log, n_jobs=1, pruner=pruner).fit(X, y)
    log.write_text("")
    with dask_cluster(), joblib.parallel_config(backend="dask"):
        found = optuna_search(log, pruner=pruner).fit(X, y)
    assert_same_results(found, expected)
    pids = {line.split()[0] for line in lines(log)} - {str(os.getpid())}
    assert len(pids) == 2


@pytest.mark.slow
def test_dask_loses_a_worker_in_a_search(log):
    X, y = make_data()
    expected = optuna_search(log, n_jobs=1).fit(X, y)
    log.write_text("")
    with dask_cluster() as client, worker_killed(client, lambda: len(lines(log)) >= 5) as killed:
        with joblib.parallel_config(backend="dask"):
            found = optuna_search(log, pause=0.3).fit(X, y)
    assert len(killed) == 1
    assert_same_results(found, expected)
    # Others went on; the refit is in this process.
    assert {line.split()[0] for line in lines(log)} - {str(os.getpid()), str(killed[0])}


@pytest.mark.slow
def test_dask_loses_the_one_worker_that_held_the_data(log, caplog):
    """Dask drops copies that it thinks idle; the last one dies with its worker."""
    X, y = make_data()
    settings = {"n_trials": 3, "trials_per_batch": 1}
    expected = optuna_search(log, n_jobs=1, **settings).fit(X, y)
    log.write_text("")
    often = {"distributed.scheduler.active-memory-manager.interval": "200ms"}

    def third_fold_runs_alone():
        # Two of the three folds are done; the other worker has had the time to drop its copy.
        if len(lines(log)) < 2:
            return False
        time.sleep(1.0)
        return True

    with dask_cluster(**often) as client, worker_killed(client, third_fold_runs_alone) as killed:
        with joblib.parallel_config(backend="dask"):
            found = optuna_search(log, pause=2.0, **settings).fit(X, y)
    assert len(killed) == 1
    assert any("lose scattered data" in record.getMessage() for record in caplog.records)
    assert_same_results(found, expected)
    # The trial was begun anew: its first attempt is in the study, and not in the results.
    assert [trial.state.name for trial in found.study_.trials].count("FAIL") == 1


def safe_backend(client, *data):
    """What makes scikit-learn's own searches survive the loss of a worker."""
    client.amm.stop()
    return joblib.parallel_config(backend="dask", scatter=list(data))


@pytest.mark.slow
def test_dask_loses_a_worker_in_grid_search(log):
    X, y = make_data()
    splits = list(StratifiedKFold(3).split(X, y))
    grid = {"max_depth": [1, 2, 3, 4, 5, 6]}

    def search(pause, n_jobs):
        tree = SlowTree(log=str(log), pause=pause)
        return GridSearchCV(tree, grid, cv=splits, n_jobs=n_jobs).fit(X, y)

    expected = search(0.0, 1)
    log.write_text("")
    with dask_cluster() as client, worker_killed(client, lambda: len(lines(log)) >= 5) as killed:
        with safe_backend(client, X, y, *sum(splits, ())):
            found = search(0.3, -1)
    assert len(killed) == 1
    assert_same_results(found, expected)


@pytest.mark.slow
def test_dask_loses_a_worker_in_a_comparison(log):
    X, y = make_data()

    def compare(pause, n_jobs):
        models = {
            "deep": SlowTree(log=str(log), pause=pause),
            "flat": SlowTree(log=str(log), pause=pause, max_depth=1),
            "none": DummyClassifier(),
        }
        return compare_models(models, X, y, cv=5, n_jobs=n_jobs, random_state=0)

    expected = compare(0.0, 1).table()
    log.write_text("")
    with dask_cluster() as client, worker_killed(client, lambda: len(lines(log)) >= 3) as killed:
        with safe_backend(client, X, y):
            found = compare(0.5, -1).table()
    assert len(killed) == 1
    assert found.equals(expected)


# --- PostgreSQL ---------------------------------------------------------------------------------


def postgres_folder():
    initdb = shutil.which("initdb")
    if initdb:
        return Path(initdb).resolve().parent
    found = sorted(glob("/usr/lib/postgresql/*/bin/initdb"))
    return Path(found[-1]).parent if found else None


class PostgreSQL:
    """A server that can be killed and started again."""

    def __init__(self, command, port, settings):
        self.command, self.settings = command, settings
        self.probe = [command[0].with_name("pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        self.url = f"postgresql+psycopg://skcyto@127.0.0.1:{port}/postgres"
        self.process = None

    def start(self):
        def is_ready():
            if self.process is None or self.process.poll() is not None:
                # A killed server's children may still be about to notice.
                self.process = subprocess.Popen(self.command, **self.settings)
                time.sleep(0.5)
            return subprocess.run(self.probe, check=False).returncode == 0

        wait_for(is_ready, "PostgreSQL")

    def stop(self, how=signal.SIGINT):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None


@pytest.fixture
def postgres(postgres_server):
    """Address of a PostgreSQL server of this test's own, on this machine alone."""
    return postgres_server.url


@pytest.fixture
def postgres_server():
    """A PostgreSQL server of this test's own, on this machine alone."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra dev)")
    folder = postgres_folder()
    if folder is None:
        pytest.skip("no PostgreSQL found: apt-get install postgresql")
    data = tempfile.mkdtemp(prefix="skcyto-postgres-")
    settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    if os.geteuid() == 0:
        # The server refuses to be run by root.
        names = {user.pw_name for user in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        shutil.chown(data, user)
        settings["user"] = user
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = None
    try:
        command = [folder / "initdb", "-D", data, "-U", "skcyto", "--auth=trust", "-E", "UTF8"]
        subprocess.run([*command, "--no-sync", "--locale=C"], check=True, **settings)
        command = [folder / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port)]
        server = PostgreSQL([*command, "-k", data, "-c", "fsync=off"], port, settings)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(data)


# This module under its own name, whatever else is called tests on the machine.
SWEEP = """
import importlib.util, json, sys

spec = importlib.util.spec_from_file_location({name!r}, {path!r})
module = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
search = module.optuna_search({log!r}, pause={pause}, n_jobs=1, n_trials={n_trials},
                              random_state={seed}, storage={url!r}, refit=False)
search.fit(*module.make_data())
results = search.cv_results_
print(json.dumps([results["trial"].tolist(), results["mean_test_score"].tolist(),
                  search.best_params_]))
"""


def start_sweep(url, log, n_trials, seed, pause):
    script = SWEEP.format(
        name=__name__,
        path=__file__,
        log=str(log),
        url=url,
        n_trials=n_trials,
        seed=seed,
        pause=pause,
    )
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def recorded_trials(url):
    storage = optuna.storages.RDBStorage(url)
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    storage.remove_session()
    storage.engine.dispose()
    assert not [trial for trial in trials if trial.state.name in ("RUNNING", "WAITING")]
    return [trial for trial in trials if RECORD in trial.user_attrs]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, None])
def test_four_sweeps_share_a_postgresql(postgres, log, seed):
    n_trials = 42
    sweeps = [start_sweep(postgres, log, n_trials, seed, pause=0.05) for _ in range(4)]
    outputs = [sweep.communicate(timeout=900)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0] * 4
    # Nothing lost, nothing too many: exactly the number that was asked for, in one study.
    trials = recorded_trials(postgres)
    assert len(trials) == n_trials
    assert all(trial.state.name == "COMPLETE" for trial in trials)
    # Every sweep has them all, and the same best.
    results = [json.loads(output) for output in outputs]
    assert results[0][0] == [trial.number for trial in trials]
    assert all(result == results[0] for result in results)
    # No trial twice, and none but those recorded: one fit for each trial and fold.
    done = Counter(tuple(line.split()[1:]) for line in lines(log))
    assert len(done) == 3 * n_trials
    assert set(done.values()) == {1}
    params = {(str(t.params["max_depth"]), str(t.params["ccp_alpha"])) for t in trials}
    assert len(params) == n_trials
    assert {key[:2] for key in done} == params
    # All took part.
    assert len({line.split()[0] for line in lines(log)}) == 4


@pytest.mark.slow
def test_the_server_is_killed_in_mid_sweep(postgres_server, log):
    """The sweep ends in an error that says what to do; the same sweep goes on afterwards."""
    url, n_trials = postgres_server.url, 12
    search = optuna_search(log, pause=0.2, n_jobs=1, n_trials=n_trials, random_state=0, storage=url)
    thread = threading.Thread(
        target=lambda: (
            wait_for(lambda: len(lines(log)) >= 9, "three trials"),
            postgres_server.stop(signal.SIGKILL),
        )
    )
    thread.start()
    with pytest.raises(OSError, match=r"storage postgresql.* can't be reached.*goes on"):
        search.fit(*make_data())
    thread.join()
    postgres_server.start()
    n_before = len(lines(log))
    assert n_before < 3 * n_trials
    search.fit(*make_data())
    assert len(recorded_trials(url)) == n_trials
    # At most the trials that were in hand are fitted twice.
    assert len(lines(log)) <= 3 * n_trials + 3 * search.trials_per_batch
    unbroken = optuna_search(log, n_jobs=1, n_trials=n_trials, random_state=0)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"],
        unbroken.fit(*make_data()).cv_results_["mean_test_score"],
    )


@pytest.mark.slow
def test_one_of_four_sweeps_is_killed(postgres, log):
    n_trials = 30
    sweeps = [start_sweep(postgres, log, n_trials, None, pause=0.2) for _ in range(4)]
    wait_for(lambda: len({line.split()[0] for line in lines(log)}) == 4, "all four to begin")
    sweeps[0].kill()
    outputs = [sweep.communicate(timeout=900)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [-signal.SIGKILL, 0, 0, 0]
    trials = recorded_trials(postgres)
    assert len(trials) == n_trials
    results = [json.loads(output) for output in outputs[1:]]
    assert results[0][0] == [trial.number for trial in trials]
    assert all(result == results[0] for result in results)
    # What the survivors fitted, they fitted once; what the dead one had begun was taken over.
    alive = {str(sweep.pid) for sweep in sweeps[1:]}
    done = Counter(tuple(line.split()[1:]) for line in lines(log) if line.split()[0] in alive)
    assert set(done.values()) == {1}
    everyone = Counter(tuple(line.split()[1:]) for line in lines(log))
    assert len(everyone) == 3 * n_trials
