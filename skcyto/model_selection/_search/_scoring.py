"""What a search maximises where folds lack a class that a score needs."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import WilcoxonPruner
from sklearn.base import is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_method_params, column_or_1d

from skcyto.metrics._class_dependence import (
    adapt_scorer,
    is_of_labels,
    needs_every_class,
    positive_class,
    takes_pos_label,
    try_scorer,
)
from skcyto.model_selection._fixed_predictions import FixedPredictions
from skcyto.model_selection._splits import number_rounds
from skcyto.utils._validation import check_vector

SINGLE = "score"


def scorers_by_name(scorer: Any) -> dict[str, Any]:
    """Return the scorers of a search by name.

    Parameters
    ----------
    scorer : callable
        One, or scikit-learn's of several.
    """
    return dict(scorer._scorers) if isinstance(scorer, _MultimetricScorer) else {SINGLE: scorer}


@dataclass(frozen=True)
class FoldScoring:
    """Scores of a trial from its folds, some of which may lack a class.

    A score that averages over classes is undefined on such a fold. One of predicted labels is
    taken from the pooled predictions of each round instead; one of probabilities is a mean over
    the folds that hold every class.

    Parameters
    ----------
    scorer : callable
        Of the search.
    pooled, whole : frozenset of str
        Names of the scores of either kind.
    y : ndarray
        Labels of all cases.
    tests : list of ndarray
        Test rows of the folds.
    is_whole : ndarray of bool
        Whether each fold's test rows hold every class.
    rounds : ndarray of int
        Round of each fold.
    score_params : mapping
        Metadata for the scorer.
    """

    scorer: Any
    pooled: frozenset[str]
    whole: frozenset[str]
    y: NDArray[Any]
    tests: list[NDArray[np.intp]]
    is_whole: NDArray[np.bool_]
    rounds: NDArray[np.intp]
    score_params: Mapping[str, Any]

    def of_fold(self, fold: int) -> Any:
        """Return the scorer for a fold, which leaves out what the fold can't tell.

        Returns
        -------
        scorer : callable
            Its `labels` are what the fold's model predicts, where scores are pooled.
        """
        left_out = self.pooled if self.is_whole[fold] else self.pooled | self.whole
        if not left_out:
            return self.scorer
        if isinstance(self.scorer, _MultimetricScorer):
            return _ScorersOfFold(self.scorer, left_out, bool(self.pooled))
        return _ScorerOfFold(self.scorer, bool(self.pooled))

    def value(self, name: str, scores: Sequence[float], labels: Sequence[NDArray[Any]]) -> float:
        """Return the score of a trial from its first folds.

        Parameters
        ----------
        name : str
            Of the score.
        scores : list of float
            Of each fold; NaN where undefined.
        labels : list of ndarray
            What was predicted on each fold, for scores that are pooled.

        Returns
        -------
        value : float
            NaN where the folds so far hold no case of a class.
        """
        if name in self.whole:
            known = [float(s) for s, held in zip(scores, self.is_whole, strict=False) if held]
            return float(np.mean(known)) if known else np.nan
        if name not in self.pooled:
            return float(np.mean(scores))
        values = []
        for number in np.unique(self.rounds[: len(labels)]):
            folds = [fold for fold in range(len(labels)) if self.rounds[fold] == number]
            value = self._pooled(
                name,
                np.concatenate([self.tests[fold] for fold in folds]),
                np.concatenate([labels[fold] for fold in folds]),
            )
            values.append(value)
        known = [value for value in values if not np.isnan(value)]
        return float(np.mean(known)) if known else np.nan

    def _pooled(self, name: str, rows: NDArray[np.intp], labels: NDArray[Any]) -> float:
        classes = np.unique(self.y)
        true = self.y[rows]
        if len(np.unique(true)) < len(classes):
            return np.nan
        scorer = scorers_by_name(self.scorer)[name]
        if isinstance(self.scorer, _MultimetricScorer):
            scorer = _MultimetricScorer(scorers={name: scorer})
        params = _check_method_params(self.y, params=dict(self.score_params), indices=rows)
        found = scorer(FixedPredictions(labels, classes), np.zeros((len(rows), 1)), true, **params)
        return float(found[name] if isinstance(found, dict) else found)


def plan_scoring(
    scorer: Any,
    y: Any,
    splits: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    score_params: Mapping[str, Any],
) -> FoldScoring | None:
    """Find out which scores are undefined on which folds.

    Returns
    -------
    scoring : FoldScoring or None
        None where every score is defined on every fold.

    Raises
    ------
    ValueError
        If a score of probabilities is undefined on every fold.
    """
    y = np.asarray(y)
    tests = [test for _, test in splits]
    n_classes = len(np.unique(y))
    is_whole = np.array([len(np.unique(y[test])) == n_classes for test in tests])
    if is_whole.all():
        return None
    needing = {
        name: each for name, each in scorers_by_name(scorer).items() if needs_every_class(each)
    }
    pooled = frozenset(name for name, each in needing.items() if is_of_labels(each))
    whole = frozenset(needing) - pooled
    if whole and not is_whole.any():
        raise ValueError(
            f"{sorted(whole)} is undefined where a class has no case, and no fold holds every "
            "class: give fewer or other folds in cv, or score labels or log-loss"
        )
    if not needing:
        return None
    rounds = number_rounds(splits, len(y))
    return FoldScoring(scorer, pooled, whole, y, tests, is_whole, rounds, score_params)


def prepare_scoring(
    search: Any,
    scorers: Any,
    objectives: Sequence[str],
    X: Any,
    y: Any,
    splits: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    score_params: Mapping[str, Any],
) -> tuple[Any, FoldScoring | None, list[Any]]:
    """Tell scorers the classes, try them, and find out what folds can't tell.

    Parameters
    ----------
    search : OptunaSearchCV
        Before its fit.
    scorers : callable
        What its scoring stands for.
    objectives : list of str
        Names of the scores to maximise.
    X, y : array-like
        Cases.
    splits : list of (ndarray, ndarray)
        Folds.
    score_params : mapping
        Metadata for the scorer.

    Returns
    -------
    scorers : callable
        To use.
    scoring : FoldScoring or None
        Given where folds lack a class that a score needs.
    marks : list
        What tells these scores from others of the same names.

    Raises
    ------
    ValueError
        If a scorer can't work, or `pos_label` or the pruner doesn't go with the data.
    """
    if is_classifier(search.estimator) and np.ndim(y) == 1:
        check_vector(y, "y")
    if not is_classifier(search.estimator) or type_of_target(y) not in ("binary", "multiclass"):
        if search.pos_label is not None:
            raise ValueError(f"pos_label={search.pos_label!r} is for classifiers of two classes")
        return scorers, None, []
    labels = column_or_1d(y)
    classes, codes = np.unique(labels, return_inverse=True)
    positive = positive_class(classes, codes, search.pos_label)
    named = scorers_by_name(scorers)
    marks: list[Any] = []
    if positive is not None and any(takes_pos_label(each) for each in named.values()):
        marks.append(["pos_label", str(positive)])
    named = {name: adapt_scorer(each, classes, positive) for name, each in named.items()}
    if isinstance(scorers, _MultimetricScorer):
        scorers = _MultimetricScorer(scorers=named, raise_exc=scorers._raise_exc)
    else:
        scorers = named[SINGLE]
    # Without metadata that is needed a scorer would fail for this reason alone.
    if search.scoring is not None and not score_params:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, each in named.items():
                try_scorer(name, each, X, labels, several=callable(search.scoring))
    scoring = plan_scoring(scorers, labels, splits, score_params)
    if scoring is not None:
        undefined = scoring.pooled | scoring.whole
        marks.append(["by trial", sorted(undefined)])
        pruner = search.pruner if search.study is None else search.study.pruner
        if isinstance(pruner, WilcoxonPruner) and undefined & set(objectives):
            raise ValueError(
                f"pruner=WilcoxonPruner compares trials fold by fold, and {list(objectives)} is "
                "undefined on folds that lack a class: use another pruner or other folds"
            )
    return scorers, scoring, marks


class _ScorerOfFold:
    """One scorer that the fold can't tell: it keeps what is predicted, once, for the test rows."""

    def __init__(self, scorer: Any, keeps_labels: bool) -> None:
        self.scorer = scorer
        self.keeps_labels = keeps_labels
        self.labels: NDArray[Any] | None = None
        self._is_asked = False

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> float:
        if self._is_asked:
            return self.scorer(estimator, X, y, **params)  # the training rows, which come second
        self._is_asked = True
        if self.keeps_labels:
            self.labels = np.asarray(estimator.predict(X)).reshape(len(y))
        return np.nan


class _ScorersOfFold(_MultimetricScorer):
    """Several scorers, some of which the fold can't tell."""

    def __init__(self, scorer: _MultimetricScorer, left_out: frozenset[str], keeps: bool) -> None:
        super().__init__(scorers=scorer._scorers, raise_exc=scorer._raise_exc)
        self.left_out = left_out
        self.keeps_labels = keeps
        self.labels: NDArray[Any] | None = None
        self._is_asked = False

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> dict[str, Any]:
        if self._is_asked:
            return super().__call__(estimator, X, y, **params)
        self._is_asked = True
        failure: float | str = np.nan
        if self.keeps_labels:
            try:
                self.labels = np.asarray(estimator.predict(X)).reshape(len(y))
            except Exception:
                if self._raise_exc:
                    raise
                failure = traceback.format_exc()  # which scikit-learn reports as a failed score
        told = {name: each for name, each in self._scorers.items() if name not in self.left_out}
        found = _MultimetricScorer(scorers=told, raise_exc=self._raise_exc)
        scores = found(estimator, X, y, **params) if told else {}
        return {name: scores.get(name, failure) for name in self._scorers}


@dataclass
class ScoreSoFar:
    """Score of the pooled predictions of earlier folds and of a net in training on this one."""

    scoring: FoldScoring
    name: str
    earlier: list[NDArray[Any]]

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> float:
        labels = np.asarray(estimator.predict(X)).reshape(len(y))
        return self.scoring.value(self.name, [], [*self.earlier, labels])
