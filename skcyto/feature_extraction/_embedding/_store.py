"""The file behind :class:`EmbeddingCache`: embeddings, pooling heads, hits and misses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from skcyto.exceptions import EmbeddingCacheWarning
from skcyto.utils._content_store import ContentStore

_HEAD = "head "


class EmbeddingStore(ContentStore):
    """A store of embeddings that counts how often it was of use.

    Parameters
    ----------
    path : pathlib.Path
        The SQLite file; it and its folder are made where they are missing.
    """

    damage_warning = EmbeddingCacheWarning

    def put(self, vectors: Mapping[str, bytes]) -> None:
        """Store embeddings that went through a network, in one transaction.

        Parameters
        ----------
        vectors : mapping of str to bytes
            Key and embedding.
        """
        self.put_many(vectors, {"misses": len(vectors)})

    def get_head(self, model: str) -> bytes | None:
        """Look up a model's serialised pooling head; None where it is missing or damaged."""
        return self.look_up([_HEAD + model])[0].get(_HEAD + model)

    def put_head(self, model: str, head: bytes) -> None:
        """Store a model's serialised pooling head."""
        self.put_many({_HEAD + model: head})

    def add_hits(self, n_hits: int) -> None:
        """Count images that were answered from the store."""
        self.put_many({}, {"hits": n_hits})

    def count(self) -> tuple[int, int, int]:
        """Return the number of embeddings, hits and misses."""
        query = f"SELECT count(*) FROM entries WHERE key NOT LIKE '{_HEAD}%'"
        (entries,) = self._run(lambda connection: connection.execute(query).fetchone())
        info = self.info()
        return entries, info.get("hits", 0), info.get("misses", 0)


def make_keys(model: bytes, digests: Iterable[bytes]) -> list[str]:
    """Make the keys of images under a model.

    Parameters
    ----------
    model : bytes
        Fingerprint of the model, at most 64 bytes.
    digests : iterable of bytes
        Hashes of the images' content.

    Returns
    -------
    keys : list of str
    """
    return [hashlib.blake2b(digest, digest_size=20, key=model).hexdigest() for digest in digests]
