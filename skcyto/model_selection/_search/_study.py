"""Open the study that belongs to the data, the folds and the estimator of a search."""

from __future__ import annotations

import inspect
import json
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import joblib
import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from sklearn.base import BaseEstimator, clone

from skcyto.model_selection._fingerprints import fingerprint_data, fingerprint_estimator
from skcyto.model_selection._search._damage import check_trials, refuse_damage
from skcyto.model_selection._search._ledger import key_of, queue_again

# Parameters that say how something is computed, not what: machines may differ in them.
_EXECUTION = ("device", "memory", "n_jobs", "verbose")
_HEARTBEAT_SECONDS = 60
_CONNECTION_ATTEMPTS = 5


def search_key(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    metadata: Mapping[str, Any],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    scores: Any,
    space: str,
) -> str:
    """Return what tells a search from every other one on whatever machine it runs.

    Parameters
    ----------
    estimator : estimator
        Its class, version and parameters count, save those that say how to compute.
    X, y : array-like
        Cases.
    metadata : mapping
        Groups, weights and what else ``fit`` was given.
    splits : list of (ndarray, ndarray)
        Rows of the folds.
    scores : object
        What is measured and optimised.
    space : str
        Fingerprint of the space.

    Returns
    -------
    key : str
        Hexadecimal digits.
    """
    stripped = clone(estimator)
    stripped.set_params(
        **{
            name: None
            for name in stripped.get_params(deep=True)
            if name.rpartition("__")[2] in _EXECUTION
        }
    )
    # Workers may hold the same numbers in a memory map.
    plain = np.asarray(X) if isinstance(X, np.memmap) else X
    parts = [
        fingerprint_data(plain, np.asarray(y), {key: metadata[key] for key in sorted(metadata)}),
        fingerprint_estimator(stripped),
        [[joblib.hash(np.asarray(rows)) for rows in split] for split in splits],
        fingerprint_estimator(scores),
        space,
    ]
    return joblib.hash(json.dumps(parts))


def open_study(
    storage: Any,
    key: str,
    name: str,
    n_objectives: int,
    sampler: BaseSampler | None,
    pruner: BasePruner | None,
) -> optuna.Study:
    """Create the study of a search, or load it where the storage has it already.

    Parameters
    ----------
    storage : str, optuna storage or None
        None keeps the study in memory.
    key : str
        Of :func:`search_key`.
    name : str
        Name of the estimator, for those who look into the storage.
    n_objectives : int
        Number of values of a trial.
    sampler, pruner : optuna sampler and pruner or None
        Of the search.

    Raises
    ------
    ValueError
        If the storage is an SQLite file that is damaged.
    """
    with refuse_damage(storage):
        study = optuna.create_study(
            storage=_connect(storage) if isinstance(storage, str) else storage,
            study_name=f"{name}-{key}" if key else name,
            directions=["maximize"] * n_objectives,
            sampler=sampler,
            pruner=NopPruner() if pruner is None else pruner,
            load_if_exists=storage is not None,
        )
        if storage is not None:
            check_trials(study, key, n_objectives)
    return study


def check_grid(sampler: Any, storage: Any) -> None:
    """Refuse a grid of objects that optuna could not write into a storage.

    Parameters
    ----------
    sampler : optuna sampler or None
        Of the search.
    storage : str, optuna storage or None
        Where the study is kept; anything goes in memory.

    Raises
    ------
    ValueError
        With the parameter and the value.
    """
    in_memory = storage is None or isinstance(storage, optuna.storages.InMemoryStorage)
    if in_memory or not isinstance(sampler, GridSampler):
        return
    for name, values in sampler._search_space.items():
        for value in values:
            try:
                json.dumps(value)
            except TypeError as error:
                raise ValueError(
                    f"GridSampler writes its grid into the storage, which takes numbers and text "
                    f"alone, and the grid of {name!r} holds {value!r}: use "
                    "optuna.samplers.BruteForceSampler(), which tries every combination too, or "
                    "leave storage out"
                ) from error


def check_study(study: optuna.Study, key: str, n_objectives: int) -> None:
    """Refuse a study that does not fit the search.

    Parameters
    ----------
    study : optuna.Study
        The user's.
    key : str
        Of :func:`search_key`.
    n_objectives : int
        Number of values of a trial.

    Raises
    ------
    ValueError
        If the study minimises, has another number of objectives or holds trials of other data.
    """
    if any(direction.name != "MAXIMIZE" for direction in study.directions):
        raise ValueError(
            "study must maximise, as every score of scikit-learn does: make it with "
            "optuna.create_study(direction='maximize')"
        )
    if len(study.directions) != n_objectives:
        raise ValueError(
            f"study has {len(study.directions)} objective(s) and the search {n_objectives}: make "
            f"it with optuna.create_study(directions=['maximize'] * {n_objectives})"
        )
    keys = {key_of(trial) for trial in study.get_trials(deepcopy=False)}
    if keys - {key, None}:
        raise ValueError(
            f"study {study.study_name!r} holds trials of other data, folds or another estimator "
            "or space. Their scores are not comparable and, in nested cross-validation, would "
            "leak from one outer fold into another: give storage= instead of study=, which keeps "
            "a study for each"
        )


def sampler_of_rank(seed: int, rank: int) -> BaseSampler:
    """Return the sampler that is used where none is given.

    There is one for each trial, so that what it suggests depends on the trials before it and not
    on how many of them this process has seen.

    Returns
    -------
    sampler : optuna.samplers.TPESampler
        Tree-structured Parzen estimators that see parameters together, follow conditional spaces
        and keep the trials of a batch apart.
    """
    own_seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=own_seed, multivariate=True, group=True, constant_liar=True)


def _connect(url: str) -> optuna.storages.RDBStorage:
    """Open a database, with heartbeats where machines share it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool, SingletonThreadPool

    settings: dict[str, Any] = {}
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            f"storage={url!r} is no URL of a database, such as 'sqlite:///search.db' or "
            "'postgresql://user@host/database'"
        ) from error
    if url.startswith("sqlite"):
        # A file is cheap to open and need not stay so; a database in memory is its one connection.
        dialect: Any = parsed.get_dialect()
        if dialect.get_pool_class(parsed) is not SingletonThreadPool:
            settings = {"engine_kwargs": {"poolclass": NullPool}}
    else:
        parameters = inspect.signature(optuna.storages.RDBStorage).parameters
        callback = (
            "heartbeat_stale_trial_callback"
            if "heartbeat_stale_trial_callback" in parameters
            else "failed_trial_callback"  # its name until optuna 4.8
        )
        settings = {
            "heartbeat_interval": _HEARTBEAT_SECONDS,
            "grace_period": 3 * _HEARTBEAT_SECONDS,
            callback: queue_again,
            "engine_kwargs": {"pool_pre_ping": True},
        }
    attempt = 0
    while True:
        attempt += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = optuna.storages.RDBStorage(url, **settings)
            # The study outlives the search; with it go the connections that a pool holds.
            weakref.finalize(storage, storage.engine.dispose)
            return storage
        except SQLAlchemyError:
            # Processes that start together may all try to make the tables of a new database.
            if attempt == _CONNECTION_ATTEMPTS:
                raise
            time.sleep(0.2 * 2**attempt)
