"""Scores of probabilities and decision values: ranking averaged over classes, and calibration."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from skcyto.utils._validation import check_parameters, check_vector

_MOST_BINS = 10**6  # more are none: a bin of so few cases says nothing


def macro_roc_auc_score(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Area under the ROC curve, one class against the rest, averaged over classes.

    Differs from ``roc_auc_score(multi_class="ovr")`` in what it takes: decision values are as good
    as probabilities, since an area only needs an order.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_score : array-like of shape (n_samples,) or (n_samples, n_classes)
        Probabilities or decision values, columns in the order of `labels`. One column belongs to
        the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Classes in the order of the columns; None takes the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    score : float
        Between 0 and 1; NaN where a class has no case or no other case beside it.

    Raises
    ------
    ValueError
        If columns and labels do not match or `y_true` holds a label that `labels` lacks.

    Examples
    --------
    >>> from skcyto.metrics import macro_roc_auc_score
    >>> macro_roc_auc_score(["a", "a", "b", "b"], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    true, score, weight, _ = _check_scores(y_true, y_score, labels, sample_weight)
    return _mean_over_classes(roc_auc_score, true, score, weight)


def macro_average_precision_score(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Average precision, one class against the rest, averaged over classes.

    With two classes it is the mean over *both*, not the value of whichever class sorts last: the
    result doesn't depend on how the labels are spelled.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_score : array-like of shape (n_samples,) or (n_samples, n_classes)
        Probabilities or decision values, columns in the order of `labels`. One column belongs to
        the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Classes in the order of the columns; None takes the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    score : float
        Between 0 and 1; NaN where a class has no case or no other case beside it.

    Raises
    ------
    ValueError
        If columns and labels do not match or `y_true` holds a label that `labels` lacks.

    Examples
    --------
    >>> from skcyto.metrics import macro_average_precision_score
    >>> round(macro_average_precision_score(["a", "a", "b", "b"], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    true, score, weight, _ = _check_scores(y_true, y_score, labels, sample_weight)
    return _mean_over_classes(average_precision_score, true, score, weight)


@check_parameters(n_bins=[Integral], strategy=[str])
def expected_calibration_error(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_bins: int = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Mean distance between confidence and accuracy over bins of confidence.

    .. math:: \text{ECE} = \sum_{b=1}^{B} \frac{n_b}{n} \left|\text{acc}(b) - \text{conf}(b)\right|

    The confidence of a sample is the largest of its probabilities, the accuracy of a bin the share
    of its samples whose most probable class is the true one (Guo et al., 2017, Eq. 3).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_prob : array-like of shape (n_samples,) or (n_samples, n_classes)
        Probabilities, columns in the order of `labels`. One column belongs to the second of two
        classes.
    labels : array-like of shape (n_classes,), default=None
        Classes in the order of the columns; None takes the sorted labels of `y_true`.
    n_bins : int, default=15
        Number of bins.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width over (0, 1], or with equally many samples.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    error : float
        Between 0, calibrated, and 1. Biased upwards in small samples, the more so the more bins
        there are: compare only values from equally many samples.

    Raises
    ------
    ValueError
        If `y_prob` holds values outside [0, 1], rows that do not sum to one, or does not match
        `labels`.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> from skcyto.metrics import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1, 0], [0.25, 0.75, 0.75, 0.75]), 6)
    0.0
    >>> round(expected_calibration_error([0, 1, 1, 1], [0.25, 0.75, 0.75, 0.75]), 6)
    0.25
    """
    if not 1 <= n_bins <= _MOST_BINS:
        raise ValueError(f"n_bins={n_bins!r} must lie between 1 and {_MOST_BINS}")
    n_bins = int(n_bins)
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f"strategy={strategy!r} must be 'uniform' or 'quantile'")
    true, prob, weight, _ = _check_scores(
        y_true, y_prob, labels, sample_weight, binary="complement"
    )
    if prob.min() < 0 or prob.max() > 1 or not np.allclose(prob.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "y_prob must hold probabilities: values in [0, 1] with rows that sum to 1; decision "
            "values and logits have no calibration"
        )
    confidence = prob.max(axis=1)
    correct = (prob.argmax(axis=1) == true).astype(float)
    if strategy == "uniform":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    else:
        edges = np.quantile(confidence, np.linspace(0.0, 1.0, n_bins + 1))
    # Bins are open on the left, as in the paper; the outer two take what rounding puts outside.
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=weight * (correct - confidence), minlength=n_bins)
    return float(np.abs(gaps).sum() / weight.sum())


def _check_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    labels: ArrayLike | None,
    sample_weight: ArrayLike | None,
    binary: Literal["negate", "complement"] = "negate",
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Return class codes, one score column a class, weights and classes."""
    y_true = check_vector(y_true, "y_true")
    score = np.asarray(y_score, dtype=float)
    check_consistent_length(y_true, score)
    classes = np.unique(y_true) if labels is None else check_vector(labels, "labels")
    order = np.argsort(classes)
    position = np.searchsorted(classes, y_true, sorter=order)
    codes = order[np.clip(position, 0, len(classes) - 1)]
    unknown = classes[codes] != y_true
    if np.any(unknown):
        raise ValueError(
            f"y_true holds {np.unique(y_true[unknown]).tolist()}, which labels="
            f"{classes.tolist()} lacks"
        )
    if score.ndim == 1 or score.shape[1] == 1:
        positive = score.reshape(-1)
        negative = -positive if binary == "negate" else 1.0 - positive
        score = np.column_stack([negative, positive])
    if score.shape[1] != len(classes):
        raise ValueError(
            f"the scores have {score.shape[1]} columns but there are {len(classes)} classes "
            f"({classes.tolist()}): pass labels= with one label a column, in the columns' order"
        )
    if not np.all(np.isfinite(score)):
        raise ValueError("the scores hold NaN or infinity")
    weight = _check_sample_weight(sample_weight, score, dtype=float)
    return codes, score, weight, classes


def _mean_over_classes(
    metric: Any,
    true: NDArray[np.intp],
    score: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> float:
    values = []
    for code in range(score.shape[1]):
        positive = true == code
        if positive.all() or not positive.any():
            return float("nan")
        values.append(metric(positive, score[:, code], sample_weight=weight))
    return float(np.mean(values))
