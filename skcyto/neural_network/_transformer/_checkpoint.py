"""Checkpoints of a fine-tuning, each tied to the fit that it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skcyto.exceptions import DamagedFileWarning
from skcyto.utils._atomic import clear_parts, written_whole
from skcyto.utils._damage import SealedFile, find_damage, set_aside
from skcyto.utils._warnings import warn

_FILE = "fine_tuning.pt"
_PREVIOUS = "fine_tuning.previous.pt"
_FORMAT = 2
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
    """The files that keep the last two states of one fit, each with a checksum of its content.

    Parameters
    ----------
    directory : path
        Folder; ``{fit}`` in it becomes a name of this fit's own.
    fingerprint : mapping of str to JSON values
        Everything that determines the result of the fit.

    Attributes
    ----------
    path : pathlib.Path
        The file of the last state.
    previous : pathlib.Path
        The file of the state before it.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: Mapping[str, Any]) -> None:
        self._fingerprint = json.loads(
            json.dumps(fingerprint, default=lambda number: number.item())
        )
        text = json.dumps(self._fingerprint, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        folder = os.path.expanduser(os.fspath(directory)).replace(_PLACEHOLDER, name)
        self.path = Path(folder).absolute() / _FILE
        self.previous = self.path.with_name(_PREVIOUS)

    def load(self) -> dict[str, Any] | None:
        """Read the last state that is whole.

        A damaged file is named in a warning and set aside.

        Returns
        -------
        state : dict or None
            None where no whole state was saved.

        Raises
        ------
        ValueError
            If a file belongs to another fit; the message says in what they differ.
        """
        clear_parts(self.path.parent, _FILE)
        damaged = []
        state = None
        for path in (self.path, self.previous):
            try:
                reason = find_damage(path, _FILE)
            except FileNotFoundError:
                continue
            if reason is None:
                state = self._read(path)
                break
            damaged.append(f"{path} ({reason}) was set aside as {set_aside(path).name}")
        if damaged:
            then = (
                "training begins anew, as there is no whole state"
                if state is None
                else "training goes on from the last whole state"
            )
            warn(f"a checkpoint is damaged: {'; '.join(damaged)}; {then}", DamagedFileWarning)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state beside the one before: whatever happens, one of them is whole.

        Parameters
        ----------
        state : mapping
            Tensors and plain Python values.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": _FORMAT, "fingerprint": self._fingerprint, "state": dict(state)}
        with written_whole(self.path) as part:
            with open(part, "wb") as file:
                sealed = SealedFile(file, _FILE)
                try:
                    torch.save(content, sealed)
                except RuntimeError as error:
                    raise sealed.error or error from None
                sealed.seal()
            # Absent in the first epoch, or where a process of the same fit was faster.
            with suppress(FileNotFoundError):
                os.replace(self.path, self.previous)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            found, state = content["fingerprint"], content["state"]
            version = content["format"]
        except (MemoryError, OSError):
            raise
        except Exception as error:  # torch's reader fails in many ways on what is no checkpoint.
            # No text of torch's: it advises to allow the file to run code.
            raise ValueError(
                f"{path} is whole but no checkpoint of EVA02Classifier ({type(error).__name__}). "
                "Choose another checkpoint"
            ) from error
        differences = _list_differences(found, self._fingerprint)
        if version != _FORMAT:
            differences.append("it was written by another version of skcyto")
        if differences:
            raise ValueError(
                f"the checkpoint {path} belongs to another fit: {'; '.join(differences)}. "
                f"Choose another checkpoint, or delete {_FILE} and {_PREVIOUS} to begin anew. "
                "For a cross-validation or a search, put '{fit}' into checkpoint, as in "
                "'checkpoints/{fit}': each fit then has a folder of its own"
            )
        return state


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
