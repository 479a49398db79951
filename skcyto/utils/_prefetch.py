"""Work ahead in threads, in order, holding only so much at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import joblib

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_DEFAULT_THREADS = 8


def map_ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    weigh: Callable[[Item], int] = lambda item: 0,
    max_weight: int = 0,
    results_weigh: bool = False,
) -> Iterator[Result]:
    """Apply a function in threads and yield the results in the order of the items.

    `items` is consumed only as far as the work ahead needs, so memory does not grow with its
    length.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        Where the function runs.
    function : callable
        What to apply to each item; an exception is raised where its result is due.
    items : iterable
        Consumed in the caller's thread.
    ahead : int
        Number of items that are worked on, or done, before their turn.
    weigh : callable
        Gives what an item weighs while it waits or is worked on, in bytes for example. By default
        nothing.
    max_weight : int, default=0
        No more items are taken while those that wait or are worked on weigh more than this.
    results_weigh : bool, default=False
        Whether what came of an item weighs as much as the item until its turn comes.

    Yields
    ------
    result : object
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    lock = threading.Lock()
    weight = 0

    def add(change: int, future: Future[Result] | None = None) -> None:
        nonlocal weight
        with lock:
            weight += change

    def take() -> Result:
        future, item_weight = pending.popleft()
        result = future.result()
        if results_weigh:
            add(-item_weight)
        return result

    for item in items:
        item_weight = weigh(item)
        add(item_weight)
        future = pool.submit(function, item)
        if not results_weigh:
            future.add_done_callback(partial(add, -item_weight))
        pending.append((future, item_weight))
        while pending and (len(pending) > ahead or weight > max_weight):
            yield take()
    while pending:
        yield take()


class WeightGate:
    """Let threads in as long as what they hold together is not too heavy; one is always let in.

    Parameters
    ----------
    limit : int
        Weight of all that are in.

    Examples
    --------
    >>> from skcyto.utils._prefetch import WeightGate
    >>> gate = WeightGate(100)
    >>> with gate.hold(60), gate.hold(40):
    ...     gate.held
    100
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reset()
        if hasattr(os, "register_at_fork"):
            # A child has none of its parent's threads, which would never leave.
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self.held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, weight: int) -> Iterator[None]:
        """Wait until there is room, and take it for the length of the block.

        Parameters
        ----------
        weight : int
            What the block holds.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self.held or self.held + weight <= self.limit)
            self.held += weight
        try:
            yield
        finally:
            with self._changed:
                self.held -= weight
                self._changed.notify_all()


def resolve_n_threads(n_jobs: int | None) -> int:
    """Turn `n_jobs` into a number of reading threads.

    Parameters
    ----------
    n_jobs : int or None
        None takes one thread per usable core, at most 8; -1 one per usable core.

    Returns
    -------
    n_threads : int
    """
    # Threads whatever backend the caller's own parallel_config names: images are shared memory.
    with joblib.parallel_config(backend="threading"):
        if n_jobs is None:
            return min(joblib.effective_n_jobs(-1), _MAX_DEFAULT_THREADS)
        return joblib.effective_n_jobs(n_jobs)
