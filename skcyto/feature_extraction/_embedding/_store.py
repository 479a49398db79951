"""The SQLite file behind :class:`EmbeddingCache`: checksums, damage, rebuilding."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from skcyto.exceptions import EmbeddingCacheWarning
from skcyto.utils._file_modes import make_file
from skcyto.utils._warnings import warn

Result = TypeVar("Result")

_TIMEOUT = 120  # seconds to wait for another process
_MAX_VARIABLES = 500  # of one statement; the oldest SQLite in use allows 999
_SCHEMA = """
CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB, checksum BLOB);
CREATE TABLE IF NOT EXISTS heads (model BLOB PRIMARY KEY, head BLOB, checksum BLOB);
CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, hits INTEGER, misses INTEGER);
INSERT OR IGNORE INTO counts VALUES (0, 0, 0);
"""
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,  # every statement here is known to be right: tables are missing or odd
    sqlite3.SQLITE_MISMATCH,
}
_CUT_OR_MOVED = {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_READONLY_DBMOVED}


class EmbeddingStore:
    """One connection to the store, for one thread.

    Parameters
    ----------
    path : pathlib.Path
        The SQLite file; it and its folder are made where they are missing.

    Attributes
    ----------
    path : pathlib.Path
        As given.

    Raises
    ------
    OSError
        If the file can be neither opened nor made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._guard(lambda connection: None)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def get(self, keys: Sequence[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Look up embeddings.

        Parameters
        ----------
        keys : sequence of bytes
            What to look for.

        Returns
        -------
        found : dict of bytes to bytes
            The embeddings that are there and sound.
        damaged : list of bytes
            Keys whose embedding does not have its checksum.
        """
        found: dict[bytes, bytes] = {}
        damaged = []
        for start in range(0, len(keys), _MAX_VARIABLES):
            part = keys[start : start + _MAX_VARIABLES]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, vector, checksum FROM embeddings WHERE key IN ({marks})"
            fetch = partial(_fetch_all, query=query, values=part)
            for key, vector, checksum in self._guard(fetch):
                if _is_sound(key, vector, checksum):
                    found[key] = vector
                else:
                    damaged.append(key)
        return found, damaged

    def put(self, vectors: Mapping[bytes, bytes]) -> None:
        """Store embeddings that went through a network, in one transaction.

        Parameters
        ----------
        vectors : mapping of bytes to bytes
            Key and embedding.
        """
        rows = [(key, vector, _checksum(key, vector)) for key, vector in vectors.items()]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
                connection.execute("UPDATE counts SET misses = misses + ?", (len(rows),))

        self._guard(write)

    def get_head(self, model: bytes) -> bytes | None:
        """Look up a model's serialised pooling head; None where it is missing or damaged."""
        query = "SELECT model, head, checksum FROM heads WHERE model = ?"
        row = self._guard(lambda c: c.execute(query, (model,)).fetchone())
        return row[1] if row is not None and _is_sound(*row) else None

    def put_head(self, model: bytes, head: bytes) -> None:
        """Store a model's serialised pooling head."""

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                row = (model, head, _checksum(model, head))
                connection.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", row)

        self._guard(write)

    def add_hits(self, n_hits: int) -> None:
        """Count images that were answered from the store."""

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("UPDATE counts SET hits = hits + ?", (n_hits,))

        self._guard(write)

    def count(self) -> tuple[int, int, int]:
        """Return the number of embeddings, hits and misses."""
        query = "SELECT (SELECT count(*) FROM embeddings), hits, misses FROM counts"
        entries, hits, misses = self._guard(lambda c: c.execute(query).fetchone())
        return entries, hits, misses

    def clear(self) -> None:
        """Remove everything and give the disk space back."""

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("DELETE FROM embeddings")
                connection.execute("DELETE FROM heads")
                connection.execute("UPDATE counts SET hits = 0, misses = 0")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        self._guard(write)

    def _guard(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run an action; where the file turns out damaged, mend it and run the action again."""
        attempt = 0
        while True:
            try:
                if _identify(self.path) != self._identity:
                    # SQLite goes on writing to a file that was removed, for nobody to read. While
                    # it is open here, no new file can have its number.
                    self._close()
                if self._connection is None:
                    self._connection = self._connect()
                    self._identity = _identify(self.path)
                return action(self._connection)
            except sqlite3.Error as error:
                if attempt == 2 or not self._is_recoverable(error):
                    self._close()  # the next action opens it again, if there is one
                    raise OSError(f"embedding cache {self.path}: {error}") from error
                self._close()
                self._mend(error, force=attempt == 1)
            attempt += 1

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        make_file(self.path)
        connection = sqlite3.connect(self.path, timeout=_TIMEOUT)
        try:
            # Pages that take several embeddings of some kilobytes each without much left over.
            connection.execute("PRAGMA page_size = 32768")
            _retry_while_locked(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
            # Survives a killed process; after a power cut at worst the last commits are missing.
            connection.execute("PRAGMA synchronous = NORMAL")
            _retry_while_locked(lambda: connection.executescript(_SCHEMA))
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_recoverable(self, error: sqlite3.Error) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and (
            code & 0xFF in _DAMAGE or code in _CUT_OR_MOVED or not self.path.exists()
        )

    def _mend(self, error: sqlite3.Error, *, force: bool) -> None:
        """Replace a damaged file, unless another process has done so in the meantime."""
        make_file(self.path.with_suffix(".lock"))
        lock = sqlite3.connect(self.path.with_suffix(".lock"), timeout=_TIMEOUT)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            if not force and self._passes_check():
                return
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        finally:
            lock.close()
        warn(
            f"the embedding cache {self.path} is damaged ({error}); it was replaced by an empty "
            "one, and embeddings are computed anew when they are needed",
            EmbeddingCacheWarning,
        )

    def _passes_check(self) -> bool:
        try:
            connection = self._connect()
        except sqlite3.Error:
            return False
        try:
            return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.Error:
            return False
        finally:
            connection.close()


def make_keys(model: bytes, digests: Iterable[bytes]) -> list[bytes]:
    """Make the keys of images under a model.

    Parameters
    ----------
    model : bytes
        Fingerprint of the model, at most 64 bytes.
    digests : iterable of bytes
        Hashes of the images' content.

    Returns
    -------
    keys : list of bytes
    """
    return [hashlib.blake2b(digest, digest_size=20, key=model).digest() for digest in digests]


def _fetch_all(
    connection: sqlite3.Connection, *, query: str, values: Sequence[bytes]
) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()


def _checksum(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(vector, digest_size=8, key=key).digest()


def _is_sound(key: object, vector: object, checksum: object) -> bool:
    return (
        isinstance(key, bytes)
        and isinstance(vector, bytes)
        and isinstance(checksum, bytes)
        and _checksum(key, vector) == checksum
    )


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _retry_while_locked(action: Callable[[], object]) -> None:
    """Wait for other processes where SQLite itself does not: while the journal mode changes."""
    deadline = time.monotonic() + _TIMEOUT
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
