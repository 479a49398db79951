"""Checks of labels and groups that come with rows or images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skcyto.utils._validation import plain_vector

_MAX_NAMED = 5


def check_labels(y: Any, unit: str) -> None:
    """Refuse missing labels, and text among labels that are none.

    Parameters
    ----------
    y : array-like
        Labels as the user gave them: numpy turns whatever stands beside a text into text.
    unit : str
        What one label belongs to: "row" or "image".

    Raises
    ------
    ValueError
        If labels are missing or of mixed types.
    """
    labels = np.asarray(y)
    if labels.dtype.kind == "U" and not hasattr(y, "dtype"):
        _check_types(list(y))
    missing = _missing(labels)
    if len(missing):
        raise ValueError(
            f"y contains NaN or missing labels: {len(missing)}, the first in rows "
            f"{missing[:_MAX_NAMED].tolist()}. Leave these {unit}s out"
        )
    if labels.dtype == object:
        _check_types(labels.ravel().tolist())


def check_groups(groups: ArrayLike, n: int, unit: str) -> NDArray:
    """Make groups an array, one known group a row.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Groups as the user gave them.
    n : int
        Number of rows or images.
    unit : str
        What one group belongs to: "row" or "image".

    Returns
    -------
    groups : ndarray of shape (n,)

    Raises
    ------
    ValueError
        If their number is wrong or some are missing.
    """
    array = np.asarray(plain_vector(groups))
    if array.ndim != 1 or len(array) != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X holds {n} {unit}s, "
            f"groups has shape {array.shape}"
        )
    missing = _missing(array)
    if len(missing):
        raise ValueError(
            f"groups is missing for {len(missing)} {unit}s, the first in rows "
            f"{missing[:_MAX_NAMED].tolist()}: give each a group, one of its own if nothing is "
            "known of it"
        )
    if array.dtype == object:
        _check_types(array.tolist(), "groups")
    return array


def _missing(values: NDArray) -> NDArray[np.intp]:
    return np.flatnonzero(np.asarray(pd.isna(values)))


def _check_types(values: list[Any], name: str = "y") -> None:
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1 and any(isinstance(value, str) for value in values):
        noun = "labels" if name == "y" else "values"
        raise ValueError(
            f"{name} holds {noun} of the types {', '.join(kinds)}, which have no common order: "
            f"give all of them one type, for instance by {name}.astype(str)"
        )
