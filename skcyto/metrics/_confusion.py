"""Scores of labels from counts alone, for statistics that need them ten thousand times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def confusion_counts(
    true: NDArray[np.intp], predicted: NDArray[np.intp], n_classes: int
) -> NDArray[np.float64]:
    """Count cases by true and predicted class.

    Parameters
    ----------
    true, predicted : ndarray of int, shape (n_samples,)
        Class codes from 0 to `n_classes` - 1.
    n_classes : int
        Number of classes.

    Returns
    -------
    counts : ndarray of shape (n_classes, n_classes)
        True classes in rows.
    """
    cells = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(float)


def _share(part: Counts, whole: Counts) -> Counts:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _accuracy(counts: Counts) -> float:
    return float(np.trace(counts) / counts.sum())


def _macro(counts: Counts) -> tuple[float, float, float]:
    """Return macro precision, recall and F1 over the classes that are true or predicted."""
    hits, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    present = true + predicted > 0
    parts = _share(hits, predicted), _share(hits, true), _share(2 * hits, true + predicted)
    precision, recall, f1 = (float(part[present].mean()) for part in parts)
    return precision, recall, f1


def _average_f1(counts: Counts) -> float:
    precision, recall, _ = _macro(counts)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _balanced_accuracy(counts: Counts) -> float:
    true = counts.sum(axis=1)
    return float(_share(np.diag(counts), true)[true > 0].mean())


# The same numbers as the scorers of the same names, which validate their input every time.
SCORES_OF_COUNTS: dict[str, Callable[[Counts], float]] = {
    "accuracy": _accuracy,
    "precision_macro": lambda counts: _macro(counts)[0],
    "recall_macro": lambda counts: _macro(counts)[1],
    "f1_macro": lambda counts: _macro(counts)[2],
    "average_f1": _average_f1,
    "balanced_accuracy": _balanced_accuracy,
}
