"""Find damage of a search's storage before its trials are believed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from skcyto.model_selection._search._ledger import CHECKSUM, OWNER, RECORD, checksum_of, key_of

_HEADER_SIZE = 100  # bytes, of SQLite
_TIMEOUT = 120  # seconds to wait for another process
# The file may be sound: it is locked, read-only, on a full disk or cannot be opened.
_NO_DAMAGE = ("locked", "busy", "readonly", "read-only", "full", "unable to open", "disk i/o")


@contextmanager
def refuse_damage(storage: Any) -> Iterator[None]:
    """Check an SQLite storage, and turn whatever reading it raises into one error.

    Parameters
    ----------
    storage : str, optuna storage or None
        Of the search; nothing is done where it is no SQLite file that exists.

    Raises
    ------
    ValueError
        If the file is damaged: names it, what can be saved and what to do.
    """
    path = _find_database(storage)
    if path is None or not path.is_file():
        yield
        return
    try:
        _check_database(path)
        yield
    except Exception as error:  # Each layer between the file and its trials fails in its own way.
        if any(words in str(error).lower() for words in _NO_DAMAGE):
            raise
        raise ValueError(
            f"the storage {path} of OptunaSearchCV is damaged, or not of this version of optuna "
            f"({_shorten(error)}). Nothing was removed from it. {_count_readable(path)} To save "
            "them, close all searches and run: "
            f"sqlite3 '{path}' .recover | sqlite3 mended.db -- "
            "then give storage='sqlite:///mended.db'. To begin anew, give another storage, or move "
            "the file away"
        ) from error


@contextmanager
def name_lost_storage(storage: Any) -> Iterator[None]:
    """Turn what a storage raises that can't be reached or written any more into one error.

    Parameters
    ----------
    storage : str, optuna storage or None
        Of the search.

    Raises
    ------
    OSError
        Names the storage, the reason and what to do.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (DBAPIError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, DBAPIError):
            cause = cause.__cause__
        raise OSError(
            f"the storage {_name_of(storage)} of OptunaSearchCV can't be reached or written: "
            f"{_shorten(getattr(cause, 'orig', None) or cause)}. Trials that were recorded are "
            "kept: the same search goes on from there once this is mended"
        ) from error


def _name_of(storage: Any) -> str:
    url = storage if isinstance(storage, str) else getattr(storage, "url", None)
    if not isinstance(url, str):
        return type(storage).__name__
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return type(storage).__name__


def check_trials(study: optuna.Study, key: str, n_objectives: int) -> None:
    """Read the study of one search wholly, and see that its trials are as they were recorded.

    Parameters
    ----------
    study : optuna.Study
        Of a storage that the search named, so that all its trials are the search's.
    key : str
        Of the search.
    n_objectives : int
        Number of values of a trial.

    Raises
    ------
    ValueError
        If a trial is not what was recorded.
    """
    if [direction.name for direction in study.directions] != ["MAXIMIZE"] * n_objectives:
        raise ValueError("the directions of its study are not those of the search")
    trials = study.get_trials(deepcopy=False)
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise ValueError("trials are missing or numbered twice")
    for trial in trials:
        problem = _find_problem(trial, key)
        if problem is not None:
            raise ValueError(f"trial {trial.number} {problem}")


def _find_problem(trial: FrozenTrial, key: str) -> str | None:
    has_values = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    if OWNER in trial.user_attrs and key_of(trial) != key:
        return "is of another search"
    record = trial.user_attrs.get(RECORD)
    if record is None:
        return "is finished and has no record" if has_values else None
    if OWNER not in trial.user_attrs:
        return "has lost its owner"
    # Records of earlier versions have no checksum.
    if record.get(CHECKSUM, "") not in ("", checksum_of(trial.params, record)):
        return "does not have its checksum"
    if trial.state == TrialState.COMPLETE and trial.values != record["values"]:
        return "has other values than were recorded"
    return None


def _find_database(storage: Any) -> Path | None:
    url = storage if isinstance(storage, str) else getattr(storage, "url", None)
    if not isinstance(url, str) or not url.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(url).database
    return None if name in (None, "", ":memory:") else Path(str(name))


def _check_database(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        return  # SQLite makes it so before the first transaction.
    if size < _HEADER_SIZE:
        raise ValueError("it is cut off")  # SQLite would take it for an empty one.
    with closing(sqlite3.connect(path, timeout=_TIMEOUT)) as connection:
        # Unlike quick_check, this compares indices with their tables, too.
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise ValueError("; ".join(problems))
        orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(1)
        if orphans:
            raise ValueError(f"a row of table {orphans[0][0]!r} belongs to nothing")


def _count_readable(path: Path) -> str:
    """Say how many trials' records still can be read."""
    query = "SELECT value_json FROM trial_user_attributes WHERE key = ?"
    n_readable = 0
    try:
        with closing(sqlite3.connect(path, timeout=_TIMEOUT)) as connection:
            for (text,) in connection.execute(query, (RECORD,)):
                try:
                    n_readable += isinstance(json.loads(text), dict)
                except (TypeError, ValueError):
                    continue
    except (sqlite3.Error, UnicodeDecodeError):
        return f"The records of at least {n_readable} trials can be read."
    return f"The records of {n_readable} trials can be read."


def _shorten(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {text[:200]}"
