"""GPUs shared by the processes of a search, simulated where there is none."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.utils._devices import _device
from skcyto.utils._devices import _reservation as _device_memory
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._devices._reservation import reserve_memory

GPU = torch.device("cuda", 0)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)


def as_worker(monkeypatch, number):
    process = types.SimpleNamespace(_identity=() if number is None else (number,))
    monkeypatch.setattr(_device.multiprocessing, "current_process", lambda: process)


# Which device --------------------------------------------------------------------------------


def test_workers_are_spread_over_the_devices(four_gpus, monkeypatch):
    found = []
    for number in range(1, 9):
        as_worker(monkeypatch, number)
        found.append(resolve_device("auto").index)
    assert found == [0, 1, 2, 3, 0, 1, 2, 3]


def test_workers_that_replace_others_stay_spread(four_gpus, monkeypatch):
    found = []
    for number in range(7, 11):
        as_worker(monkeypatch, number)
        found.append(resolve_device("auto").index)
    assert sorted(found) == [0, 1, 2, 3]


def test_outside_workers_the_current_device_is_taken(four_gpus, monkeypatch):
    as_worker(monkeypatch, None)
    assert resolve_device("auto") == torch.device("cuda")


def test_a_device_that_is_named_is_taken_by_every_worker(four_gpus, monkeypatch):
    as_worker(monkeypatch, 2)
    assert resolve_device("cuda:3").index == 3
    assert resolve_device("cpu") == torch.device("cpu")


def test_one_device_has_no_number(four_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    as_worker(monkeypatch, 2)
    assert resolve_device("auto") == torch.device("cuda")


def test_real_workers_of_joblib_have_numbers():
    numbers = joblib.Parallel(n_jobs=2)(joblib.delayed(_device._worker_number)() for _ in range(4))
    assert all(number >= 0 for number in numbers)
    assert _device._worker_number() is None


# Forks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_a_fork_whose_cuda_is_broken_is_refused(four_gpus, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(RuntimeError, match="loky"):
        resolve_device(device)
    assert resolve_device("cpu") == torch.device("cpu")


@needs_fork
def test_multiprocessing_forks_never_reach_cuda():
    # In a process of its own: to fork this one, with the threads of other tests, may hang.
    script = """
        import multiprocessing
        import torch
        from skcyto.utils._devices._device import resolve_device

        def report():
            try:
                print(resolve_device("auto"))
            except RuntimeError as error:
                print(error)

        torch.cuda.is_available = lambda: True
        process = multiprocessing.get_context("fork").Process(target=report)
        process.start()
        process.join()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "forked process" in done.stdout


# How much memory -----------------------------------------------------------------------------


@pytest.fixture
def small_gpu(monkeypatch, tmp_path):
    """A device of 1,000 bytes."""
    monkeypatch.setattr(_device_memory, "_identify", lambda device: ("gpu-test", 1000.0))
    monkeypatch.setattr(_device_memory, "free_memory", lambda device: 1000.0)
    monkeypatch.setattr(_device_memory.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_device_memory, "_POLL", 0.01)
    return tmp_path


HOLD = """
import sys
from skcyto.utils._devices import _reservation as module
module._identify = lambda device: ("gpu-test", 1000.0)
module.free_memory = lambda device: 1000.0
module.tempfile.gettempdir = lambda: sys.argv[2]
module._POLL = 0.01

class Device:
    type = "cuda"

with module.reserve_memory(Device, float(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds a reservation until it is told to end."""

    def __init__(self, n_bytes, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(n_bytes), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.is_held = threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        if self.process.stdout.readline().strip() == "held":
            self.is_held.set()

    def end(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(60)
        self.thread.join(60)
        self.process.stdout.close()


@pytest.fixture
def hold(small_gpu):
    holders = []

    def begin(n_bytes):
        holders.append(Holder(n_bytes, small_gpu))
        return holders[-1]

    yield begin
    for holder in holders:
        holder.process.kill()
        holder.end()


def test_one_waits_for_another_until_there_is_room(hold):
    holder = hold(600)
    assert holder.is_held.wait(60)
    with reserve_memory(GPU, 300):  # fits beside it
        pass
    entered = threading.Event()

    def reserve():
        with reserve_memory(GPU, 600):
            entered.set()

    thread = threading.Thread(target=reserve)
    thread.start()
    assert not entered.wait(0.3)
    holder.end()
    assert entered.wait(60)
    thread.join()


def test_a_killed_process_leaves_nothing_behind(small_gpu, hold):
    holder = hold(900)
    assert holder.is_held.wait(60)
    holder.process.send_signal(signal.SIGKILL)
    holder.process.wait(60)
    with reserve_memory(GPU, 900):
        pass
    assert list(small_gpu.rglob("*.bytes")) == []


@pytest.mark.slow
def test_never_more_than_the_device_has(hold):
    """Six of 400 bytes: two at a time."""
    waiting = [hold(400) for _ in range(6)]
    for _ in range(3):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            running = [holder for holder in waiting if holder.is_held.is_set()]
            if len(running) >= 2:
                break
            time.sleep(0.02)
        time.sleep(0.3)
        running = [holder for holder in waiting if holder.is_held.is_set()]
        assert len(running) == 2
        for holder in running:
            waiting.remove(holder)
            holder.end()


def test_memory_that_strangers_use_counts(small_gpu, monkeypatch):
    free = iter([100.0, 100.0, 700.0])
    monkeypatch.setattr(_device_memory, "free_memory", lambda device: next(free))
    monkeypatch.setattr(_device_memory, "_reserved", lambda folder: [1])
    with reserve_memory(GPU, 600):
        assert next(free, None) is None


def test_a_job_larger_than_the_device_is_left_to_torch(small_gpu):
    with reserve_memory(GPU, 1e12):
        pass


def test_a_process_does_not_wait_for_itself(small_gpu):
    with reserve_memory(GPU, 900), reserve_memory(GPU, 900):
        pass
    assert not _device_memory._HELD


def test_threads_of_a_process_wait_for_one_another(small_gpu):
    entered = threading.Event()

    def reserve():
        with reserve_memory(GPU, 600):
            entered.set()

    thread = threading.Thread(target=reserve)
    with reserve_memory(GPU, 600):
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(60)
    thread.join()


@pytest.mark.parametrize(("unused", "is_given_back"), [(20, False), (500, True)])
def test_memory_that_torch_keeps_unused_is_given_back(
    small_gpu, monkeypatch, unused, is_given_back
):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 100 + unused)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    with reserve_memory(GPU, 600):
        assert not emptied
    assert bool(emptied) == is_given_back


def test_nothing_is_done_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(_device_memory.tempfile, "gettempdir", lambda: str(tmp_path))
    with reserve_memory(torch.device("cpu"), 1e15):
        assert list(tmp_path.iterdir()) == []


def test_an_error_gives_the_memory_back(small_gpu):
    with pytest.raises(KeyError), reserve_memory(GPU, 900):
        raise KeyError
    assert not _device_memory._HELD
    assert list(small_gpu.rglob("*.lock")) == []


# On a real one -------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_grid_search_with_several_processes_on_a_gpu():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 10)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    grid = {"learning_rate": [1e-3, 1e-2]}
    classifier = ImbalancedMLPClassifier((8,), max_epochs=5, dropout=0.0, random_state=0)
    results = [
        GridSearchCV(classifier, grid, cv=3, n_jobs=n_jobs).fit(X, y).cv_results_
        for n_jobs in (1, 2)
    ]
    np.testing.assert_allclose(
        results[0]["mean_test_score"], results[1]["mean_test_score"], atol=0.02
    )
