"""Give files the mode that the user's umask asks for, whatever writes them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def make_file(path: str | os.PathLike[str]) -> None:
    """Make an empty file for SQLite, unless there is one, as :func:`open` would.

    SQLite makes its files readable by all and writable by their owner alone; to one that is there
    it leaves its mode, and takes it for the files beside it.

    Parameters
    ----------
    path : str or path
        The file.
    """
    if not os.path.exists(path):
        with suppress(OSError), open(path, "ab"):  # SQLite says what is wrong.
            pass


@contextmanager
def mode_of_umask(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give a file that is written within the block the mode that :func:`open` would give it.

    Some writers put a file of mode 0600 in place, which no colleague can read.

    Parameters
    ----------
    path : str or path
        The file, which must not be there before.
    """
    # To ask for the umask is to set it, for all threads.
    with open(path, "ab"):
        pass
    mode = stat.S_IMODE(os.stat(path).st_mode)
    yield
    os.chmod(path, mode)
