"""Who works on a trial, and whether it still does."""

from __future__ import annotations

import os
import socket
import threading
import uuid
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

# Searches that run in this process now.
_ACTIVE: set[str] = set()


class Worker:
    """Identity of one search in one process; use as a context manager while it runs."""

    def __init__(self) -> None:
        self.search = uuid.uuid4().hex
        self.identity: dict[str, Any] = {
            "host": _host(),
            "pid": os.getpid(),
            "started": _start_time(os.getpid()),
            "search": self.search,
        }

    def __enter__(self) -> Worker:
        _ACTIVE.add(self.search)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _ACTIVE.discard(self.search)


def is_alive(identity: dict[str, Any]) -> bool | None:
    """Say whether a search still runs.

    Parameters
    ----------
    identity : dict
        Of a :class:`Worker`, perhaps on another machine.

    Returns
    -------
    alive : bool or None
        None where only its own machine could tell.
    """
    if os.name != "posix" or identity["host"] != _host():
        return None
    pid = identity["pid"]
    if pid == os.getpid() and identity["started"] == _start_time(pid):
        return identity["search"] in _ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists and belongs to someone else
    return identity["started"] == _start_time(pid)


def _host() -> str:
    """Name the space in which a process number means one process."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass  # not Linux
    return " ".join(parts)


def _start_time(pid: int) -> str | None:
    """Return when a process began, which tells it from a later one of the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # Fields 3 and 22; the name in parentheses before them may hold spaces.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


class Heartbeat:
    """Tell a storage that keeps heartbeats that trials are being worked on.

    Parameters
    ----------
    storage : optuna storage
        Nothing is done for one without heartbeats.
    trial_ids : iterable of int
        Trials, by the storage's own numbers.
    """

    def __init__(self, storage: Any, trial_ids: Iterable[int]) -> None:
        self.storage = storage
        self.trial_ids = list(trial_ids)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Heartbeat:
        interval = heartbeat_interval(self.storage)
        if interval is not None:
            self._thread = threading.Thread(target=self._beat, args=(interval,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self, interval: float) -> None:
        while True:
            # A beat that a busy database misses is made up for by the next one.
            with suppress(Exception):
                for trial_id in self.trial_ids:
                    self.storage.record_heartbeat(trial_id)
            if self._end.wait(interval):
                return


def heartbeat_interval(storage: Any) -> float | None:
    """Return the seconds between heartbeats, or None where a storage keeps none."""
    interval = getattr(storage, "get_heartbeat_interval", None)
    return None if interval is None else interval()


def fail_stale_trials(study: Any) -> None:
    """Mark trials whose heartbeat has stopped as failed."""
    import optuna

    if heartbeat_interval(study._storage) is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
