"""Run calls with joblib and take their results as they come, on every backend."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any

from sklearn.utils.parallel import Parallel, delayed

# Seconds between looks whether the process that gave the work still is there.
_LOOK = 2.0
_watching_in: int | None = None


class WatchedParallel(Parallel):
    """A ``Parallel`` whose worker processes end soon after the process that started them.

    Those of joblib's loky backend wait some minutes for more work, with their memory, where their
    parent was killed.
    """

    def __call__(self, iterable: Iterable[tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> Any:
        """Run calls made by :func:`sklearn.utils.parallel.delayed`."""
        parent = os.getpid()
        return super().__call__(
            delayed(_Watched(call.function, parent))(*args, **keywords)
            for call, args, keywords in iterable
        )


class _Watched:
    """A function that first sees to it that its process doesn't outlive the one that calls."""

    def __init__(self, function: Callable[..., Any], parent: int) -> None:
        self._function = function
        self._parent = parent
        update_wrapper(self, function)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        _end_with(self._parent)
        return self._function(*args, **keywords)


def _end_with(parent: int) -> None:
    """Watch the parent from a worker of loky; workers of clusters have parents of their own."""
    global _watching_in
    if os.name != "posix" or os.getpid() in (parent, _watching_in):
        return
    if not multiprocessing.current_process().name.startswith("LokyProcess"):
        return
    _watching_in = os.getpid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    # Nobody is left to take a result; files of skcyto appear whole or not at all.
    os._exit(1)


def streaming_parallel(n_jobs: int | None, *, ordered: bool = True, **settings: Any) -> Parallel:
    """Make a joblib ``Parallel`` whose results can be iterated over while others are computed.

    Parameters
    ----------
    n_jobs : int or None
        Calls at once.
    ordered : bool, default=True
        Whether results come in the order of the calls, or each as soon as it is there.
    **settings : dict
        Further arguments of :class:`joblib.Parallel`.

    Returns
    -------
    parallel : sklearn.utils.parallel.Parallel
        Returns a generator; a list on backends that give all results at once, as Dask's does. Its
        worker processes end with this process.
    """
    kind = "generator" if ordered else "generator_unordered"
    try:
        return WatchedParallel(n_jobs=n_jobs, return_as=kind, **settings)
    except ValueError as error:
        if "return_as" not in str(error):
            raise
        return WatchedParallel(n_jobs=n_jobs, **settings)
