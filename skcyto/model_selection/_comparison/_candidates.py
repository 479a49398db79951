"""The models of a comparison: their names, caches and seeds."""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.model_selection import ParameterGrid


def make_candidates(estimators: Any, cache: Any) -> dict[str, BaseEstimator]:
    """Name the models and give them a common cache.

    Parameters
    ----------
    estimators : dict of str to estimator, or (estimator, param_grid)
        What :func:`compare_models` was given.
    cache : str, path, joblib.Memory or None
        Cache of the fitted transformers of pipelines that have none of their own.

    Returns
    -------
    candidates : dict of str to estimator
        Unfitted clones.

    Raises
    ------
    TypeError
        If `estimators` is neither, or a model is no classifier.
    ValueError
        If there are none, or a grid names parameters that the estimator lacks.
    """
    if isinstance(estimators, Mapping):
        named = dict(estimators)
    elif isinstance(estimators, tuple) and len(estimators) == 2:
        named = _from_grid(*estimators)
    else:
        raise TypeError(
            "estimators must be a dict of names to classifiers or a tuple (classifier, "
            f"param_grid), not {type(estimators).__name__}"
        )
    if not named:
        raise ValueError("estimators is empty: give at least one classifier")
    candidates: dict[str, BaseEstimator] = {}
    for name, estimator in named.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name {name!r} of an estimator must be a string")
        if (
            isinstance(estimator, type)
            or not hasattr(estimator, "fit")
            or not is_classifier(estimator)
        ):
            raise TypeError(
                f"estimators[{name!r}] must be a classifier with fit and predict, not {estimator!r}"
            )
        candidate = clone(estimator)
        if cache is not None:
            # Pipelines take text.
            cache = os.fspath(cache) if isinstance(cache, os.PathLike) else cache
            caches = {
                key: cache
                for key, value in candidate.get_params(deep=True).items()
                if (key == "memory" or key.endswith("__memory")) and value is None
            }
            candidate.set_params(**caches)
        candidates[name] = candidate
    return candidates


def _from_grid(estimator: Any, grid: Any) -> dict[str, Any]:
    points = list(ParameterGrid(grid))
    known = estimator.get_params(deep=True)
    unknown = sorted({key for point in points for key in point} - set(known))
    # A parameter of a step that the grid itself puts in is known only once it is there.
    replaced = {key for point in points for key in point}
    unknown = [key for key in unknown if key.rpartition("__")[0] not in replaced]
    if unknown:
        raise ValueError(
            f"the grid sets {unknown}, which {type(estimator).__name__} doesn't have; "
            f"it has {sorted(known)[:12]}..."
        )
    keys = sorted({key for point in points for key in point})
    varied = [
        key
        for key in keys
        if len({_show(point[key]) if key in point else None for point in points}) > 1
    ]
    # The last part of a parameter's name tells it apart, unless another one ends alike.
    endings = [key.rpartition("__")[2] for key in varied]
    short = {
        key: ending if endings.count(ending) == 1 else key
        for key, ending in zip(varied, endings, strict=True)
    }
    named: dict[str, Any] = {}
    for number, point in enumerate(points):
        parts = [f"{short[key]}={_show(point[key])}" for key in varied if key in point]
        name = ", ".join(parts) or type(estimator).__name__
        named[name if name not in named else f"{name} ({number})"] = clone(estimator).set_params(
            **{key: clone(value, safe=False) for key, value in point.items()}
        )
    return named


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    return " ".join(repr(value).split())


def seed_estimator(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """Set every `random_state` that was left to None, each to a number of its own.

    The seed of a parameter depends on `seed` and its name alone, so that steps that candidates
    share get the same one: their results can then be cached, and comparisons are paired.
    Splitters that shuffle, such as the ``cv`` of a search, are replaced by copies with a seed.

    Returns
    -------
    estimator : estimator
        The same.
    """
    changed: dict[str, Any] = {}
    for key, value in estimator.get_params(deep=True).items():
        if (key == "random_state" or key.endswith("__random_state")) and value is None:
            changed[key] = _seed_of(seed, key)
        elif _shuffles_unseeded(value):
            # get_params doesn't look into splitters. The object may be the user's own.
            changed[key] = copy.copy(value)
            changed[key].random_state = _seed_of(seed, f"{key}__random_state")
    if changed:
        estimator.set_params(**changed)  # of a frozen one gives nothing back
    return estimator


def _seed_of(seed: int, key: str) -> int:
    sequence = np.random.SeedSequence([seed, zlib.crc32(key.encode())])
    return int(sequence.generate_state(1)[0] >> 1)


def _shuffles_unseeded(value: Any) -> bool:
    """Say whether a parameter is a splitter that draws from numpy's global generator."""
    is_splitter = (
        hasattr(value, "split")
        and hasattr(value, "get_n_splits")
        and not isinstance(value, type)
        # The parameters of one that has them are seen one by one.
        and not hasattr(value, "get_params")
    )
    # ShuffleSplit and repeated folds always shuffle: they have no such switch.
    return (
        is_splitter
        and getattr(value, "random_state", 0) is None
        and bool(getattr(value, "shuffle", True))
    )
