"""Checksums of the files that skcyto writes and reads again, and what becomes of damaged ones.

One policy: a checksum that is looked at before the content is believed; what does not have its own
is named in a warning, set aside under another name, and made anew. Nothing is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from skcyto.exceptions import DamagedFileWarning
from skcyto.utils._warnings import warn

MARK = b"skcyto-sha256:"
SEAL_SIZE = len(MARK) + hashlib.sha256().digest_size
_CHUNK = 1 << 20
_JSON_CHECKSUM = "sha256"


class SealedFile:
    """A file to write to that gets a checksum of what was written: not of what a disk made of it.

    Readers of PyTorch's archives and NumPy's take no notice of what follows them.

    Parameters
    ----------
    file : binary file
        Open for writing.
    name : str, default=""
        What the content belongs to, so that it is not believed under another name.
    """

    def __init__(self, file: IO[bytes], name: str = "") -> None:
        self._file = file
        self._hash = _begin(name)
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write content."""
        self._hash.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error  # PyTorch makes an error of its own of it, without the reason.
            raise

    def flush(self) -> None:
        """Hand on what was written."""
        self._file.flush()

    def seal(self) -> None:
        """Write the checksum."""
        self._file.write(MARK + self._hash.digest())


def make_seal(content: bytes, name: str) -> bytes:
    """Make what tells whether content is whole.

    Parameters
    ----------
    content : bytes
    name : str
        What it belongs to.

    Returns
    -------
    seal : bytes of length SEAL_SIZE
    """
    digest = _begin(name)
    digest.update(content)
    return MARK + digest.digest()


def find_damage(path: Path, name: str = "", *, n_after: int = 0) -> str | None:
    """Say what is wrong with a file that has a seal.

    Parameters
    ----------
    path : Path
        The file.
    name : str, default=""
        What it must belong to.
    n_after : int, default=0
        Bytes of its content that stand behind the seal.

    Returns
    -------
    reason : str or None
        None where it is as it was written.
    """
    n_before = path.stat().st_size - SEAL_SIZE - n_after
    if n_before < 0:
        return "it is empty or cut off"
    digest = _begin(name)
    with open(path, "rb") as file:
        while n_before > 0 and (chunk := file.read(min(_CHUNK, n_before))):
            digest.update(chunk)
            n_before -= len(chunk)
        seal = file.read(SEAL_SIZE)
        digest.update(file.read())
    if not seal.startswith(MARK):
        return "it has no checksum: it was cut off, changed, or is of an earlier version of skcyto"
    if seal[len(MARK) :] != digest.digest():
        return "it does not have its checksum"
    return None


def seal_json(facts: Mapping[str, Any]) -> bytes:
    """Write facts as JSON, with a checksum among them.

    Parameters
    ----------
    facts : mapping
        Of JSON's types.

    Returns
    -------
    text : bytes
    """
    sealed = {**facts, _JSON_CHECKSUM: hash_json(facts)}
    return f"{json.dumps(sealed, indent=2, ensure_ascii=False)}\n".encode()


def unseal_json(text: bytes) -> dict[str, Any]:
    """Read what :func:`seal_json` wrote.

    Parameters
    ----------
    text : bytes

    Returns
    -------
    facts : dict

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        facts = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(facts, dict) or facts.pop(_JSON_CHECKSUM, None) != hash_json(facts):
        raise ValueError("it does not have its checksum")
    return facts


def hash_json(facts: Any) -> str:
    """Return the SHA-256 of facts, however they are laid out in a file.

    Parameters
    ----------
    facts : object
        Of JSON's types.

    Returns
    -------
    digest : str
        Hexadecimal.
    """
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, *, prefix: str = "") -> Path:
    """Rename a damaged file, so that nothing is lost and nobody takes it for a whole one.

    Parameters
    ----------
    path : Path
        The file. What SQLite keeps beside it goes with it.
    prefix : str, default=""
        What the new name begins with, for folders whose readers take all files.

    Returns
    -------
    aside : Path
        Its new name, in the same folder.
    """
    aside = path.with_name(f"{prefix}{path.name}.damaged-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):  # Another process has met the same damage.
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def report_damage(path: Path, reason: object, then: str) -> None:
    """Set a damaged file aside, and say so.

    Parameters
    ----------
    path : Path
        The file.
    reason : object
        What is wrong with it.
    then : str
        What becomes of its content.
    """
    try:
        where = f"was set aside as {set_aside(path).name}"
    except OSError as error:  # of a read-only folder; the content is not believed all the same
        where = f"could not be set aside ({error.strerror})"
    warn(f"{path} is damaged ({reason}); it {where}, and {then}", DamagedFileWarning)


def _begin(name: str) -> Any:
    digest = hashlib.sha256()
    if name:
        digest.update(name.encode() + b"\0")
    return digest
