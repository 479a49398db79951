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
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

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


@dataclass(frozen=True)
class FoldCall:
    """A candidate of a batch and a fold.

    Parameters
    ----------
    position : int
        Of the candidate in the batch.
    fold : int
        Position of the fold.
    split : (ndarray, ndarray)
        Training and test rows of the fold.
    of_candidates, of_folds : int
        Numbers of candidates and folds, for messages.
    pruning : EpochPruning or None
        Given where epochs may be pruned.
    """

    position: int
    fold: int
    split: tuple[np.ndarray, np.ndarray]
    of_candidates: int
    of_folds: int
    pruning: EpochPruning | None = None

    def keywords(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the keywords of scikit-learn's ``_fit_and_score``.

        Parameters
        ----------
        settings : mapping
            Those that are the same for all folds.
        """
        return {
            **settings,
            "train": self.split[0],
            "test": self.split[1],
            "split_progress": (self.fold, self.of_folds),
            "candidate_progress": (self.position, self.of_candidates),
        }


def fit_fold(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    params: dict[str, Any],
    call: FoldCall,
    settings: Mapping[str, Any],
    scoring: FoldScoring | None = None,
) -> tuple[FoldCall, FoldOutcome]:
    """Fit and score a candidate.

    Parameters
    ----------
    estimator : estimator
        A clone that is this call's own.
    X, y : array-like
        All cases.
    params : dict
        Parameters of the candidate.
    call : FoldCall
        Which candidate and fold.
    settings : mapping
        Keywords of ``_fit_and_score`` that are the same for all folds.
    scoring : FoldScoring or None
        Given where folds lack a class.

    Returns
    -------
    call : FoldCall
        As given.
    outcome : FoldOutcome
    """
    keywords = call.keywords(settings)
    keywords["scorer"] = scorer = _scorer_of(settings["scorer"], scoring, call.fold)
    train, test = call.split
    reporter = None
    parameters: dict[str, Any] | None = params
    if call.pruning is not None:
        # The reporter goes into the net that the parameters have put in.
        estimator.set_params(**clone(params, safe=False))
        parameters = None
        X_test, y_test = _safe_split(estimator, X, y, test, train)
        score_params = _check_method_params(X, params=settings["score_params"], indices=test)
        reporter = attach_reporter(estimator, call.pruning, X_test, y_test, scorer, score_params)
    try:
        result = _fit_and_score(estimator, X, y, parameters=parameters, **keywords)
    except Exception:
        # With error_score="raise" a pruned fold looks like a failed one.
        if reporter is None or not reporter.is_pruned:
            raise
        result = {}
    if result.get("fit_error"):
        result["fit_error"] += explain_refused_labels(result["fit_error"], _safe_indexing(y, train))
    _keep_labels(result, scorer, scoring)
    if reporter is None:
        return call, FoldOutcome(result)
    trial = reporter.trial.study.get_trials(deepcopy=False)[reporter.trial.number]
    return call, FoldOutcome(result, reporter.is_pruned, reporter.reports, trial.system_attrs)


def score_fitted(
    fit: FoldFit,
    X: Any,
    y: Any,
    call: FoldCall,
    settings: Mapping[str, Any],
    scoring: FoldScoring | None = None,
) -> tuple[FoldCall, FoldOutcome]:
    """Score a candidate that is fitted already, failures and all as if it were fitted now.

    Parameters
    ----------
    fit : FoldFit
        The candidate, fitted on the training rows of the fold.
    X, y, call, settings, scoring : object
        As of :func:`fit_fold`.
    """
    estimator = fit.estimator

    def fitted(*args: Any, **kwargs: Any) -> Any:
        if fit.error is not None:
            raise fit.error
        return estimator

    estimator.fit = fitted
    keywords = call.keywords(settings)
    keywords["scorer"] = scorer = _scorer_of(settings["scorer"], scoring, call.fold)
    result = _fit_and_score(estimator, X, y, parameters=None, **keywords)
    result["fit_time"] = fit.seconds
    _keep_labels(result, scorer, scoring)
    return call, FoldOutcome(result)


def _scorer_of(scorer: Any, scoring: FoldScoring | None, fold: int) -> Any:
    return scorer if scoring is None else scoring.of_fold(fold)


def _keep_labels(result: dict[str, Any], scorer: Any, scoring: FoldScoring | None) -> None:
    if scoring is not None and scoring.pooled and result:
        result["labels"] = scorer.labels
