"""Scores that rank cases: worked out within folds, whose models differ, and then combined.

Every fold has its own model. That of a fold with more positive cases in training gives all its test
cases higher scores, and has fewer positive ones to test: in one common order noise looks worse or
better than chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from skcyto.metrics._responses import SCORES_OF_RANKS
from skcyto.model_selection._results._measures import Measure
from skcyto.model_selection._results._records import Predictions
from skcyto.model_selection._splits import Splits


def score_within_folds(
    measure: Measure, true: NDArray[np.intp], predictions: Predictions, folds: NDArray[np.intp]
) -> float:
    """Score each fold by itself and combine those in which the score is defined.

    Areas under ROC curves are weighted by pairs of cases, average precisions by positive cases,
    other scores by cases; areas of one class against the rest class by class.

    Returns
    -------
    score : float
        NaN where no fold has one.
    """
    if measure.from_predictions is None or (measure.of_classes and predictions.response is None):
        return float("nan")
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    if not measure.of_classes:
        values: NDArray[np.float64] = np.array(
            [measure.from_predictions(true[rows], _take(predictions, rows)) for rows in parts]
        )
        sizes = np.array([len(rows) for rows in parts], dtype=float)
        return _weighted_mean(values, sizes)
    response = predictions.response
    assert response is not None
    scores = []
    # The area of the other of two classes is the same.
    is_roc = measure.of_classes == "roc_auc"
    area_of = SCORES_OF_RANKS[roc_auc_score if is_roc else average_precision_score]
    codes = [1] if is_roc and response.shape[1] == 2 else None
    for code in codes or range(response.shape[1]):
        areas: list[float] = []
        weights: list[int] = []
        for rows in parts:
            positive = true[rows] == code
            m = int(positive.sum())
            n = len(rows) - m
            if m == 0 or n == 0:
                continue
            areas.append(area_of(positive, response[rows, code]))
            weights.append(m * n if is_roc else m)
        scores.append(_weighted_mean(np.array(areas), np.array(weights, dtype=float)))
    return float(np.mean(scores))


def check_orders(measure: Measure, splits: Splits, y_codes: NDArray[np.intp]) -> None:
    """Refuse scores that rank cases where no fold tests cases of more than one class.

    Raises
    ------
    ValueError
        If no test part holds two classes.
    """
    if measure.ranks_cases and all(np.ptp(y_codes[test]) == 0 for _, test in splits.splits):
        raise ValueError(
            f"no test part holds two classes, so that there is no {measure.title} in any fold; "
            "scores of different folds, which come from different models, can't be put in one "
            "order. Use folds that test several patients"
        )


def _take(predictions: Predictions, rows: NDArray[np.intp]) -> Predictions:
    response = predictions.response
    return Predictions(
        predictions.codes[rows], None if response is None else response[rows], predictions.kind
    )


def _weighted_mean(values: NDArray[Any], weights: NDArray[np.float64]) -> float:
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    return float(np.average(values[known], weights=weights[known]))
