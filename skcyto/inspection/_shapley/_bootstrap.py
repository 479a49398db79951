"""Percentile bootstrap of many means at once."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skcyto.utils._validation import check_vector


def bootstrap_mean_interval(
    samples: np.ndarray,
    *,
    groups: Any = None,
    n_resamples: int,
    confidence_level: float,
    random_state: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile intervals of the column means.

    Rows, or whole groups of rows, are drawn with replacement; a resample is a vector of
    multiplicities, so that all resamples of all columns are one matrix product.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_columns)
        Rows are independent between groups.
    groups : array-like of shape (n_samples,) or None
        Rows that belong together, as those of one patient.
    n_resamples : int
        Number of resamples.
    confidence_level : float
        Coverage, in (0, 1).
    random_state : int, RandomState or None
        As everywhere in scikit-learn.

    Returns
    -------
    low, high : ndarray of shape (n_columns,)
    """
    if not isinstance(n_resamples, Integral) or n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples!r} must be an int of at least 1")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1")
    if groups is None:
        members = np.arange(len(samples))
    else:
        groups = check_vector(groups, "groups")
        if groups.shape != (len(samples),):
            raise ValueError(
                f"groups has shape {groups.shape}, but {len(samples)} rows were explained"
            )
        members = np.unique(groups, return_inverse=True)[1]
    n_units = int(members.max()) + 1
    if groups is not None and n_units < 2:
        raise ValueError("groups holds one group only, which gives no interval: leave it out")
    rng = check_random_state(random_state)
    drawn = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_resamples)
    multiplicities = drawn[:, members].astype(np.float64)
    means = multiplicities @ samples / multiplicities.sum(axis=1, keepdims=True)
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high
