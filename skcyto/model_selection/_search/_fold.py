"""Fit a candidate on one fold, as scikit-learn's searches do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

# The one function that fits a fold in GridSearchCV: failures, timing, scoring and messages are
# then the same here. Its arguments have been the same since scikit-learn 1.4.
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils import _safe_indexing

from skcyto.model_selection._encoded_labels import explain_refused_labels
from skcyto.model_selection._search._pruning import EpochPruning, attach_reporter
from skcyto.model_selection._search._scoring import FoldScoring
from skcyto.model_selection._stacked_fits import FoldFit


@dataclass
class FoldOutcome:
    """What a candidate did on a fold.

    Parameters
    ----------
    result : dict
        Of scikit-learn's ``_fit_and_score``.
    is_pruned : bool
        Broken off between epochs; `result` then says nothing.
    reports : list of (int, float)
        Steps and scores reported while it trained.
    system_attrs : dict
        Marks that the pruner left on the trial meanwhile.
    """

    result: dict[str, Any]
    is_pruned: bool = False
    reports: list[tuple[int, float]] = field(default_factory=list)
    system_attrs: dict[str, Any] = field(default_factory=dict)


def fit_fold(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    split: tuple[np.ndarray, np.ndarray],
    params: dict[str, Any],
    index: tuple[int, int],
    settings: Mapping[str, Any],
    pruning: EpochPruning | None = None,
    scoring: FoldScoring | None = None,
    **progress: Any,
) -> tuple[tuple[int, int], FoldOutcome]:
    """Fit and score a candidate.

    Parameters
    ----------
    estimator : estimator
        A clone that is this call's own.
    X, y : array-like
        All cases.
    split : (ndarray, ndarray)
        Training and test rows of the fold.
    params : dict
        Parameters of the candidate.
    index : (int, int)
        Position of the candidate and of the fold, given back.
    settings : mapping
        Keywords of ``_fit_and_score`` that are the same for all folds.
    pruning : EpochPruning or None
        Given where epochs may be pruned.
    scoring : FoldScoring or None
        Given where folds lack a class.
    **progress : object
        ``split_progress`` and ``candidate_progress``, for messages.

    Returns
    -------
    index : (int, int)
    outcome : FoldOutcome
    """
    train, test = split
    settings = {**settings, "scorer": _scorer_of(settings["scorer"], scoring, index[1])}
    reporter = None
    parameters: dict[str, Any] | None = params
    if pruning is not None:
        # The reporter goes into the net that the parameters have put in.
        estimator.set_params(**clone(params, safe=False))
        parameters = None
        reporter = attach_reporter(
            estimator,
            pruning,
            X,
            y,
            train,
            test,
            settings["scorer"],
            settings["score_params"],
        )
    try:
        result = _fit_and_score(
            estimator,
            X,
            y,
            train=train,
            test=test,
            parameters=parameters,
            **settings,
            **progress,
        )
    except Exception:
        # With error_score="raise" a pruned fold looks like a failed one.
        if reporter is None or not reporter.is_pruned:
            raise
        result = {}
    if result.get("fit_error"):
        result["fit_error"] += explain_refused_labels(result["fit_error"], _safe_indexing(y, train))
    _keep_labels(result, settings["scorer"], scoring)
    if reporter is None:
        return index, FoldOutcome(result)
    trial = reporter.trial.study.get_trials(deepcopy=False)[reporter.trial.number]
    return index, FoldOutcome(result, reporter.is_pruned, reporter.reports, trial.system_attrs)


def score_fitted(
    fit: FoldFit,
    X: Any,
    y: Any,
    split: tuple[np.ndarray, np.ndarray],
    index: tuple[int, int],
    settings: Mapping[str, Any],
    scoring: FoldScoring | None = None,
    **progress: Any,
) -> tuple[tuple[int, int], FoldOutcome]:
    """Score a candidate that is fitted already, failures and all as if it were fitted now.

    Parameters
    ----------
    fit : FoldFit
        The candidate, fitted on the training rows of the fold.
    X, y, split, index, settings, scoring, **progress : object
        As of :func:`fit_fold`.

    Returns
    -------
    index : (int, int)
    outcome : FoldOutcome
    """
    estimator = fit.estimator

    def fitted(*args: Any, **kwargs: Any) -> Any:
        if fit.error is not None:
            raise fit.error
        return estimator

    estimator.fit = fitted
    train, test = split
    settings = {**settings, "scorer": _scorer_of(settings["scorer"], scoring, index[1])}
    result = _fit_and_score(
        estimator, X, y, train=train, test=test, parameters=None, **settings, **progress
    )
    result["fit_time"] = fit.seconds
    _keep_labels(result, settings["scorer"], scoring)
    return index, FoldOutcome(result)


def _scorer_of(scorer: Any, scoring: FoldScoring | None, fold: int) -> Any:
    return scorer if scoring is None else scoring.of_fold(fold)


def _keep_labels(result: dict[str, Any], scorer: Any, scoring: FoldScoring | None) -> None:
    if scoring is not None and scoring.pooled and result:
        result["labels"] = scorer.labels
