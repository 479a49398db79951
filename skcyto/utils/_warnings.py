"""Warnings that point to the line of the user's code which led to them."""

from __future__ import annotations

import os
import sys
import warnings
from functools import lru_cache
from importlib.util import find_spec

# Whoever calls skcyto through these wants to see their own line, not that of the library between.
_BETWEEN = ("skcyto", "sklearn", "imblearn", "joblib", "skorch", "optuna")


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user's that led to it, however deep it was found.

    Parameters
    ----------
    message : str or Warning
        What the user should know and do.
    category : type of Warning, default=UserWarning
        Its kind.

    Notes
    -----
    In a worker process no line of the user's is on the stack: there the warning points to the
    outermost one.
    """
    warnings.warn(message, category, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Count the frames from :func:`warn` to the first that is no library's."""
    prefixes = _library_folders()
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None:
        frame = frame.f_back
        # Frames of the import system are invisible to `warnings`, so they do not count.
        if "importlib" in frame.f_code.co_filename and "_bootstrap" in frame.f_code.co_filename:
            continue
        level += 1
        if not frame.f_code.co_filename.startswith(prefixes):
            break
    return level


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    folders = []
    for name in _BETWEEN:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            folders.append(os.path.dirname(spec.origin) + os.sep)
    # What wraps functions of theirs: decorators and context managers of the standard library.
    return (*folders, *(os.path.join(os.path.dirname(os.__file__), f"{m}.py") for m in _WRAPPERS))


_WRAPPERS = ("contextlib", "functools")
