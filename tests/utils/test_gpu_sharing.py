"""GPUs shared by the processes of a search, simulated where there is none."""

import multiprocessing
import os
import signal
import threading
import time
import types

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.utils import _device, _device_memory
from skcyto.utils._device import resolve_device
from skcyto.utils._device_memory import reserve_memory

GPU = torch.device("cuda", 0)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_multiprocessing_forks_never_reach_cuda(four_gpus):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_report_refusal, args=(queue,))
    process.start()
    message = queue.get()
    process.join()
    assert "forked process" in message


def _report_refusal(queue):
    try:
        queue.put(str(resolve_device("auto")))
    except RuntimeError as error:
        queue.put(str(error))


# How much memory -----------------------------------------------------------------------------


@pytest.fixture
def small_gpu(monkeypatch, tmp_path):
    """A device of 1,000 bytes."""
    monkeypatch.setattr(_device_memory, "_identify", lambda device: ("gpu-test", 1000.0))
    monkeypatch.setattr(_device_memory, "free_memory", lambda device: 1000.0)
    monkeypatch.setattr(_device_memory.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_device_memory, "_POLL", 0.01)
    return tmp_path


@pytest.fixture
def other_process():
    """Begin processes that hold a reservation until they are told to end."""
    context = multiprocessing.get_context("fork")
    children = []

    def begin(n_bytes):
        held, end = context.Event(), context.Event()
        child = context.Process(target=_hold, args=(n_bytes, held, end))
        child.start()
        children.append((child, end))
        return child, held, end

    yield begin
    for child, end in children:
        end.set()
        child.join()


def _hold(n_bytes, held, end):
    with reserve_memory(GPU, n_bytes):
        held.set()
        end.wait(60)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_two_that_fit_run_side_by_side(small_gpu, other_process):
    _, held, _ = other_process(400)
    assert held.wait(30)
    with reserve_memory(GPU, 500):
        pass


@needs_fork
def test_one_too_many_waits_until_there_is_room(small_gpu, other_process):
    _, held, end = other_process(600)
    assert held.wait(30)
    entered = threading.Event()

    def reserve():
        with reserve_memory(GPU, 600):
            entered.set()

    thread = threading.Thread(target=reserve)
    thread.start()
    assert not entered.wait(0.3)
    end.set()
    assert entered.wait(30)
    thread.join()


@needs_fork
def test_a_killed_process_leaves_nothing_behind(small_gpu, other_process):
    child, held, _ = other_process(900)
    assert held.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with reserve_memory(GPU, 900):
        pass
    assert [path.name for path in (small_gpu).rglob("*.bytes")] == []


@needs_fork
def test_never_more_than_the_device_has(small_gpu, other_process):
    """Six of 400 bytes: two at a time."""
    started = [other_process(400) for _ in range(6)]
    done = set()
    for _ in range(3):
        deadline = time.monotonic() + 30
        running = []
        while len(running) < 2 and time.monotonic() < deadline:
            running = [
                i for i, (_, held, _) in enumerate(started) if held.is_set() and i not in done
            ]
            time.sleep(0.01)
        time.sleep(0.1)
        running = [i for i, (_, held, _) in enumerate(started) if held.is_set() and i not in done]
        assert len(running) == 2
        for i in running:
            done.add(i)
            started[i][2].set()
            started[i][0].join()


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
