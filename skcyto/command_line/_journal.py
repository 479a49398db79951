"""Keep predictions safe while a command runs, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from skcyto.command_line._inputs import CommandError


class Journal:
    """Predictions of a command that has not ended, in a database beside its table.

    What was recorded is on disk, whole or not at all, whatever happens to the process.

    Parameters
    ----------
    path : Path
        The database.
    model : str
        Identity of the model.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        database: sqlite3.Connection | None = None
        try:
            self._database = database = sqlite3.connect(path, timeout=60)
            with self._database:
                self._database.execute("CREATE TABLE IF NOT EXISTS model (identity TEXT)")
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS predictions "
                    "(input TEXT PRIMARY KEY, state TEXT, result TEXT)"
                )
                found = self._database.execute("SELECT identity FROM model").fetchone()
                # A command that failed before it had predicted anything is in nobody's way.
                if self._database.execute("SELECT 1 FROM predictions").fetchone() is None:
                    found = None
                    self._database.execute("DELETE FROM model")
                if found is None:
                    self._database.execute("INSERT INTO model VALUES (?)", (model,))
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise CommandError(
                f"{path}, which keeps what was predicted until the table is complete, cannot be "
                f"used: {error}. Remove it, or start anew with --overwrite"
            ) from error
        if found is not None and found[0] != model:
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
            row = self._database.execute("SELECT 1 FROM predictions").fetchone()
        except sqlite3.Error:
            row = ("unknown",)
        self._database.close()
        if row is None:
            remove_journal(self.path)

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
        recorded = {
            key: (state, result)
            for key, state, result in self._database.execute("SELECT * FROM predictions")
        }
        found = {}
        for paths in inputs:
            state, result = recorded.get(json.dumps(paths), (None, ""))
            if state is not None and state == _file_state(paths):
                found[paths] = json.loads(result)
        return found

    def record(self, results: Mapping[tuple[str, ...], dict[str, Any]]) -> None:
        """Record results, all of them or none.

        Parameters
        ----------
        results : mapping of tuple to dict
            Of JSON's types.
        """
        rows = [
            (json.dumps(paths), _file_state(paths), json.dumps(result))
            for paths, result in results.items()
        ]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?)", rows)


def remove_journal(path: Path) -> None:
    """Remove a journal and what SQLite keeps beside it while it writes."""
    for suffix in ("", "-journal", "-wal", "-shm"):
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
