"""A saved model takes another's place, whole, whatever happens meanwhile and who else does so."""

from __future__ import annotations

import glob
import shutil
import time
from contextlib import suppress
from pathlib import Path

from skcyto.exceptions import DamagedFileWarning
from skcyto.utils._atomic import is_left, temporary_name
from skcyto.utils._warnings import warn

_PARTIAL = ".partial"
_FORMER = ".former"
_ATTEMPTS = 50
_PAUSE = 0.02  # seconds, in which another process is between two renames


def begin_folder(path: Path) -> Path:
    """Make a folder beside a model, to be put in its place; clear what killed processes left.

    Parameters
    ----------
    path : Path
        The model.

    Returns
    -------
    partial : Path
    """
    for kind in (_PARTIAL, _FORMER):
        for left in _find(path, kind):
            if is_left(left):
                shutil.rmtree(left, ignore_errors=True)
    # Beside the target, since only there a rename is sure to stay on one file system.
    partial = temporary_name(path, _PARTIAL)
    partial.mkdir()
    return partial


def put_in_place(partial: Path, path: Path) -> None:
    """Give a folder the name of a model, in the place of the one that has it.

    Parameters
    ----------
    partial : Path
        What :func:`begin_folder` made.
    path : Path
        The model.
    """
    for attempt in range(_ATTEMPTS):
        former = temporary_name(path, _FORMER)
        with suppress(FileNotFoundError):
            path.rename(former)
        try:
            partial.rename(path)
        except OSError:
            if former.exists() and not path.exists():
                former.rename(path)
            if attempt == _ATTEMPTS - 1 or not path.exists():
                raise
            # Another process has put its own there in between: this one replaces it.
            time.sleep(_PAUSE)
        else:
            return
        finally:
            if path.exists():
                shutil.rmtree(former, ignore_errors=True)


def recover_former(path: Path) -> None:
    """Put a model back whose replacement was killed between two renames.

    Parameters
    ----------
    path : Path
        The model; nothing is done where it is there.

    Warns
    -----
    DamagedFileWarning
        If the model before it is back.
    """
    for _ in range(_ATTEMPTS):
        formers = [] if path.exists() else _find(path, _FORMER)
        if not formers:
            return
        with suppress(OSError):  # Another process has done so in between.
            if all(is_left(former) for former in formers):
                max(formers, key=lambda former: former.stat().st_mtime_ns).rename(path)
                warn(
                    f"the process that was to replace the model {path} was killed: the model "
                    "before it is in its place again",
                    DamagedFileWarning,
                )
                return
        time.sleep(_PAUSE)


def _find(path: Path, kind: str) -> list[Path]:
    return list(path.parent.glob(f".{glob.escape(path.name)}.*{kind}"))
