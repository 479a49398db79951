"""Hold back optuna's log, also when several threads search at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_levels: list[int] = []
_before: list[int] = []


@contextmanager
def quiet_optuna(level: int = logging.WARNING) -> Iterator[None]:
    """Hold back optuna's log below a level inside the block.

    The level of a logger belongs to the whole process: blocks of several threads overlap,
    and the last one to end gives the logger back the level that it had before the first.
    """
    logger = logging.getLogger("optuna")
    with _lock:
        if not _levels:
            _before.append(logger.level)
        _levels.append(level)
        logger.setLevel(max(_before[0], *_levels))
    try:
        yield
    finally:
        with _lock:
            _levels.remove(level)
            logger.setLevel(max(_before[0], *_levels) if _levels else _before.pop())
