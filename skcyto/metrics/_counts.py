"""Scores of labels from counts alone, for searches and statistics that need them often.

They take how often each class was predicted rightly and predicted, at many decisions at once
(n_decisions, n_classes), and how often it is true (n_classes,); cases may have weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def score_codes(
    name: str, true: NDArray[np.intp], predicted: NDArray[np.intp], n_classes: int
) -> float:
    """Score class codes.

    Parameters
    ----------
    name : str
        Key of :data:`SCORES_OF_COUNTS`.
    true, predicted : ndarray of int, shape (n_samples,)
        Class codes from 0 to `n_classes` - 1.
    n_classes : int
        Number of classes.

    Returns
    -------
    score : float
    """
    claimed, of_class = (
        np.bincount(codes, minlength=n_classes).astype(float) for codes in (predicted, true)
    )
    right = np.bincount(true[true == predicted], minlength=n_classes).astype(float)
    return float(SCORES_OF_COUNTS[name](right[None], claimed[None], of_class)[0])


def _divide(a: Counts, b: Counts) -> Counts:
    """Divide, with 0 for 0 / 0."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def _accuracy(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return right.sum(axis=1) / true.sum()


def _balanced_accuracy(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return _divide(right, true).sum(axis=1) / (true > 0).sum()


def _f1_macro(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return _divide(2 * right, claimed + true).sum(axis=1) / _n_labels(claimed, true)


def _precision_macro(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return _divide(right, claimed).sum(axis=1) / _n_labels(claimed, true)


def _recall_macro(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return _divide(right, true).sum(axis=1) / _n_labels(claimed, true)


def _average_f1(right: Counts, claimed: Counts, true: Counts) -> Counts:
    precision = _precision_macro(right, claimed, true)
    recall = _recall_macro(right, claimed, true)
    return _divide(2 * precision * recall, precision + recall)


def _f1_weighted(right: Counts, claimed: Counts, true: Counts) -> Counts:
    return (_divide(2 * right, claimed + true) * true).sum(axis=1) / true.sum()


def _matthews_corrcoef(right: Counts, claimed: Counts, true: Counts) -> Counts:
    total = true.sum()
    covariance = right.sum(axis=1) * total - claimed @ true
    spread = (total**2 - (claimed**2).sum(axis=1)) * (total**2 - (true**2).sum())
    # Rounding leaves a little spread where only one class was predicted.
    flat = spread <= 1e-12 * total**4
    return np.where(flat, 0, covariance / np.sqrt(np.where(flat, 1, spread)))


def _n_labels(claimed: Counts, true: Counts) -> Counts:
    # scikit-learn averages over the labels that are true or predicted anywhere.
    return ((claimed > 1e-12 * true.sum()) | (true > 0)).sum(axis=1)


# The same numbers as the scorers of the same names, which validate their input every time.
SCORES_OF_COUNTS: dict[str, Callable[[Counts, Counts, Counts], Counts]] = {
    "accuracy": _accuracy,
    "average_f1": _average_f1,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "f1_weighted": _f1_weighted,
    "matthews_corrcoef": _matthews_corrcoef,
    "precision_macro": _precision_macro,
    "recall_macro": _recall_macro,
}
