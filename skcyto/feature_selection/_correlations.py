"""Correlate features that lie in rows, with missing values left out pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

# A pair that shares fewer rows is not correlated: through two points goes every line.
_MIN_SHARED = 3


@dataclass
class FeatureRows:
    """Features in rows, centred and of unit norm over their observed values.

    Parameters
    ----------
    values : ndarray of shape (n_features, n_samples), float64
        Zero where missing.
    observed : ndarray of shape (n_features, n_samples), bool, or None
        None where nothing is missing.
    """

    values: np.ndarray
    observed: np.ndarray | None

    def __getitem__(self, rows: slice | np.ndarray) -> FeatureRows:
        return FeatureRows(
            self.values[rows], None if self.observed is None else self.observed[rows]
        )

    def move(self, source: np.ndarray, start: int) -> None:
        """Copy rows `source` to `start` and on; the sources must not lie before `start`."""
        target = slice(start, start + len(source))
        self.values[target] = self.values[source]
        if self.observed is not None:
            self.observed[target] = self.observed[source]


def standardise(features: np.ndarray, method: str) -> FeatureRows:
    """Centre features that lie in rows, after ranking for Spearman, and give them unit norm.

    Parameters
    ----------
    features : ndarray of shape (n_features, n_samples), float64
        NaN is missing; overwritten.
    method : {"pearson", "spearman"}

    Returns
    -------
    rows : FeatureRows
    """
    observed = ~np.isnan(features)
    complete = bool(observed.all())
    if method == "spearman":
        # Missing values rank last, so those observed get the ranks they have among themselves.
        features[~observed] = np.inf
        features = rankdata(features, axis=1)
    features[~observed] = 0.0
    count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
    for _ in range(2):  # the second pass takes the rounding of a large mean away
        features -= features.sum(axis=1, keepdims=True) / count
        if not complete:
            features[~observed] = 0.0
    for size in (np.abs(features).max(axis=1), None):  # squares of huge values would overflow
        length = np.linalg.norm(features, axis=1) if size is None else size
        features /= np.where(length > 0, length, 1.0)[:, None]
    return FeatureRows(features, None if complete else observed)


def correlate(a: FeatureRows, b: FeatureRows, method: str) -> np.ndarray:
    """Correlate every feature of `a` with every one of `b`.

    Parameters
    ----------
    a, b : FeatureRows
        From :func:`standardise` with the same `method`.
    method : {"pearson", "spearman"}

    Returns
    -------
    r : ndarray of shape (n_a, n_b)
        Zero for pairs that share fewer than three rows or are constant on those they share.
    """
    r = a.values @ b.values.T
    if a.observed is None or b.observed is None:
        return r
    pairwise = _pairwise_pearson if method == "pearson" else _pairwise_spearman
    a_missing = np.logical_not(a.observed).any(axis=1)
    b_missing = np.logical_not(b.observed).any(axis=1)
    if a_missing.any():
        r[a_missing] = pairwise(a[a_missing], b)
    if b_missing.any() and not a_missing.all():
        r[np.ix_(~a_missing, b_missing)] = pairwise(a[~a_missing], b[b_missing])
    return r


def _pairwise_pearson(a: FeatureRows, b: FeatureRows) -> np.ndarray:
    """Sum over shared rows by matrix products, with the mask in place of the missing side."""
    a_mask = np.asarray(a.observed, dtype=np.float64)
    b_mask = np.asarray(b.observed, dtype=np.float64)
    count = a_mask @ b_mask.T
    a_sum, b_sum = a.values @ b_mask.T, a_mask @ b.values.T
    a_square = count * (a.values**2 @ b_mask.T)
    b_square = count * (a_mask @ (b.values**2).T)
    a_spread, b_spread = a_square - a_sum**2, b_square - b_sum**2
    # Below this, what is left of a variance after the subtraction is rounding.
    defined = (count >= _MIN_SHARED) & (a_spread > 1e-12 * a_square) & (b_spread > 1e-12 * b_square)
    r = count * (a.values @ b.values.T) - a_sum * b_sum
    scale = np.sqrt(np.where(defined, a_spread, 1.0) * np.where(defined, b_spread, 1.0))
    return np.where(defined, r / scale, 0.0)


def _pairwise_spearman(a: FeatureRows, b: FeatureRows) -> np.ndarray:
    """Rank anew on the shared rows, for all features with the same missing rows at once."""
    r = np.zeros((len(a.values), len(b.values)))
    for a_observed, a_members in _by_mask(a):
        for b_observed, b_members in _by_mask(b):
            shared = a_observed & b_observed
            if shared.sum() >= _MIN_SHARED:
                a_part = standardise(a.values[np.ix_(a_members, shared)], "spearman")
                b_part = standardise(b.values[np.ix_(b_members, shared)], "spearman")
                r[np.ix_(a_members, b_members)] = a_part.values @ b_part.values.T
    return r


def _by_mask(rows: FeatureRows) -> list[tuple[np.ndarray, np.ndarray]]:
    observed = np.asarray(rows.observed)
    masks, group = np.unique(observed, axis=0, return_inverse=True)
    group = group.ravel()
    return [(mask, np.flatnonzero(group == index)) for index, mask in enumerate(masks)]
