"""A small store of results keyed by the content they were computed from."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from skcyto.exceptions import DamagedFileWarning
from skcyto.utils._damage import set_aside
from skcyto.utils._file_modes import make_file
from skcyto.utils._warnings import warn

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, checksum BLOB, value BLOB);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, amount INTEGER);
"""
_BUSY_SECONDS = 120.0  # to wait for another process
_KEYS_PER_QUERY = 500  # below SQLite's oldest limit of 999 parameters
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,  # every statement here is known to be right: tables are missing or odd
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,  # nothing here can violate one, but the schema of another file
}
_CUT_OR_MOVED = {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_READONLY_DBMOVED}
# Closing a connection that crossed a fork would meddle with the locks of the parent's.
_of_parents: list[sqlite3.Connection] = []


class ContentStore:
    """Bytes under keys, in one SQLite file that many threads and processes may use at once.

    Every :meth:`put_many` is one transaction in write-ahead logging: after ``kill -9`` the
    file holds each finished transaction whole and nothing of an unfinished one. Each value
    carries a checksum of itself and its key; a value that does not match it counts as absent. A
    file that SQLite cannot read is named in a warning, set aside and begun anew.

    Parameters
    ----------
    path : str or path-like
        The file; its folder is made where absent. Use a local disk: SQLite's locks are
        unreliable on many network file systems.

    Raises
    ------
    OSError
        By every method, if the file can be neither used nor made.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skcyto.utils._content_store import ContentStore
    >>> with TemporaryDirectory() as folder:
    ...     store = ContentStore(Path(folder) / "results.sqlite")
    ...     store.put_many({"a": b"1", "b": b"22"})
    ...     found, info = store.get_many(["a", "c"]), store.info()
    ...     store.close()
    >>> found, info
    ({'a': b'1'}, {'entries': 2, 'bytes': 3})
    """

    damage_warning: type[Warning] = DamagedFileWarning

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._pid = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def look_up(self, keys: Iterable[str]) -> tuple[dict[str, bytes], list[str]]:
        """Look up keys.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        found : dict of str to bytes
            The values of those keys that are present and intact.
        damaged : list of str
            Keys whose value does not have its checksum.
        """
        wanted = list(dict.fromkeys(keys))

        def select(connection: sqlite3.Connection) -> list[tuple[Any, Any, Any]]:
            rows = []
            for start in range(0, len(wanted), _KEYS_PER_QUERY):
                part = wanted[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, checksum, value FROM entries WHERE key IN ({marks})"
                rows += connection.execute(query, part).fetchall()
            return rows

        found, damaged = {}, []
        for key, checksum, value in self._run(select):
            if isinstance(value, bytes) and checksum == _checksum(key, value):
                found[key] = value
            else:
                damaged.append(key)
        return found, damaged

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Look up keys, and warn of values that are damaged.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        found : dict of str to bytes
            The values of those keys that are present and intact.
        """
        found, damaged = self.look_up(keys)
        if damaged:
            warn(
                f"{len(damaged)} damaged entries of {self.path} are ignored and computed again",
                self.damage_warning,
            )
        return found

    def put_many(self, items: Mapping[str, bytes], counts: Mapping[str, int] | None = None) -> None:
        """Store values: all of them or, if the process dies meanwhile, none.

        Parameters
        ----------
        items : mapping of str to bytes
        counts : mapping of str to int or None, default=None
            What is to be added to counts, in the same transaction.
        """
        rows = [(key, _checksum(key, value), value) for key, value in items.items()]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
                connection.executemany(
                    "INSERT INTO counts VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount",
                    list((counts or {}).items()),
                )

        if rows or counts:
            self._run(insert)

    def info(self) -> dict[str, int]:
        """Count what is stored.

        Returns
        -------
        info : dict
            ``entries``, the ``bytes`` of their values, and the counts.
        """

        def count(connection: sqlite3.Connection) -> dict[str, int]:
            query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM entries"
            entries, size = connection.execute(query).fetchone()
            counts = dict(connection.execute("SELECT name, amount FROM counts").fetchall())
            return {"entries": entries, "bytes": size, **counts}

        return self._run(count)

    def clear(self) -> None:
        """Remove every entry, and give the disk space back."""

        def delete(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("DELETE FROM entries")
                connection.execute("DELETE FROM counts")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        self._run(delete)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                if self._pid == os.getpid():
                    self._connection.close()
                else:
                    _of_parents.append(self._connection)
            self._connection = None

    def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation; where the file turns out damaged, begin anew and run it again."""
        with self._lock:
            attempt = 0
            while True:
                try:
                    return operation(self._connect())
                except sqlite3.Error as error:
                    self.close()
                    if attempt == 2 or not self._is_damage(error):
                        raise OSError(f"{self.path}: {error}{_advise(error)}") from error
                    self._set_aside(error, force=attempt == 1)
                attempt += 1

    def _connect(self) -> sqlite3.Connection:
        # SQLite goes on writing to a file that was moved away, for nobody to read. While it is
        # open here, no new file can have its number.
        if self._pid != os.getpid() or _identify(self.path) != self._identity:
            self.close()
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            make_file(self.path)
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
            try:
                _prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
            self._identity = _identify(self.path)
            self._pid = os.getpid()
        return self._connection

    def _is_damage(self, error: sqlite3.Error) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return "decode" in str(error)  # of a text that is none any more
        return code & 0xFF in _DAMAGE or code in _CUT_OR_MOVED or not self.path.exists()

    def _set_aside(self, error: sqlite3.Error, *, force: bool) -> None:
        """Move a damaged file away, unless another process has done so in the meantime."""
        if not self.path.exists():
            return
        beside = self.path.with_name(f"{self.path.name}.lock")
        make_file(beside)
        lock = sqlite3.connect(beside, timeout=_BUSY_SECONDS)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            if not force and self._passes_check():
                return
            aside = set_aside(self.path)
        finally:
            lock.close()
        warn(
            f"{self.path} is damaged ({error}); it was set aside as {aside.name}, and what it held "
            "is computed anew when it is needed",
            self.damage_warning,
        )

    def _passes_check(self) -> bool:
        try:
            return self._connect().execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.Error:
            return False
        finally:
            self.close()


def _advise(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_IOERR:
        return ", as where the disk is full or fails"
    if code != sqlite3.SQLITE_BUSY:
        return ""
    return (
        f" for {_BUSY_SECONDS:.0f} seconds. Another process is at it, or the file system has no "
        "locks, as some of networks have: then take a disk of this machine"
    )


def _prepare(connection: sqlite3.Connection) -> None:
    # Pages that take several values of some kilobytes each without much left over.
    connection.execute("PRAGMA page_size = 32768")
    _retry_while_locked(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    # Survives a killed process; after a power cut at worst the last commits are missing.
    connection.execute("PRAGMA synchronous = NORMAL")
    _retry_while_locked(lambda: connection.executescript(_SCHEMA))


def _retry_while_locked(action: Callable[[], object]) -> None:
    """Wait for other processes where SQLite itself does not: while the journal mode changes."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _checksum(key: str, value: bytes) -> bytes:
    return hashlib.blake2b(f"{key}\0".encode() + value, digest_size=16).digest()


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
