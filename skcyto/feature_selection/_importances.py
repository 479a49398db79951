"""Read one importance per input feature from a fitted model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

_AGGREGATES: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "max": np.max,
    "norm": np.linalg.norm,
}


def read_importances(
    model: Any,
    getter: str | Callable[[Any], Any],
    aggregate: str,
    n_features: int,
) -> np.ndarray:
    """Return the importance of every input feature of a fitted model.

    Magnitudes are taken *before* classes are aggregated: the coefficients of a multinomial model
    sum to zero over the classes, so their signed mean is rounding noise.

    Parameters
    ----------
    model : estimator
        Fitted. With ``getter="auto"`` a pipeline's last step and a search's ``best_estimator_``
        are looked through.
    getter : "auto", str or callable
        "auto" takes ``coef_``, then ``feature_importances_``; a str is a dotted attribute of
        `model`; a callable takes `model` and returns the array.
    aggregate : {"mean", "max", "norm"}
        How rows (classes) of a two-dimensional array become one number a feature.
    n_features : int
        Number of input features.

    Returns
    -------
    importances : ndarray of shape (n_features,), float64
        Not negative.

    Raises
    ------
    ValueError
        If there are no importances, or not one finite number per input feature.
    """
    columns: np.ndarray | None = None
    if getter == "auto":
        model, columns = _look_through(model, n_features)
        raw = _coef_or_importances(model)
    elif callable(getter):
        raw = getter(model)
    else:
        try:
            raw = attrgetter(getter)(model)
        except AttributeError as error:
            raise ValueError(
                f"importance_getter={getter!r} names no attribute of the fitted "
                f"{type(model).__name__}: {error}"
            ) from error
    importances = _aggregate_classes(raw, aggregate, type(model).__name__)
    if columns is not None and len(columns) == len(importances):
        spread = np.zeros(n_features)
        spread[columns] = importances
        return spread
    if len(importances) != n_features:
        raise ValueError(
            f"{type(model).__name__} has {len(importances)} importances for {n_features} input "
            "features: a step before it changes the features. Put the selector after that step, "
            "or give an importance_getter that returns one number per input feature"
        )
    return importances


def _coef_or_importances(model: Any) -> Any:
    for name in ("coef_", "feature_importances_"):
        if hasattr(model, name):
            return getattr(model, name)
    raise ValueError(
        f"{type(model).__name__} has neither `coef_` nor `feature_importances_`: use an estimator "
        "that has one of them, or say with importance_getter where its importances are"
    )


def _aggregate_classes(raw: Any, aggregate: str, owner: str) -> np.ndarray:
    dense = raw.toarray() if issparse(raw) else raw
    magnitudes = np.abs(np.asarray(dense, dtype=np.float64))
    if magnitudes.ndim == 2:
        magnitudes = _AGGREGATES[aggregate](magnitudes, axis=0)
    if magnitudes.ndim != 1:
        raise ValueError(
            f"the importances of {owner} have {magnitudes.ndim} dimensions; expected (n_features,) "
            "or (n_classes, n_features)"
        )
    bad = np.flatnonzero(~np.isfinite(magnitudes))
    if len(bad):
        raise ValueError(
            f"the importances of {owner} are not finite for {len(bad)} feature(s), first at "
            f"column {bad[0]}: the model did not converge or overflowed; scale its input"
        )
    return magnitudes


def _look_through(model: Any, n_features: int) -> tuple[Any, np.ndarray | None]:
    """Find the model inside pipelines and searches, and the input columns it sees.

    Columns are None where the steps before it cannot tell.
    """
    columns: np.ndarray | None = np.arange(n_features)
    while True:
        if isinstance(model, Pipeline):
            for _, step in model.steps[:-1]:
                if columns is not None:
                    columns = _follow_columns(step, columns)
            model = model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model, columns


def _follow_columns(step: Any, columns: np.ndarray) -> np.ndarray | None:
    """Map the columns that enter a pipeline step to those that leave it, by their names."""
    if step is None or step == "passthrough" or hasattr(step, "fit_resample"):
        return columns
    if not hasattr(step, "get_feature_names_out"):
        return None
    names_in: Sequence[str] = getattr(
        step, "feature_names_in_", [f"x{column}" for column in range(len(columns))]
    )
    try:
        names_out = step.get_feature_names_out(names_in)
    except (AttributeError, NotFittedError, ValueError):
        return None
    position = {name: index for index, name in enumerate(names_in)}
    unknown = [name for name in names_out if name not in position]
    if unknown:
        raise ValueError(
            f"{type(step).__name__} makes new features ({', '.join(map(str, unknown[:3]))}"
            f"{', ...' if len(unknown) > 3 else ''}) before the model, so its importances are not "
            "those of the input features. Put the selector after that step, or give an "
            "importance_getter that returns one number per input feature"
        )
    return columns[[position[name] for name in names_out]]
