"""What the displays of a comparison show: curves by fold, calibration, confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from skcyto.metrics import expected_calibration_error
from skcyto.model_selection._results._choices import (
    choose_classes,
    choose_models,
    describe_classes,
)
from skcyto.model_selection._results._data import ComparisonData, gives_probabilities, records_of

GRID = np.linspace(0.0, 1.0, 201)


class FoldCurves(NamedTuple):
    """Curves of every model on a common grid, fold by fold.

    Parameters
    ----------
    curves : dict of str to ndarray of shape (n_folds, n_points)
        Values on the grid.
    areas : dict of str to ndarray of shape (n_folds,)
        Area under each fold's own curve.
    caption : str
        Class or classes.
    chance : float
        Share of the class, mean over classes: the precision of a model that knows nothing.
    """

    curves: dict[str, NDArray[np.float64]]
    areas: dict[str, NDArray[np.float64]]
    caption: str
    chance: float


class CalibrationCurve(NamedTuple):
    """One model's calibration.

    Parameters
    ----------
    predicted, observed : ndarray of shape (n_bins,)
        Mean probability and share of hits in every bin that holds cases.
    share : ndarray of shape (n_bins,)
        Share of the cases in these bins.
    error : float
        Expected calibration error over equally wide bins.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import CalibrationCurve
    >>> curve = CalibrationCurve(*np.array([[0.2, 0.8], [0.3, 0.7], [0.5, 0.5]]), error=0.1)
    >>> curve.observed
    array([0.3, 0.7])
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    share: NDArray[np.float64]
    error: float


def roc_curves(
    comparison: ComparisonData, pos_label: Any, models: Sequence[str] | None
) -> FoldCurves:
    """Work out ROC curves: true positive rates on :data:`GRID` of false positive rates.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    pos_label : label or None
        Positive class; None for the positive one of two or the average over more.
    models : list of str or None
        Models; None for all that give probabilities or decision values.
    """
    return _fold_curves(comparison, pos_label, models, _roc_on_grid)


def precision_recall_curves(
    comparison: ComparisonData, pos_label: Any, models: Sequence[str] | None
) -> FoldCurves:
    """Work out precision-recall curves: precisions on :data:`GRID` of recalls."""
    return _fold_curves(comparison, pos_label, models, _precision_on_grid)


def _fold_curves(
    comparison: ComparisonData,
    pos_label: Any,
    models: Sequence[str] | None,
    curve: Callable[..., tuple[NDArray[np.float64], float]],
) -> FoldCurves:
    codes = choose_classes(comparison, pos_label)
    curves: dict[str, NDArray[np.float64]] = {}
    areas: dict[str, NDArray[np.float64]] = {}
    for name in choose_models(comparison, models, scored=True):
        values, sizes = [], []
        for fold, record in enumerate(records_of(comparison, name)):
            true = comparison.y_codes[comparison.splits.splits[fold][1]]
            response = record.predictions.response
            assert response is not None
            if any((true == code).all() or not (true == code).any() for code in codes):
                continue  # the curve is undefined, as the warning about missing classes said
            parts = [curve(true == code, response[:, code]) for code in codes]
            values.append(np.mean([part[0] for part in parts], axis=0))
            sizes.append(np.mean([part[1] for part in parts]))
        if not values:
            if comparison.splits.one_test_set:
                raise ValueError("the test set lacks a class: such curves are undefined")
            raise ValueError("no fold has cases of every class: curves by fold are undefined")
        curves[name], areas[name] = np.stack(values), np.asarray(sizes)
    tested = comparison.y_codes[comparison.tested]
    shares = np.bincount(tested, minlength=len(comparison.classes)) / len(tested)
    return FoldCurves(
        curves, areas, describe_classes(comparison, codes), float(shares[codes].mean())
    )


def _roc_on_grid(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    false, true, _ = roc_curve(positive, score)
    values = np.interp(GRID, false, true)
    values[0] = 0.0
    return values, float(roc_auc_score(positive, score))


def _precision_on_grid(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    precision, recall, _ = precision_recall_curve(positive, score)
    # Steps, as average precision has them: straight lines between thresholds would flatter.
    rising, height = recall[::-1], precision[::-1]
    # The curve begins where the first case is found: before that precision is 0 or 1 by chance.
    first = int(np.argmax(rising > 0))
    position = np.clip(np.searchsorted(rising, GRID, side="left"), first, len(rising) - 1)
    return height[position], float(average_precision_score(positive, score))


def calibration_curves(
    comparison: ComparisonData, pos_label: Any, models: Sequence[str] | None, n_bins: int
) -> tuple[dict[str, CalibrationCurve], str | None]:
    """Work out calibration curves of pooled probabilities.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    pos_label : label or None
        Class whose probability counts; None for the positive one of two. With more classes None
        takes the probability of the predicted class, and whether it is right.
    models : list of str or None
        Models; None for all that give probabilities.
    n_bins : int
        Bins of equal width.

    Returns
    -------
    curves : dict of str to CalibrationCurve
    caption : str or None
        The class; None for the predicted one.

    Raises
    ------
    ValueError
        If no model, or a model asked for, gives probabilities.
    """
    codes = choose_classes(comparison, pos_label)
    chosen = choose_models(comparison, models, scored=True)
    unfit = [name for name in chosen if not gives_probabilities(comparison, name)]
    if models is not None and unfit:
        raise ValueError(f"models {unfit} give no probabilities, so they have no calibration")
    chosen = [name for name in chosen if name not in unfit]
    if not chosen:
        raise ValueError("no model gives probabilities: there is no calibration to show")
    curves = {}
    tested = np.concatenate([test for _, test in comparison.splits.splits])
    true = comparison.y_codes[tested]
    for name in chosen:
        prob = np.concatenate(
            [np.asarray(record.predictions.response) for record in records_of(comparison, name)]
        )
        if len(codes) == 1:
            hit, said = true == codes[0], prob[:, codes[0]]
            error = expected_calibration_error(hit, said, labels=[False, True], n_bins=n_bins)
        else:
            hit, said = prob.argmax(axis=1) == true, prob.max(axis=1)
            labels = np.arange(len(comparison.classes))
            error = expected_calibration_error(true, prob, labels=labels, n_bins=n_bins)
        curves[name] = _bin(hit, said, n_bins, error)
    return curves, describe_classes(comparison, codes) if len(codes) == 1 else None


def _bin(
    hit: NDArray[np.bool_], said: NDArray[np.float64], n_bins: int, error: float
) -> CalibrationCurve:
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    bins = np.clip(np.searchsorted(edges, said, side="left") - 1, 0, n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    filled = counts > 0
    return CalibrationCurve(
        np.bincount(bins, weights=said, minlength=n_bins)[filled] / counts[filled],
        np.bincount(bins, weights=hit, minlength=n_bins)[filled] / counts[filled],
        counts[filled] / len(said),
        error,
    )


def confusion_matrices(
    comparison: ComparisonData, models: Sequence[str] | None
) -> dict[str, NDArray[np.float64]]:
    """Count the cases of every true and predicted class, mean over rounds.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    models : list of str or None
        Models; None for all.
    """
    rounds = int(comparison.splits.repeat.max()) + 1
    true = np.concatenate([comparison.y_codes[test] for _, test in comparison.splits.splits])
    labels = np.arange(len(comparison.classes))
    return {
        name: confusion_matrix(
            true,
            np.concatenate([record.predictions.codes for record in records_of(comparison, name)]),
            labels=labels,
        )
        / rounds
        for name in choose_models(comparison, models)
    }
