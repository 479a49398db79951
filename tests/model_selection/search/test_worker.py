"""Whether a search still runs: on this machine, in this process, elsewhere."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from skcyto.model_selection._search._worker import Heartbeat, Worker, is_alive


def test_a_search_of_this_process_lives_while_it_runs():
    with Worker() as worker:
        assert is_alive(worker.identity) is True
        with Worker() as other:
            assert is_alive(other.identity) is True
        assert is_alive(other.identity) is False
        assert is_alive(worker.identity) is True
    assert is_alive(worker.identity) is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="start times are Linux's")
def test_a_process_that_ends_is_dead_even_where_its_number_is_used_again():
    code = (
        "from skcyto.model_selection._search._worker import Worker; import json, time\n"
        "print(json.dumps(Worker().identity), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    import json

    try:
        identity = json.loads(process.stdout.readline())
        assert is_alive(identity) is True
        assert is_alive({**identity, "started": "1"}) is False
        assert is_alive({**identity, "host": "elsewhere"}) is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    # Dead as soon as it is killed, though its parent has not yet taken notice.
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_alive(identity) is False
    process.communicate()
    assert is_alive(identity) is False


class Storage:
    def __init__(self, interval, fails=0):
        self.interval = interval
        self.beats = []
        self.fails = fails
        self.enough = threading.Event()

    def get_heartbeat_interval(self):
        return self.interval

    def record_heartbeat(self, trial_id):
        self.beats.append(trial_id)
        if len(self.beats) <= self.fails:
            raise ConnectionError("busy")
        if len(self.beats) > self.fails + 4:
            self.enough.set()


@pytest.mark.parametrize("fails", [0, 2])
def test_hearts_beat_at_their_interval_and_bear_a_busy_database(fails):
    storage = Storage(0.01, fails)
    with Heartbeat(storage, [3, 5]):
        assert storage.enough.wait(10)
    assert {3, 5} == set(storage.beats)
    n = len(storage.beats)
    time.sleep(0.05)
    assert len(storage.beats) == n


def test_storages_without_heartbeats():
    with Heartbeat(Storage(None), [1]) as heartbeat:
        pass
    assert heartbeat.storage.beats == []
    with Heartbeat(object(), [1]):
        pass
