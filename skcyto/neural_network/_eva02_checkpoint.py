"""Checkpoints of a fine-tuning, each tied to the fit that it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_FILE = "fine_tuning.pt"
_FORMAT = 1
_PLACEHOLDER = "{fit}"
# Names in a fingerprint that stand for hashes, which tell a reader nothing.
_HASHED = ("images", "labels", "groups", "sample_weight", "weights")


def hash_rows(rows: Sequence[bytes] | NDArray | None) -> str | None:
    """Hash one value for each image.

    Parameters
    ----------
    rows : sequence of bytes, ndarray or None
        The values.

    Returns
    -------
    digest : str or None
        Hexadecimal; None for None.
    """
    if rows is None:
        return None
    if isinstance(rows, np.ndarray):
        rows = [repr(row).encode() for row in rows.tolist()]
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(len(row).to_bytes(8, "little") + row)
    return digest.hexdigest()


class Checkpoint:
    """The file that keeps the state of one fit.

    Parameters
    ----------
    directory : path
        Folder; ``{fit}`` in it becomes a name of this fit's own.
    fingerprint : mapping of str to JSON values
        Everything that determines the result of the fit.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: Mapping[str, Any]) -> None:
        self._fingerprint = json.loads(
            json.dumps(fingerprint, default=lambda number: number.item())
        )
        text = json.dumps(self._fingerprint, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        folder = os.path.expanduser(os.fspath(directory)).replace(_PLACEHOLDER, name)
        self.path = Path(folder).absolute() / _FILE

    def load(self) -> dict[str, Any] | None:
        """Read the state that was saved last.

        Returns
        -------
        state : dict or None
            None where nothing was saved.

        Raises
        ------
        ValueError
            If the file is damaged or belongs to another fit; the message says in what they differ.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = content["fingerprint"], content["state"]
        except Exception as error:  # torch's reader fails in many ways on what is no checkpoint.
            raise ValueError(
                f"{self.path} is no checkpoint of EVA02Classifier, or is damaged "
                f"({textwrap.shorten(str(error), 200)}). Delete it to begin anew, or choose "
                "another checkpoint_dir"
            ) from error
        differences = _list_differences(found, self._fingerprint)
        if content.get("format") != _FORMAT:
            differences.append("it was written by another version of skcyto")
        if differences:
            raise ValueError(
                f"the checkpoint {self.path} belongs to another fit: {'; '.join(differences)}. "
                "Choose another checkpoint_dir, or delete the file to begin anew. For a "
                "cross-validation or a search, put '{fit}' into checkpoint_dir, as in "
                "'checkpoints/{fit}': each fit then has a folder of its own"
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state: the file holds the old or the new one, whatever happens.

        Parameters
        ----------
        state : mapping
            Tensors and plain Python values.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}.part")
        content = {"format": _FORMAT, "fingerprint": self._fingerprint, "state": dict(state)}
        try:
            with open(part, "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)


def _list_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    differences = []
    for name in sorted(found.keys() | wanted.keys()):
        old, new = found.get(name), wanted.get(name)
        if old == new:
            continue
        if name in _HASHED:
            differences.append(f"its {name} are not those of this fit")
        else:
            differences.append(f"{name} was {old!r} and is {new!r}")
    return differences
