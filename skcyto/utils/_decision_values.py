"""Decision values of classifiers, one a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Attributes under which pipelines, searches and other wrappers hold the classifier that decides.
_INNER = ("best_estimator_", "estimator_", "estimator")


def decides_by_pairs(classifier: Any) -> bool:
    """Tell whether decision values belong to pairs of classes instead of to classes.

    With three classes there are as many pairs as classes, so that the shape does not tell.

    Parameters
    ----------
    classifier : estimator
        Fitted; pipelines, searches and what tunes a decision are looked through.

    Returns
    -------
    by_pairs : bool
    """
    if len(classifier.classes_) < 3:
        return False
    seen: Any = classifier
    while seen is not None:
        if getattr(seen, "decision_function_shape", None) == "ovo":
            return True
        if hasattr(seen, "steps"):
            seen = seen.steps[-1][1]
        else:
            seen = next((getattr(seen, name) for name in _INNER if hasattr(seen, name)), None)
    return False


def check_one_a_class(classifier: Any, n_columns: int) -> None:
    """Refuse decision values that are not one a class.

    Parameters
    ----------
    classifier : estimator
        Fitted.
    n_columns : int
        Columns of its decision values; one for two classes.

    Raises
    ------
    ValueError
        If there are more or fewer than classes, or they belong to pairs of classes.
    """
    n_classes = len(classifier.classes_)
    expected = 1 if n_classes == 2 else n_classes
    if n_columns not in (expected, n_classes):
        raise ValueError(
            f"decision_function gives {n_columns} columns for {n_classes} classes: one a class is "
            "needed (decision_function_shape='ovr'), or predict_proba"
        )
    if decides_by_pairs(classifier):
        raise ValueError(
            f"the columns of decision_function belong to pairs of the {n_classes} classes "
            "(decision_function_shape='ovo'), and one a class is needed: set "
            "decision_function_shape='ovr', or use a classifier with predict_proba"
        )


def class_decision_values(classifier: Any, X: Any) -> NDArray[np.float64]:
    """Compute decision values with one column a class.

    Parameters
    ----------
    classifier : estimator
        Fitted.
    X : array-like
        Cases.

    Returns
    -------
    values : ndarray of shape (n_samples, n_classes)
        Of two classes, the negated and the plain value.

    Raises
    ------
    ValueError
        If the classifier gives no such values.
    """
    values = np.asarray(classifier.decision_function(X), dtype=np.float64)
    check_one_a_class(classifier, 1 if values.ndim == 1 else values.shape[1])
    return np.column_stack([-values, values]) if values.ndim == 1 else values
