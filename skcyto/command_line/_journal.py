"""Keep predictions safe while a command runs, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from skcyto.command_line._inputs import CommandError
from skcyto.utils._content_store import ContentStore

_MODEL = "model"


class Journal:
    """Predictions of a command that has not ended, in a database beside its table.

    What was recorded is on disk, whole or not at all, whatever happens to the process. What is
    damaged is named in a warning and predicted anew.

    Parameters
    ----------
    path : Path
        The database.
    model : str
        Identity of the model.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self._model = model
        self._store = ContentStore(path)
        try:
            found = None if self._is_empty() else self._store.get_many([_MODEL]).get(_MODEL)
            if found is None:
                # A command that failed before it had predicted anything is in nobody's way.
                self._store.put_many({_MODEL: model.encode()})
        except OSError as error:
            self._store.close()
            raise CommandError(
                f"{path}, which keeps what was predicted until the table is complete, cannot be "
                f"used: {error}. Remove it, or start anew with --overwrite"
            ) from error
        if found not in (None, model.encode()):
            self.close()
            raise CommandError(
                f"{path} holds predictions of another model, from a command that was interrupted: "
                "end that one first, choose another --output, or start anew with --overwrite"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, and remove it if nothing is in it."""
        try:
            is_empty = self._is_empty()
        except OSError:
            is_empty = False
        self._store.close()
        if is_empty:
            remove_journal(self.path)

    def _is_empty(self) -> bool:
        return self._store.info()["entries"] <= len(self._store.look_up([_MODEL])[0])

    def look_up(self, inputs: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, Any]]:
        """Return what is recorded for inputs whose files have not changed since.

        Parameters
        ----------
        inputs : sequence of tuple of str
            Paths.

        Returns
        -------
        results : dict of tuple to dict
        """
        keys = {self._key(paths): paths for paths in inputs}
        found = {}
        for key, value in self._store.get_many(keys).items():
            state, result = json.loads(value)
            if state == _file_state(keys[key]):
                found[keys[key]] = result
        return found

    def record(self, results: Mapping[tuple[str, ...], dict[str, Any]]) -> None:
        """Record results, all of them or none.

        Parameters
        ----------
        results : mapping of tuple to dict
            Of JSON's types.
        """
        rows = {
            self._key(paths): json.dumps([_file_state(paths), result]).encode()
            for paths, result in results.items()
        }
        try:
            self._store.put_many(rows)
        except OSError as error:
            raise CommandError(
                f"predictions can no longer be kept: {error}. Those that are kept stay: the same "
                "command goes on from there"
            ) from error

    def _key(self, paths: tuple[str, ...]) -> str:
        return f"{self._model} {json.dumps(paths)}"


def remove_journal(path: Path) -> None:
    """Remove a journal and what SQLite keeps beside it while it writes."""
    for suffix in ("", "-journal", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _file_state(paths: tuple[str, ...]) -> str:
    states = []
    for path in paths:
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            states.append("absent")
        else:
            states.append(f"{stat.st_size} {stat.st_mtime_ns}")
    return ", ".join(states)
