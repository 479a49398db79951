"""Seeds from scikit-learn's `random_state`, without touching the global generators."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state

if TYPE_CHECKING:
    import torch


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw a seed for another generator.

    Parameters
    ----------
    random_state : int, RandomState or None
        As everywhere in scikit-learn.

    Returns
    -------
    seed : int
        Between 0 and 2**31 - 2.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    return int(make_rng(random_state).randint(np.iinfo(np.int32).max))


def make_rng(random_state: int | np.random.RandomState | None) -> np.random.RandomState:
    """Make a generator of what scikit-learn takes as a `random_state`.

    Parameters
    ----------
    random_state : int, RandomState or None
        As everywhere in scikit-learn.

    Returns
    -------
    rng : RandomState

    Raises
    ------
    ValueError
        If it is none of these.
    """
    try:
        return check_random_state(random_state)
    except ValueError as error:  # of numpy and scikit-learn, which do not say whose it is
        raise ValueError(
            f"random_state={random_state!r} must be None, an int between 0 and 2**32 - 1 or a "
            "RandomState"
        ) from error


# Global generators, and torch's number of threads, belong to all threads of a process: one thread
# at a time holds them, and may do so several times over.
_PROCESS_STATE = threading.RLock()


def _renew_lock() -> None:
    """Forget who held the lock in the process that this one was forked from."""
    global _PROCESS_STATE
    _PROCESS_STATE = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def process_state() -> Iterator[None]:
    """Keep other threads out of what torch and numpy share among all threads of a process.

    Those that want in wait until the block ends.
    """
    with _PROCESS_STATE:
        yield


@contextmanager
def torch_seed(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators inside the block and put them back after it.

    Layers draw their initial weights and dropout its masks from torch's global generators: they
    can be made reproducible no other way. One thread at a time is inside.

    Parameters
    ----------
    seed : int
        Seed of the generators inside the block.
    device : torch.device or None, default=None
        Device whose generator is used beside that of the CPU.
    """
    import torch

    on_cuda = device is not None and device.type == "cuda"
    with process_state(), torch.random.fork_rng(devices=[device] if on_cuda else []):
        # torch.manual_seed would seed every GPU too, of which none but `device` is put back.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device is not None and device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


@contextmanager
def all_seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, and put them back after the block.

    timm's augmentations draw from all three. One thread at a time is inside.

    Parameters
    ----------
    seed : int
        Between 0 and 2**32 - 1.
    """
    with process_state():
        python_state = random.getstate()
        numpy_state = np.random.get_state()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            with torch_seed(seed):
                yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
