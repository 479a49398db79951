"""Scores of labels that average over classes, so that the majority class can't carry them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_fscore_support, recall_score

from skcyto.utils._validation import check_vector


def average_f1_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    zero_division: Any = "warn",
) -> float:
    r"""Harmonic mean of macro precision and macro recall.

    .. math:: \text{average F1} = \frac{2 P R}{P + R},\quad
              P = \frac1C\sum_c P_c,\quad R = \frac1C\sum_c R_c

    This is Eq. 14 of the TED paper, which calls it "Average-F1". It is not the macro F1
    (``f1_score(average="macro")``), which averages the classes' own F1: the harmonic mean of the
    averages is never smaller than the average of the harmonic means. The tables of that paper hold
    the macro F1, so give both, under their own names.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.
    labels : array-like of shape (n_classes,), default=None
        Classes to average over; None takes every label that is in `y_true` or `y_pred`.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    zero_division : {"warn", 0.0, 1.0, np.nan}, default="warn"
        Precision of a class that is never predicted and recall of a class that has no case, as in
        :func:`sklearn.metrics.precision_recall_fscore_support`.

    Returns
    -------
    score : float
        Between 0 and 1; 0 where both averages are 0.

    References
    ----------
    Opitz and Burst, "Macro F1 and Macro F1", arXiv:1911.03347 (2019), who compare the two.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import f1_score
    >>> from skcyto.metrics import average_f1_score
    >>> y_true = np.repeat(["minority", "minority", "majority", "majority"], [10, 2, 7, 14])
    >>> y_pred = np.repeat(["minority", "majority", "minority", "majority"], [10, 2, 7, 14])
    >>> round(average_f1_score(y_true, y_pred), 3)
    0.741
    >>> round(f1_score(y_true, y_pred, average="macro"), 3)
    0.723
    """
    y_true, y_pred = check_vector(y_true, "y_true"), check_vector(y_pred, "y_pred")
    precision, recall, _, _ = precision_recall_fscore_support(
        y_true,
        y_pred,
        labels=labels,
        average="macro",
        sample_weight=sample_weight,
        zero_division=zero_division,
    )
    total = precision + recall
    return float(2.0 * precision * recall / total) if total != 0 else 0.0


def recall_per_class(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> dict[Any, float]:
    """Recall (sensitivity) of every class, by label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.
    labels : array-like of shape (n_classes,), default=None
        Classes to report, in this order; None takes the labels in `y_true`, sorted.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    recalls : dict of label to float
        NaN for a class that has no case in `y_true`: it has no recall.

    Examples
    --------
    >>> from skcyto.metrics import recall_per_class
    >>> recall_per_class(["ill", "ill", "well", "well"], ["ill", "well", "well", "well"])
    {'ill': 0.5, 'well': 1.0}
    """
    found: NDArray[Any] = (
        np.unique(check_vector(y_true, "y_true"))
        if labels is None
        else check_vector(labels, "labels")
    )
    y_pred = check_vector(y_pred, "y_pred")
    recalls = recall_score(
        y_true,
        y_pred,
        labels=found,
        average=None,
        sample_weight=sample_weight,
        zero_division=np.nan,
    )
    return dict(zip(found.tolist(), (float(value) for value in recalls), strict=True))
