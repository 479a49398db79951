"""Files that appear whole or not at all, and what is left of those that did not."""

from __future__ import annotations

import glob
import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# No write takes that long; whoever began the file was killed.
_OLD_SECONDS = 3600.0


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Have a file take its name when it is written and the disk has it, not before.

    Parameters
    ----------
    path : Path
        What the file shall be called; one that is there is replaced.

    Yields
    ------
    part : Path
        Where to write. Its name begins with a dot and says which process is at it.
    """
    with _part_of(path) as part:
        yield part
        _flush(part)
        os.replace(part, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        What it shall hold.
    """
    with written_whole(path) as part:
        part.write_bytes(content)


def write_once(path: Path, content: bytes) -> None:
    """Write a file whole, unless there is one: of several processes the first wins.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        What it shall hold.
    """
    with _part_of(path) as part:
        part.write_bytes(content)
        _flush(part)
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        except OSError:  # A file system without links: one of two that come at once loses.
            if not path.exists():
                os.replace(part, path)


def clear_parts(folder: Path, name: str = "*") -> None:
    """Remove what processes left half-written that were killed.

    Those of other machines, and those whose process is at work, stay for an hour.

    Parameters
    ----------
    folder : Path
        Where they are; it need not exist.
    name : str, default="*"
        What the whole file is called.
    """
    name = name if name == "*" else glob.escape(name)
    for part in folder.glob(f".{name}.*.part"):
        with suppress(FileNotFoundError, PermissionError):
            if is_left(part):
                part.unlink()


def temporary_name(path: Path, ending: str) -> Path:
    """Name a file or folder of this process and this moment alone, beside another.

    Parameters
    ----------
    path : Path
        What it shall become.
    ending : str
        Of the name.

    Returns
    -------
    temporary : Path
        Hidden.
    """
    return path.with_name(f".{path.name}.{_node()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{ending}")


def is_left(temporary: Path) -> bool:
    """Tell whether nobody is at a file or folder of :func:`temporary_name` any more.

    Parameters
    ----------
    temporary : Path

    Returns
    -------
    is_left : bool
        Of processes of other machines, and those that are running, once it is an hour old.
    """
    *_, node, process, _, _ = ["", "", *temporary.name.split(".")]
    if node == _node() and process.isdigit() and not _is_running(int(process)):
        return True
    return time.time() - temporary.stat().st_mtime > _OLD_SECONDS


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    part = temporary_name(path, ".part")
    try:
        yield part
    except OSError as error:
        # A full disk does not say which file it was, and this one has a name of its own.
        if error.errno is None or error.filename not in (None, part, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _node() -> str:
    return platform.node().replace(".", "_")[:40] or "unknown"


def _flush(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # There, asking for a process in this way ends it.
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True
