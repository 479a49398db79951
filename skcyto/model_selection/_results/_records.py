"""What is kept of a candidate on a fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ResponseKind = Literal["predict_proba", "decision_function"]


@dataclass(frozen=True)
class Predictions:
    """What a fitted model said of the test cases of one fold.

    Parameters
    ----------
    codes : ndarray of int, shape (n_test,)
        Predicted classes, as positions in the comparison's classes.
    response : ndarray of float64, shape (n_test, n_classes), or None
        Probabilities or decision values; None where the model gives neither.
    kind : {"predict_proba", "decision_function"} or None
        Which of them `response` holds.
    """

    codes: NDArray[np.intp]
    response: NDArray[np.float64] | None
    kind: ResponseKind | None


@dataclass(frozen=True)
class FoldFailure:
    """Why a candidate gave no predictions for a fold.

    Parameters
    ----------
    fold : int
        Position of the fold.
    error : str
        Type and message of the error.
    traceback : str
        The whole traceback.

    Examples
    --------
    >>> from skcyto.model_selection import FoldFailure
    >>> FoldFailure(fold=2, error="ValueError: 3 classes", traceback="...").error
    'ValueError: 3 classes'
    """

    fold: int
    error: str
    traceback: str


@dataclass(frozen=True)
class FoldRecord:
    """What a candidate did on a fold.

    Parameters
    ----------
    predictions : Predictions
        For the test cases.
    scores : dict of str to float
        Scores that only the fitted estimator could tell.
    fit_time, predict_time : float
        Seconds.
    """

    predictions: Predictions
    scores: dict[str, float] = field(default_factory=dict)
    fit_time: float = 0.0
    predict_time: float = 0.0


Outcome = FoldRecord | FoldFailure
