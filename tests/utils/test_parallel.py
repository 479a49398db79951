"""Worker processes do not outlive the process that gave them work."""

import os
import signal
import subprocess
import sys
import time

import pytest

from skcyto.utils._parallel import streaming_parallel

SCRIPT = """
import os, time
import numpy as np
from sklearn.tree import DecisionTreeClassifier
from skcyto.model_selection import compare_models

class Slow(DecisionTreeClassifier):
    def fit(self, X, y):
        open(f"{{FOLDER}}/{{os.getpid()}}.pid", "w").close()
        time.sleep(PAUSE)
        return super().fit(X, y)

FOLDER, PAUSE = r"{folder}", {pause}
X = np.random.default_rng(0).normal(size=(40, 3))
found = compare_models(
    {{"slow": Slow()}}, X, np.arange(40) % 2, cv=2, n_jobs=2, random_state=0,
    checkpoint=FOLDER + "/kept",
)
print(len(found.failures))
"""


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_comparison(tmp_path, kind):
    script = SCRIPT.format(folder=tmp_path, pause=600)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 600
        while len(pids := [int(p.stem) for p in tmp_path.glob("*.pid")]) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        assert process.pid not in pids
        process.send_signal(kind)
        process.wait(120)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    while any(map(is_there, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # Nothing half-written, no lock: the next run goes on.
    assert [p.name for p in (tmp_path / "kept").iterdir() if p.suffix != ".npz"] == []
    again = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=tmp_path, pause=0)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == "0\n", again.stderr


def where(number):
    return number, os.getpid()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_results_are_those_of_the_calls(backend):
    from joblib import parallel_config
    from sklearn.utils.parallel import delayed

    with parallel_config(backend):
        found = list(streaming_parallel(2)(delayed(where)(number) for number in range(4)))
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert (os.getpid() in {pid for _, pid in found}) == (backend == "threading")
