"""What the models of a cross-validation say about rows they have not seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skcyto.utils._decision_values import class_decision_values


class Fold(NamedTuple):
    """What a model says about the rows of one fold that it has not seen."""

    X: Any
    y: Any
    codes: NDArray[np.intp]
    scores: NDArray[np.float64]
    score_params: dict[str, Any]


def take(data: Any, rows: NDArray | None) -> Any:
    """Take some rows, or all for None."""
    return data if rows is None else _safe_indexing(data, rows)


def fit_on(estimator: Any, X: Any, y: Any, rows: NDArray | None, fit_params: dict[str, Any]) -> Any:
    """Fit a clone on some rows."""
    params = _check_method_params(X, fit_params, indices=rows)
    return clone(estimator).fit(take(X, rows), take(y, rows), **params)


def fit_and_score(
    estimator: Any,
    X: Any,
    y: Any,
    train: NDArray,
    test: NDArray,
    fit_params: dict[str, Any],
    response_method: str,
) -> tuple[NDArray[np.float64], NDArray]:
    """Fit to the training rows of a fold and score its test rows."""
    fitted = fit_on(estimator, X, y, train, fit_params)
    return class_scores(fitted, take(X, test), response_method)


def class_scores(
    estimator: Any, X: Any, response_method: str
) -> tuple[NDArray[np.float64], NDArray]:
    """Scores of the classes, whose argmax is the unbiased decision, and the classes."""
    classes = estimator.classes_
    if response_method == "auto":
        has_proba = hasattr(estimator, "predict_proba")
        response_method = "predict_proba" if has_proba else "decision_function"
    if response_method == "predict_proba":
        response = np.asarray(estimator.predict_proba(X))
        smallest = np.finfo(response.dtype).eps
        return np.log(np.maximum(response, smallest).astype(np.float64)), classes
    values = class_decision_values(estimator, X)
    return (values / 2 if len(classes) == 2 else values), classes


def without_weightless(fold: Fold) -> Fold:
    """Leave rows of weight zero out: no score may depend on them."""
    weight = fold.score_params.get("sample_weight")
    if weight is None or np.all(np.asarray(weight) != 0):
        return fold
    rows = np.flatnonzero(np.asarray(weight))
    params = _check_method_params(fold.X, fold.score_params, indices=rows)
    return Fold(take(fold.X, rows), fold.y[rows], fold.codes[rows], fold.scores[rows], params)
