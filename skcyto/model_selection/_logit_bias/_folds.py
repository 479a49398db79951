"""What the models of a cross-validation say about rows they have not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedShuffleSplit, check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skcyto.model_selection._splits import number_rounds
from skcyto.utils._decision_values import class_decision_values


class Fold(NamedTuple):
    """What a model says about the rows of one fold that it has not seen."""

    X: Any
    y: Any
    codes: NDArray[np.intp]
    scores: NDArray[np.float64]
    score_params: dict[str, Any]


def draw_folds(
    tuner: Any, X: Any, y: Any, split_params: dict[str, Any]
) -> list[tuple[NDArray, NDArray]] | None:
    """Train and test positions of each fold; None for "prefit"."""
    if isinstance(tuner.cv, str):
        return None
    if isinstance(tuner.cv, Real) and not isinstance(tuner.cv, Integral):
        cv: Any = StratifiedShuffleSplit(
            n_splits=1, test_size=tuner.cv, random_state=tuner.random_state
        )
    else:
        cv = check_cv(tuner.cv, y=y, classifier=True)
    splits = list(cv.split(X, y, **split_params))
    if not splits:
        raise ValueError("cv gives no fold: name at least one pair of training and test rows")
    if not tuner.refit and len(splits) > 1:
        raise ValueError(
            f"refit=False needs a single split to take the classifier from, got {len(splits)}"
        )
    return splits


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


def collect_folds(
    X: Any,
    parts: Iterable[tuple[NDArray | None, NDArray, NDArray[np.float64]]],
    classes: NDArray,
    score_params: dict[str, Any],
) -> list[Fold]:
    """Put together what is scored: rows, labels and scores of each part, with its metadata."""
    folds = []
    for test, labels, scores in parts:
        params = _check_method_params(X, score_params, indices=test)
        fold = Fold(take(X, test), labels, np.searchsorted(classes, labels), scores, params)
        folds.append(_without_weightless(fold))
    folds = [fold for fold in folds if len(fold.y)]
    if not folds:
        raise ValueError("sample_weight is zero for every row that is scored")
    return folds


def _without_weightless(fold: Fold) -> Fold:
    """Leave rows of weight zero out: no score may depend on them."""
    weight = fold.score_params.get("sample_weight")
    if weight is None or np.all(np.asarray(weight) != 0):
        return fold
    rows = np.flatnonzero(np.asarray(weight))
    params = _check_method_params(fold.X, fold.score_params, indices=rows)
    return Fold(take(fold.X, rows), fold.y[rows], fold.codes[rows], fold.scores[rows], params)


def pool_rounds(
    splits: Sequence[tuple[NDArray, NDArray]],
    labels: list[NDArray],
    scores: list[NDArray[np.float64]],
    n_samples: int,
    n_classes: int,
) -> tuple[list[NDArray], list[NDArray], list[NDArray[np.float64]]]:
    """Pool the test rows of each round, where folds lack a class.

    A score that averages over classes is undefined on such a fold, and a mean over folds would be
    one of different quantities.

    Parameters
    ----------
    splits : list of (ndarray, ndarray)
        Training and test rows of the folds.
    labels : list of ndarray
        Labels of their test rows.
    scores : list of ndarray
        Scores of the classes for these.
    n_samples, n_classes : int
        Numbers of rows and classes altogether.

    Returns
    -------
    rows, labels, scores : list of ndarray
        By round, or as given where every fold holds all classes.
    """
    rows = [test for _, test in splits]
    if all(len(np.unique(label)) == n_classes for label in labels):
        return rows, labels, scores
    rounds = number_rounds(splits, n_samples)
    members = [np.flatnonzero(rounds == number) for number in np.unique(rounds)]
    return (
        [np.concatenate([rows[fold] for fold in folds]) for folds in members],
        [np.concatenate([labels[fold] for fold in folds]) for folds in members],
        [np.concatenate([scores[fold] for fold in folds]) for folds in members],
    )


def in_columns(
    classes: NDArray, scores: NDArray[np.float64], fold_classes: NDArray
) -> NDArray[np.float64]:
    """Give scores a column for every class; one that a fold did not train on is never said."""
    full = np.full((len(scores), len(classes)), -np.inf)
    full[:, np.searchsorted(classes, fold_classes)] = scores
    return full
