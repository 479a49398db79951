"""Fit one candidate on one fold and keep what it predicts."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import column_or_1d

from skcyto.model_selection._comparison._candidates import seed_estimator
from skcyto.model_selection._comparison._record_folder import RecordFolder
from skcyto.model_selection._encoded_labels import explain_refused_labels
from skcyto.model_selection._inner_folds import fix_grouped_folds
from skcyto.model_selection._results._records import (
    FoldFailure,
    FoldRecord,
    Outcome,
    Predictions,
    ResponseKind,
)
from skcyto.model_selection._splits import Split
from skcyto.utils._decision_values import class_decision_values, decides_by_pairs

Fit = Callable[[], tuple[Any, float]]


@dataclass(frozen=True)
class FoldPart:
    """A candidate and a fold.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    split : (ndarray, ndarray)
        Training and test rows.
    fold : int
        Position of the fold.
    seed : int
        Seed of the fold.
    fit_params : dict of str to ndarray
        Keywords of ``fit``, one value a case.
    key : str
        Of its record in a checkpoint.
    """

    estimator: BaseEstimator
    split: Split
    fold: int
    seed: int
    fit_params: Mapping[str, NDArray[Any]]
    key: str = ""


@dataclass(frozen=True)
class Measuring:
    """How a fitted candidate is measured, and where that is kept.

    Parameters
    ----------
    classes : ndarray
        The labels that occur, sorted.
    scorers : dict of str to callable
        Scorers that need the fitted estimator.
    checkpoint : RecordFolder or None
        Where to keep records.
    """

    classes: NDArray[Any]
    scorers: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: RecordFolder | None = None

    def measure(self, fit: Fit, X: Any, y: NDArray[Any], fold: int, key: str) -> Outcome:
        """Predict test cases with what `fit` returns.

        Parameters
        ----------
        fit : callable
            Returns a fitted model and the seconds that it took, or raises.
        X, y : array-like
            Test cases.
        fold : int
            Position of the fold.
        key : str
            Of the record in the checkpoint.
        """
        try:
            model, seconds = fit()
            start = time.perf_counter()
            predictions = _predict(model, X, self.classes)
            predicted = time.perf_counter()
            if self.checkpoint is not None and self.scorers:
                # Fits are dear: what they predict is kept though a scorer fail.
                kept = FoldRecord(predictions, {}, seconds, predicted - start)
                self.checkpoint.write(key, kept)
            scores = {name: float(score(model, X, y)) for name, score in self.scorers.items()}
        except Exception as error:  # one failing candidate must not lose the others' hours
            return FoldFailure(fold, f"{type(error).__name__}: {error}", traceback.format_exc())
        record = FoldRecord(predictions, scores, seconds, predicted - start)
        if self.checkpoint is not None:
            self.checkpoint.write(key, record)
        return record


def run_fold(
    part: FoldPart,
    X: Any,
    y: NDArray[Any],
    groups: NDArray[Any] | None,
    measuring: Measuring,
) -> Outcome:
    """Fit a clone on the training cases and predict the test cases.

    Parameters
    ----------
    part : FoldPart
        The candidate and the fold.
    X, y, groups : array-like
        All cases. By themselves, so that joblib's backends send each of them once.
    measuring : Measuring
        What is done with the fitted candidate.
    """
    train, test = part.split

    def fit() -> tuple[Any, float]:
        model: Any = seed_estimator(clone(part.estimator), part.seed)
        if groups is not None:
            fix_grouped_folds(model, _safe_indexing(X, train), y[train], groups[train])
        start = time.perf_counter()
        model.fit(
            _safe_indexing(X, train),
            y[train],
            **{name: _safe_indexing(value, train) for name, value in part.fit_params.items()},
        )
        return model, time.perf_counter() - start

    outcome = measuring.measure(fit, _safe_indexing(X, test), y[test], part.fold, part.key)
    if isinstance(outcome, FoldFailure):
        hint = explain_refused_labels(outcome.error, y[train])
        return replace(outcome, error=f"{outcome.error}. {hint}") if hint else outcome
    return outcome


def _predict(model: Any, X: Any, classes: NDArray[Any]) -> Predictions:
    response: NDArray[np.float64] | None = None
    kind: ResponseKind | None = None
    known = np.searchsorted(classes, model.classes_)
    if hasattr(model, "predict_proba"):
        kind, response = "predict_proba", _check_probabilities(model, model.predict_proba(X))
        filled = np.zeros((len(response), len(classes)))
        filled[:, known] = response
        response = filled
    elif hasattr(model, "decision_function") and not decides_by_pairs(model):
        values = class_decision_values(model, X)
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            raise ValueError(
                f"decision_function returned NaN or infinity for {bad} of {len(values)} cases"
            )
        # A class that the training part lacked ranks below everything that was seen.
        filled = np.full((len(values), len(classes)), values.min() - 1.0)
        filled[:, known] = values
        kind, response = "decision_function", filled
    # Some give a column, which scikit-learn's scores take as well.
    labels = column_or_1d(model.predict(X))
    codes = np.clip(np.searchsorted(classes, labels), 0, len(classes) - 1)
    if labels.shape != codes.shape or not np.array_equal(classes[codes], labels):
        raise ValueError(
            f"predict returned labels {np.unique(labels)[:5].tolist()} that are not in y "
            f"({classes.tolist()})"
        )
    return Predictions(codes, response, kind)


def _check_probabilities(model: Any, given: Any) -> NDArray[np.float64]:
    prob = np.asarray(given, dtype=float)
    expected = len(model.classes_)
    if prob.ndim != 2 or prob.shape[1] != expected:
        raise ValueError(f"predict_proba returned shape {prob.shape} for {expected} classes")
    total = prob.sum(axis=1, keepdims=True)
    if not np.all(np.isfinite(prob)) or prob.min() < -1e-6 or np.abs(total - 1).max() > 1e-3:
        raise ValueError(
            "predict_proba returned rows that are no probabilities (negative, NaN or not summing "
            f"to 1): sums from {total.min():.4g} to {total.max():.4g}"
        )
    # Rows of float32 sum to one only to seven digits; log-loss wants more.
    return np.clip(prob, 0.0, None) / total
