"""Go through features in order and drop each that is correlated with one kept before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcyto.feature_selection._blocks import batches, rows_in_memory
from skcyto.feature_selection._correlations import FeatureRows, correlate, standardise

# Coefficients closer than this are equal: what the summation order does to the last digits must
# not decide, so a duplicate is one whatever the block size or the BLAS.
TOLERANCE = 1e-12

# Rows of a block: enough for fast matrix products, few enough for the walk inside the block.
_BLOCK = 256

# Kept features that a block is compared with at a time: their products stay in the cache.
_CHUNK = 2048


@dataclass(frozen=True)
class ScanResult:
    """What the scan found, in scan order.

    Parameters
    ----------
    kept : ndarray of shape (n_scanned,), bool
    partner : ndarray of shape (n_scanned,), int
        Position of the feature kept earlier that it is correlated with most; -1 for none.
    correlation : ndarray of shape (n_scanned,), float64
        Their coefficient; NaN for none.
    """

    kept: np.ndarray
    partner: np.ndarray
    correlation: np.ndarray


def scan_correlated(
    X: np.ndarray, order: np.ndarray, *, threshold: float, method: str
) -> ScanResult:
    """Scan columns of `X` greedily, comparing each with kept ones only.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        NaN is missing.
    order : ndarray of shape (n_scanned,), int
        Columns to scan, first come first kept; none constant.
    threshold : float
        A column goes if its magnitude of correlation with a kept one is greater.
    method : {"pearson", "spearman"}

    Returns
    -------
    result : ScanResult
    """
    n_scanned = len(order)
    rows = _load(X, order, method)
    # A product, its magnitudes and a mask; six products more where values are missing.
    copies = 3 if rows.observed is None else 10
    block = min(_BLOCK, max(1, int(np.sqrt(rows_in_memory(1, copies=copies)))))
    chunk = min(_CHUNK, rows_in_memory(block, copies=copies))

    best = _Best(n_scanned)
    kept = np.zeros(n_scanned, dtype=bool)
    kept_positions = np.empty(n_scanned, dtype=np.intp)
    n_kept = 0
    for batch in batches(n_scanned, block):
        candidates = rows[batch]
        # Rows of kept features were moved to the front: they are one contiguous matrix.
        for part in batches(n_kept, chunk):
            best.update(batch, correlate(candidates, rows[part], method), kept_positions[part])
        alive = np.flatnonzero(best.magnitude[batch] <= threshold + TOLERANCE)
        inside = correlate(candidates, candidates[alive], method)
        chosen = _walk(inside[alive], threshold)
        # Only what was kept earlier in the order counts as a partner.
        inside = np.where(np.arange(len(inside))[:, None] > alive[chosen], inside[:, chosen], 0.0)
        positions = batch.start + alive[chosen]
        best.update(batch, inside, positions)
        kept[positions] = True
        kept_positions[n_kept : n_kept + len(positions)] = positions
        rows.move(positions, n_kept)
        n_kept += len(positions)
    return ScanResult(kept, best.partner, best.correlation())


def _load(X: np.ndarray, order: np.ndarray, method: str) -> FeatureRows:
    n_samples = X.shape[0]
    values = np.empty((len(order), n_samples))
    observed: np.ndarray | None = None
    for batch in batches(len(order), rows_in_memory(n_samples, copies=4)):
        part = standardise(X[:, order[batch]].T.astype(np.float64, order="C"), method)
        values[batch] = part.values
        if part.observed is not None:
            if observed is None:
                observed = np.ones(values.shape, dtype=bool)
            observed[batch] = part.observed
    return FeatureRows(values, observed)


def _walk(r: np.ndarray, threshold: float) -> np.ndarray:
    """Return which features of one block stay, from the correlations among themselves."""
    above = np.abs(r) > threshold + TOLERANCE
    stays = np.ones(len(r), dtype=bool)
    for index in np.flatnonzero(np.triu(above, k=1).any(axis=1)):
        if stays[index]:
            stays[index + 1 :] &= ~above[index, index + 1 :]
    return np.flatnonzero(stays)


class _Best:
    """Strongest correlation so far of each scanned feature with one kept before it."""

    def __init__(self, n_scanned: int) -> None:
        self.partner = np.full(n_scanned, -1, dtype=np.intp)
        self.magnitude = np.zeros(n_scanned)
        self._r = np.full(n_scanned, np.nan)

    def update(self, batch: slice, r: np.ndarray, positions: np.ndarray) -> None:
        if not len(positions):
            return
        magnitude = np.abs(r)
        largest = magnitude.max(axis=1)
        rows = np.flatnonzero(largest > self.magnitude[batch] + TOLERANCE)
        # Of equals the first in scan order.
        columns = np.argmax(magnitude[rows] >= largest[rows, None] - TOLERANCE, axis=1)
        self.partner[batch.start + rows] = positions[columns]
        self.magnitude[batch.start + rows] = largest[rows]
        self._r[batch.start + rows] = r[rows, columns]

    def correlation(self) -> np.ndarray:
        return np.clip(self._r, -1.0, 1.0)
