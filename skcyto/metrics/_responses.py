"""Scores of probabilities and decision values, for statistics that need them ten thousand times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

Codes = NDArray[np.intp]
Response = NDArray[np.float64]


def _area(positive: NDArray[np.bool_], score: Response) -> float:
    n = int(positive.sum())
    ranks = rankdata(score)[positive]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def _average_precision(positive: NDArray[np.bool_], score: Response) -> float:
    order = np.argsort(-score)
    found = np.cumsum(positive[order])
    # Equal scores are one threshold: the last of each counts.
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    gained = np.diff(found[last], prepend=0) / found[-1]
    return float(np.sum(gained * found[last] / (last + 1)))


def _mean_over_classes(
    score: Callable[[NDArray[np.bool_], Response], float], true: Codes, response: Response
) -> float:
    counts = np.bincount(true, minlength=response.shape[1])
    if counts.min() == 0 or counts.max() == len(true):
        return float("nan")
    return float(np.mean([score(true == c, response[:, c]) for c in range(len(counts))]))


def _log_loss(true: Codes, prob: Response) -> float:
    smallest = np.finfo(prob.dtype).eps
    said = np.clip(prob[np.arange(len(true)), true], smallest, 1 - smallest)
    return float(-np.log(said).mean())


def _brier(true: Codes, prob: Response) -> float:
    squares = (prob**2).sum(axis=1) + 1 - 2 * prob[np.arange(len(true)), true]
    return float(squares.mean() / (2 if prob.shape[1] == 2 else 1))


# The same numbers as these functions of scikit-learn, of one class's scores.
SCORES_OF_RANKS: dict[Callable[..., float], Callable[[NDArray[np.bool_], Response], float]] = {
    average_precision_score: _average_precision,
    roc_auc_score: _area,
}

# The same numbers as the scorers of the same names, which validate their input every time.
SCORES_OF_RESPONSES: dict[str, Callable[[Codes, Response], float]] = {
    "roc_auc_ovr": lambda true, response: _mean_over_classes(_area, true, response),
    "average_precision_macro": lambda true, response: _mean_over_classes(
        _average_precision, true, response
    ),
    "neg_log_loss": _log_loss,
    "neg_brier_score": _brier,
}
