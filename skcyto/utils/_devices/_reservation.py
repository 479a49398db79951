"""Keep processes from filling the memory of a GPU that they share.

A search with `n_jobs` puts several processes on a GPU, which know nothing of one another: each sees
enough free memory, begins, and all of them run out. Here a process says how much it needs and
waits until there is room. Reservations are files that the operating system keeps locked for as
long as their process lives, so that one that is killed leaves nothing behind.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import torch

# Share of a device that reservations may fill; the rest is what libraries keep for themselves.
_SHARE = 0.9
# Seconds between looks at whether there is room.
_POLL = 0.2
# Unused memory that torch may keep for its own process once a reservation has ended.
_KEPT_SHARE = 0.05
# Devices on which a thread of this process has a reservation.
_HELD: set[tuple[str, int]] = set()


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device.

    Parameters
    ----------
    device : torch.device
        A GPU; for anything else there is no bound.

    Returns
    -------
    n_bytes : float
    """
    import torch

    if device.type != "cuda":
        return float("inf")
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds in reserve is free for it, too.
    return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


@contextmanager
def reserve_memory(device: torch.device, n_bytes: float) -> Iterator[None]:
    """Wait until a GPU has room, and keep it while the block runs.

    Processes of one user on one machine see one another, and so do threads. A thread that has a
    reservation on a device already gets another one at once, since waiting for its own would never
    end; and one that finds no other goes ahead however much it needs, and leaves the complaint to
    torch.

    Parameters
    ----------
    device : torch.device
        Nothing is done for any but CUDA devices.
    n_bytes : float
        Memory that the block will need.
    """
    if device.type != "cuda":
        yield
        return
    name, total = _identify(device)
    key = name, threading.get_ident()
    if key in _HELD:
        yield
        return
    folder = _folder(name)
    ours = FileLock(folder / f"{os.getpid()}-{uuid.uuid4().hex}.lock")
    while True:
        with FileLock(folder / "admission"):
            others = _reserved(folder)
            fits = sum(others) + n_bytes <= _SHARE * total and n_bytes <= free_memory(device)
            if fits or not others:
                ours.acquire()
                Path(ours.lock_file).with_suffix(".bytes").write_text(str(int(n_bytes)))
                break
        time.sleep(_POLL)
    _HELD.add(key)
    try:
        yield
    finally:
        _HELD.discard(key)
        _give_back(device, _KEPT_SHARE * total)
        _remove(ours)


def _give_back(device: torch.device, kept: float) -> None:
    """Return what torch keeps unused to the device, where others would miss it."""
    import torch

    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if unused > kept:
        torch.cuda.empty_cache()


def _reserved(folder: Path) -> list[int]:
    """Return what living processes have reserved; clear what dead ones have left."""
    found = []
    for path in folder.glob("*.bytes"):
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with suppress(FileNotFoundError):  # gives it up this very moment
                found.append(int(path.read_text() or 0))
        else:
            _remove(lock)
    return found


def _remove(lock: FileLock) -> None:
    path = Path(lock.lock_file)
    path.with_suffix(".bytes").unlink(missing_ok=True)
    lock.release()
    path.unlink(missing_ok=True)


def _folder(name: str) -> Path:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = str(os.getuid())
    folder = Path(tempfile.gettempdir()) / f"skcyto-{user}" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _identify(device: torch.device) -> tuple[str, float]:
    """Return a name that is the same in every process, whatever devices it sees, and the size."""
    import torch

    facts = torch.cuda.get_device_properties(device)
    return f"gpu-{getattr(facts, 'uuid', device.index or 0)}", float(facts.total_memory)
