"""Checkpoints of a fine-tuning, each tied to the fit that it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from skcyto.utils._damage import remove_old_parts, set_aside
from skcyto.utils._warnings import warn

_FILE = "fine_tuning.pt"
_PREVIOUS = "fine_tuning.previous.pt"
_FORMAT = 2
# What follows torch's archive, whose readers take no notice of it: this and a SHA-256 of the rest.
_MARK = b"skcyto-sha256:"
_DIGEST_SIZE = hashlib.sha256().digest_size
_CHUNK = 1 << 20
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
        remove_old_parts(self.path.parent)
        damaged = []
        state = None
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            reason = _find_damage(path)
            if reason is None:
                state = self._read(path)
                break
            damaged.append(f"{path} {reason}, and was set aside as {set_aside(path).name}")
        if damaged:
            then = (
                "training begins anew, as there is no whole state"
                if state is None
                else "training goes on from the last whole state"
            )
            warn(f"a checkpoint is damaged: {'; '.join(damaged)}; {then}")
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state beside the one before: whatever happens, one of them is whole.

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
                hashed = _HashedFile(file)
                torch.save(content, hashed)
                file.write(_MARK + hashed.digest())
                file.flush()
                os.fsync(file.fileno())
            # Absent in the first epoch, or where a process of the same fit was faster.
            with suppress(FileNotFoundError):
                os.replace(self.path, self.previous)
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

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


class _HashedFile:
    """Hashes what is written, on its way to the file: not what a disk made of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, content: Any) -> int:
        self._hash.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


def _find_damage(path: Path) -> str | None:
    """Say what is wrong with a file, None where its content has its checksum."""
    n_left = path.stat().st_size - len(_MARK) - _DIGEST_SIZE
    if n_left < 0:
        return "is empty or cut off"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while n_left > 0 and (chunk := file.read(min(_CHUNK, n_left))):
            digest.update(chunk)
            n_left -= len(chunk)
        end = file.read()
    if not end.startswith(_MARK):
        return "has no checksum at its end (cut off, changed, or of an earlier version of skcyto)"
    return None if end[len(_MARK) :] == digest.digest() else "does not have its checksum"


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
