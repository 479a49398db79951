"""Embeddings on disk, shared by folds, processes and runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from skcyto.feature_extraction._embedding._store import EmbeddingStore
from skcyto.utils._validation import PATH, check_parameters

_FILE_NAME = "embeddings.sqlite3"


class EmbeddingCacheInfo(NamedTuple):
    """State of an :class:`EmbeddingCache`.

    Parameters
    ----------
    entries : int
        Number of stored embeddings: images times models times views.
    bytes : int
        Size on disk.
    hits : int
        Images answered from the cache, over all processes since it was made or cleared.
    misses : int
        Images that had to go through a network, likewise.

    Examples
    --------
    >>> from skcyto.feature_extraction import EmbeddingCacheInfo
    >>> info = EmbeddingCacheInfo(entries=593, bytes=2_162_688, hits=1186, misses=593)
    >>> info.hits / (info.hits + info.misses)
    0.666...
    """

    entries: int
    bytes: int
    hits: int
    misses: int


class EmbeddingCache:
    """Store of image embeddings in a folder.

    An embedding is found again by the content of its image and by everything that determines what
    the network makes of it: model, weights, preprocessing, image size and precision. Renamed or
    copied images are hits; an image of which one byte changed is a miss. What is stored are the
    un-normalised class token and the mean of the patch tokens, so every choice of `tokens` and
    `final_norm` in :class:`EVA02TokenEmbedder` is served by one pass through the network; but for
    ``tokens="pooled"`` and ``final_norm="tokens"``, whose numbers are stored by themselves.

    The store is one SQLite file in write-ahead mode. Any number of processes on one machine may
    share it, and each batch is committed as soon as it is computed, so a killed run loses no more
    than a batch. Each embedding carries a checksum. Damaged embeddings are computed anew, and a
    damaged file is set aside under another name; both are reported by an
    :class:`~skcyto.exceptions.EmbeddingCacheWarning` that names the file.

    Parameters
    ----------
    path : str or path
        Folder of the store; made on first use. It must lie on a disk of this machine, as network
        file systems do not have the locks that SQLite needs.

    Attributes
    ----------
    file : pathlib.Path
        The SQLite file.

    See Also
    --------
    EVA02TokenEmbedder : Takes a cache, or its folder, as `cache`.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.feature_extraction import EmbeddingCache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = EmbeddingCache(folder)
    ...     cache.info().entries
    0
    """

    @check_parameters(path=PATH)
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return Path(self.path).expanduser().absolute() / _FILE_NAME

    def info(self) -> EmbeddingCacheInfo:
        """Count what is stored, and how often it was used.

        Returns
        -------
        info : EmbeddingCacheInfo
            Named tuple of entries, bytes, hits and misses.
        """
        if not self.file.exists():
            return EmbeddingCacheInfo(0, 0, 0, 0)
        with self._open() as store:
            entries, hits, misses = store.count()
        files = [Path(f"{self.file}{suffix}") for suffix in ("", "-wal", "-shm")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return EmbeddingCacheInfo(entries, size, hits, misses)

    def clear(self) -> None:
        """Remove all embeddings and set the counts to zero."""
        if self.file.exists():
            with self._open() as store:
                store.clear()

    def _open(self) -> EmbeddingStore:
        return EmbeddingStore(self.file)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self.path)!r})"
