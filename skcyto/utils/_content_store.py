"""A small store of results keyed by the content they were computed from."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from skcyto.exceptions import InvalidInputWarning
from skcyto.utils._file_modes import make_file
from skcyto.utils._warnings import warn

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, checksum INTEGER NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID
"""
_BUSY_SECONDS = 120.0
_KEYS_PER_QUERY = 500  # below SQLite's oldest limit of 999 parameters


class ContentStore:
    """Bytes under keys, in one SQLite file that many threads and processes may use at once.

    Every :meth:`put_many` is one transaction in write-ahead logging: after ``kill -9`` the
    file holds each finished transaction whole and nothing of an unfinished one. Each value
    carries a checksum; a value that does not match it counts as absent. A file that SQLite
    cannot read is named in a warning, moved aside and begun anew.

    Parameters
    ----------
    path : str or path-like
        The file; its folder is made where absent. Use a local disk: SQLite's locks are
        unreliable on many network file systems.

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

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Look up keys.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        found : dict of str to bytes
            The values of those keys that are present and intact.
        """
        wanted = list(dict.fromkeys(keys))
        parts = [
            wanted[start : start + _KEYS_PER_QUERY]
            for start in range(0, len(wanted), _KEYS_PER_QUERY)
        ]

        def select(connection: sqlite3.Connection) -> list[tuple[str, int, bytes]]:
            rows: list[tuple[str, int, bytes]] = []
            for part in parts:
                marks = ",".join("?" * len(part))
                query = f"SELECT key, checksum, value FROM entries WHERE key IN ({marks})"
                rows += connection.execute(query, part).fetchall()
            return rows

        rows = self._run(select)
        found = {key: value for key, checksum, value in rows if zlib.crc32(value) == checksum}
        if len(found) < len(rows):
            warn(
                f"{len(rows) - len(found)} damaged entries of the cache {self.path} are ignored "
                "and computed again",
                InvalidInputWarning,
            )
        return found

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store values: all of them or, if the process dies meanwhile, none.

        Parameters
        ----------
        items : mapping of str to bytes
        """
        rows = [(key, zlib.crc32(value), value) for key, value in items.items()]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)

        if rows:
            self._run(insert)

    def info(self) -> dict[str, int]:
        """Count what is stored.

        Returns
        -------
        info : dict
            ``entries`` and the ``bytes`` of their values.
        """
        query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM entries"
        entries, size = self._run(lambda connection: connection.execute(query).fetchone())
        return {"entries": entries, "bytes": size}

    def clear(self) -> None:
        """Remove every entry."""

        def delete(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("DELETE FROM entries")
            connection.execute("VACUUM")

        self._run(delete)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            # A connection must not cross a fork: the child leaves its parent's open.
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return operation(self._connect())
            except sqlite3.OperationalError:
                raise  # locked, read-only, disk full: the file itself may be sound
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                return operation(self._connect())

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            make_file(self.path)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            self._pid = os.getpid()
            self._prepare(self._connection)
        return self._connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection) -> None:
        # Switching to WAL fails at once, whatever the timeout, where another process does so too.
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        self.close()
        try:
            # Another process may have moved the damaged file away already: keep its new one.
            if self._connect().execute("PRAGMA quick_check").fetchone() == ("ok",):
                return
        except sqlite3.DatabaseError:
            pass
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            try:
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            except FileNotFoundError:
                continue
        warn(
            f"the cache {self.path} is damaged ({error}); it was moved to {aside} and is built "
            "anew",
            InvalidInputWarning,
        )
