"""The list of a saved model's files, and the checks that come before any of them is read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skcyto.exceptions import InvalidModelError
from skcyto.persistence._versions import installed_versions
from skcyto.utils._damage import hash_file, seal_json, unseal_json

MANIFEST = "manifest.json"
ESTIMATOR = "estimator.skops"
CARD = "README.md"
_FORMAT = "skcyto model"
_FORMAT_VERSION = 1
_MAX_MANIFEST_BYTES = 2**24
_FILE_NAME = re.compile(rf"weights-\d+\.safetensors|{re.escape(ESTIMATOR)}|{re.escape(CARD)}")


def write_manifest(folder: Path, description: Mapping[str, Any]) -> None:
    """List the files of a folder in it, with what they are.

    Parameters
    ----------
    folder : Path
        Holds all other files already.
    description : mapping
        What else is told of the model.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)}
        for path in sorted(folder.iterdir())
    }
    manifest = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **description,
        "versions": installed_versions(),
        "files": files,
    }
    (folder / MANIFEST).write_bytes(seal_json(manifest))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the list of a saved model's files.

    Parameters
    ----------
    folder : Path
        The model.

    Returns
    -------
    manifest : dict

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    InvalidModelError
        If it holds no saved model, or one of a later format.
    """
    if not folder.is_dir():
        what = "is a file; a saved model is a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the model {folder} {what}")
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise InvalidModelError(
            f"{folder} is no saved model: it has no {MANIFEST}. skcyto.save makes such folders"
        )
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ValueError("it is too large")
        manifest = _unseal(path.read_bytes())
        if manifest["format"] != _FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}")
        _check_structure(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidModelError(f"{path} is damaged: {reason}") from error
    if manifest["format_version"] != _FORMAT_VERSION:
        raise InvalidModelError(
            f"{folder} has version {manifest['format_version']} of the format of saved models; "
            f"this skcyto reads version {_FORMAT_VERSION}: it was saved by skcyto "
            f"{manifest['versions'].get('skcyto')}, load it with that"
        )
    return manifest


def _unseal(text: bytes) -> dict[str, Any]:
    manifest = json.loads(text)
    # Models of earlier versions have no checksum of their list.
    return unseal_json(text) if "sha256" in manifest else manifest


def _check_structure(manifest: dict[str, Any]) -> None:
    if not isinstance(manifest["format_version"], int):
        raise TypeError(f"its format_version is {manifest['format_version']!r}")
    for name, value in manifest["versions"].items():
        if not isinstance(value, str):
            raise TypeError(f"the version of {name} is {value!r}")
    for name, facts in manifest["files"].items():
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"it lists {name!r}, which is no file of a saved model")
        if not isinstance(facts["bytes"], int) or not isinstance(facts["sha256"], str):
            raise TypeError(f"what it says of {name} is {facts!r}")
    if ESTIMATOR not in manifest["files"]:
        raise KeyError(ESTIMATOR)


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a folder holds exactly the files of its list, unchanged.

    Parameters
    ----------
    folder : Path
        The model.
    manifest : mapping
        Its list.

    Raises
    ------
    InvalidModelError
        If a file is missing, changed, or not on the list.
    """
    listed = manifest["files"]
    found = {entry.name: entry for entry in os.scandir(folder) if entry.name != MANIFEST}
    unexpected = sorted(set(found) - set(listed))
    if unexpected:
        raise InvalidModelError(
            f"{folder} holds {', '.join(unexpected)}, which {MANIFEST} does not list: a saved "
            "model has no other files than its own. Nothing was loaded. If you put it there, take "
            "it out; if not, do not trust this model"
        )
    missing = sorted(set(listed) - set(found))
    if missing:
        raise InvalidModelError(
            f"{folder} lacks {', '.join(missing)}, which {MANIFEST} lists: copy the whole folder "
            "again"
        )
    for name, facts in listed.items():
        if not found[name].is_file(follow_symlinks=False):
            raise InvalidModelError(f"{folder / name} is no plain file; nothing was loaded")
        size = found[name].stat().st_size
        if size != facts["bytes"]:
            raise InvalidModelError(
                f"{folder / name} has {size} bytes where {MANIFEST} says {facts['bytes']}: it was "
                "changed or not copied to the end. Nothing was loaded"
            )
        if hash_file(folder / name) != facts["sha256"]:
            raise InvalidModelError(
                f"{folder / name} was changed since the model was saved: its SHA-256 is not the "
                f"one in {MANIFEST}. Nothing was loaded"
            )
