"""Global state of pyradiomics and ITK, changed for the time of a computation only."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

from skcyto.utils._optional import import_optional

_lock = threading.Lock()
_stack = ExitStack()
_users = 0
_collectors = threading.local()


def import_radiomics() -> ModuleType:
    """Import whichever distribution of pyradiomics is installed, or name the extra that has one."""
    purpose = "RadiomicsExtractor"
    import_optional("radiomics.featureextractor", extra="radiomics", purpose=purpose)
    return import_optional("radiomics", extra="radiomics", purpose=purpose)


def import_sitk() -> ModuleType:
    """Import SimpleITK, or name the extra that brings it."""
    return import_optional("SimpleITK", extra="radiomics", purpose="RadiomicsExtractor")


@contextmanager
def private_runtime() -> Iterator[list[str]]:
    """Run ITK on one thread and keep pyradiomics' log out of the user's sight.

    Cores are shared out among cases, not within one. Numerical warnings of pyradiomics (empty
    angles, flat matrices) are silenced: they end in NaN, which is reported. All of it is
    process-wide state, so that of several threads inside the block the first one in changes it
    and the last one out restores it.

    Yields
    ------
    messages : list of str
        As of :func:`collect_messages`.
    """
    global _users
    logger = logging.getLogger("radiomics")
    with _lock:
        if _users == 0:
            _stack.enter_context(_one_itk_thread())
            _stack.enter_context(_silent(logger))
        _users += 1
    try:
        with collect_messages() as messages:
            yield messages
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _stack.close()


@contextmanager
def collect_messages() -> Iterator[list[str]]:
    """Collect what pyradiomics logs at warning level and above in this thread.

    Of nested blocks the innermost has the message, so that what is said of one label, or of a
    check of pyradiomics itself, is not taken for the reason of what another label lacks.

    Yields
    ------
    messages : list of str
        Each once; it grows while the block runs.
    """
    collector = _Collector()
    logger = logging.getLogger("radiomics")
    open_ones = _collectors.__dict__.setdefault("open", [])
    open_ones.append(collector)
    logger.addHandler(collector)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
        open_ones.remove(collector)


class _Collector(logging.Handler):
    """Keeps the warnings of one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self.thread or self is not _collectors.open[-1]:
            return
        message = record.getMessage().strip()
        if message not in self.messages:
            self.messages.append(message)


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    process_object = import_sitk().ProcessObject
    before = process_object.GetGlobalDefaultNumberOfThreads()
    process_object.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process_object.SetGlobalDefaultNumberOfThreads(before)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    import_radiomics()  # brings the handler that prints
    handlers = [(handler, handler.level) for handler in logger.handlers]
    level, propagate = logger.level, logger.propagate
    for handler, _ in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler, its_level in handlers:
            handler.setLevel(its_level)


@contextmanager
def geometry_tolerance(tolerance: float | None) -> Iterator[None]:
    """Set how far image and mask may be apart for ITK, as pyradiomics' `geometryTolerance` does."""
    process_object = import_sitk().ProcessObject
    coordinate = process_object.GetGlobalDefaultCoordinateTolerance()
    direction = process_object.GetGlobalDefaultDirectionTolerance()
    if tolerance is not None:
        process_object.SetGlobalDefaultCoordinateTolerance(tolerance)
        process_object.SetGlobalDefaultDirectionTolerance(tolerance)
    try:
        yield
    finally:
        process_object.SetGlobalDefaultCoordinateTolerance(coordinate)
        process_object.SetGlobalDefaultDirectionTolerance(direction)
