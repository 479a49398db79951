"""What a comparison measures, and how it is had from kept predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if

from skcyto.metrics import get_scorer
from skcyto.metrics._class_dependence import (
    SCIKIT_LEARN_SCORER,
    adapt_scorer,
    is_of_labels,
    needs_every_class,
    takes_pos_label,
    try_scorer,
)
from skcyto.metrics._confusion import SCORES_OF_COUNTS, confusion_counts
from skcyto.metrics._responses import SCORES_OF_RANKS, SCORES_OF_RESPONSES
from skcyto.metrics._scorers import METRICS, Metric
from skcyto.model_selection._results._records import Predictions
from skcyto.utils._warnings import warn

RECALL_PER_CLASS = "recall_per_class"
DEFAULT_SCORING = (*METRICS, RECALL_PER_CLASS)
# Under imbalance the accuracy that heads scikit-learn's list says little.
DEFAULT_PRIMARY = "f1_macro"
_AREAS = {"roc_auc_ovr": "roc_auc", "average_precision_macro": "average_precision"}


class KeptPredictions(ClassifierMixin, BaseEstimator):
    """A classifier that gives what another one predicted, for scorers.

    Parameters
    ----------
    predictions : Predictions
        What it predicts, whatever it is asked.
    classes : ndarray
        All classes of the comparison.
    """

    def __init__(self, predictions: Predictions, classes: NDArray[Any]) -> None:
        self.predictions = predictions
        self.classes = classes

    @property
    def classes_(self) -> NDArray[Any]:
        """All classes of the comparison."""
        return self.classes

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the kept labels.

        Parameters
        ----------
        X : object
            Ignored.

        Returns
        -------
        labels : ndarray
        """
        return self.classes[self.predictions.codes]

    @available_if(lambda self: self.predictions.kind == "predict_proba")
    def predict_proba(self, X: Any) -> NDArray[np.float64] | None:
        """Return the kept probabilities.

        Parameters
        ----------
        X : object
            Ignored.

        Returns
        -------
        probabilities : ndarray
        """
        return self.predictions.response

    @available_if(lambda self: self.predictions.kind == "decision_function")
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the kept decision values.

        Parameters
        ----------
        X : object
            Ignored.

        Returns
        -------
        values : ndarray
        """
        response = self.predictions.response
        assert response is not None
        return response[:, 1] if len(self.classes) == 2 else response


@dataclass(frozen=True)
class Measure:
    """One column of scores.

    Parameters
    ----------
    name : str
        As in tables; without the ``neg_`` of losses, which are shown positive.
    title : str
        For axes and headings.
    greater_is_better : bool
        False for losses.
    bounds : tuple of float
        Smallest and largest value.
    from_predictions : callable or None
        ``from_predictions(true_codes, predictions) -> float``; None where only the fitted
        estimator tells.
    scorer : callable or None
        ``scorer(estimator, X, y)`` where only the fitted estimator tells.
    ranks_cases : bool, default=False
        Whether it depends on the order in which a model puts cases, as areas under curves do.
    of_classes : {"", "roc_auc", "average_precision"}, default=""
        Which area it is the mean of, one class against the rest, if it is one.
    needs : tuple of int
        Codes of the classes without a case of which it is undefined.
    of_labels : bool
        Whether it is one of predicted labels, which mean the same whichever fold's model gives
        them. Probabilities and decision values of different models have no common ranking.
    """

    name: str
    title: str
    greater_is_better: bool
    bounds: tuple[float, float]
    from_predictions: Callable[[NDArray[np.intp], Predictions], float] | None
    scorer: Callable[..., float] | None = None
    ranks_cases: bool = False
    of_classes: str = ""
    needs: tuple[int, ...] = ()
    of_labels: bool = True

    def lacks(self, true: NDArray[np.intp]) -> bool:
        """Say whether cases of some classes lack one without which the score is undefined.

        Parameters
        ----------
        true : ndarray of int
            True classes.

        Returns
        -------
        lacks : bool
        """
        return not set(self.needs) <= set(np.unique(true).tolist())

    def score(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        """Score predictions; NaN where a class is lacking that the score needs.

        Parameters
        ----------
        true : ndarray of int
            True classes.
        predictions : Predictions
            What was predicted.

        Returns
        -------
        score : float
        """
        assert self.from_predictions is not None
        return float("nan") if self.lacks(true) else self.from_predictions(true, predictions)


@dataclass(frozen=True)
class _MetricOfPredictions:
    metric: Metric
    classes: NDArray[Any]

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        n_classes = len(self.classes)
        if self.metric.name in SCORES_OF_COUNTS:
            counts = confusion_counts(true, predictions.codes, n_classes)
            return SCORES_OF_COUNTS[self.metric.name](counts)
        response = predictions.response
        if response is None or (
            self.metric.response == "predict_proba" and predictions.kind != "predict_proba"
        ):
            return float("nan")
        if self.metric.name in SCORES_OF_RESPONSES:
            return SCORES_OF_RESPONSES[self.metric.name](true, response)
        # Class codes serve as labels: what they stand for makes no difference to any of these.
        labels = np.arange(n_classes)
        return float(self.metric.function(true, predictions.response, labels=labels))


@dataclass(frozen=True)
class _RecallOfPredictions:
    code: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        own = true == self.code
        return float((predictions.codes[own] == self.code).mean()) if own.any() else float("nan")


@dataclass(frozen=True)
class _RankScoreOfPredictions:
    """A score of the order of cases, of one of two classes."""

    function: Callable[..., float]
    code: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        response, own = predictions.response, true == self.code
        if response is None or own.all() or not own.any():
            return float("nan")
        return SCORES_OF_RANKS[self.function](own, response[:, self.code])


@dataclass(frozen=True)
class _ScorerOfPredictions:
    name: str
    scorer: Callable[..., float]
    classes: NDArray[Any]
    sign: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        kept = KeptPredictions(predictions, self.classes)
        placeholder = np.zeros((len(true), 1))
        try:
            return self.sign * float(self.scorer(kept, placeholder, self.classes[true]))
        except Exception as error:
            # Scores come after hours of fitting: what one fold can't be scored by loses no other.
            # A model without the probabilities that the scorer asks for raises AttributeError.
            if not isinstance(error, AttributeError) or predictions.kind == "predict_proba":
                warn(f"{self.name} is undefined on a fold: {error}")
            return float("nan")


def class_of_recall(measure: Measure) -> int | None:
    """Return the code of the class whose recall it is; None for any other score.

    Parameters
    ----------
    measure : Measure
        The score.

    Returns
    -------
    code : int or None
    """
    made_by = measure.from_predictions
    return made_by.code if isinstance(made_by, _RecallOfPredictions) else None


def counts_hits(measure: Measure) -> bool:
    """Say whether a score is a share of cases that are right: a recall or the accuracy.

    Parameters
    ----------
    measure : Measure
        The score.

    Returns
    -------
    counts_hits : bool
    """
    made_by = measure.from_predictions
    return class_of_recall(measure) is not None or (
        isinstance(made_by, _MetricOfPredictions) and made_by.metric.name == "accuracy"
    )


def resolve_scoring(
    scoring: Any, classes: NDArray[Any], pos_label: Any = None
) -> tuple[list[Measure], str]:
    """Turn ``scoring=`` into measures and the name of the one that matters most.

    Parameters
    ----------
    scoring : str, callable, iterable of str, dict or None
        As in scikit-learn's multi-metric evaluation, with skcyto's names and "recall_per_class".
    classes : ndarray
        Classes of the comparison.
    pos_label : object or None, default=None
        The positive one of two classes.

    Returns
    -------
    measures : list of Measure
    primary : str
        Name of the first, of "f1_macro" by default.

    Raises
    ------
    ValueError
        If a name is unknown or comes twice.
    TypeError
        If a scorer is neither a name nor callable.
    """
    if scoring is None:
        named: dict[str, Any] = {name: name for name in DEFAULT_SCORING}
    elif isinstance(scoring, str):
        named = {scoring: scoring}
    elif callable(scoring):
        named = {getattr(scoring, "__name__", "score"): scoring}
    elif isinstance(scoring, Mapping):
        named = dict(scoring)
    elif not isinstance(scoring, Iterable):
        raise TypeError(
            f"scoring={scoring!r} must be None, a name, a callable, a list of names or a dict of "
            "scorers"
        )
    else:
        given = list(scoring)
        named = {name: name for name in given}
        if len(named) < len(given):
            raise ValueError(f"scoring={given} names a score twice")
    if not named:
        raise ValueError("scoring is empty: name at least one score")
    measures: list[Measure] = []
    for name, scorer in named.items():
        measures.extend(_measures_of(str(name), scorer, classes, pos_label))
    names = [measure.name for measure in measures]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"scoring gives {repeated} twice")
    return measures, DEFAULT_PRIMARY if scoring is None else names[0]


def _measures_of(name: str, scorer: Any, classes: NDArray[Any], pos_label: Any) -> list[Measure]:
    every = tuple(range(len(classes)))
    if isinstance(scorer, str) and scorer == RECALL_PER_CLASS:
        return [
            Measure(
                f"recall[{label}]",
                f"recall of {label}",
                True,
                (0, 1),
                _RecallOfPredictions(i),
                needs=(i,),
            )
            for i, label in enumerate(classes.tolist())
        ]
    loss = name.startswith("neg_")
    shown = name.removeprefix("neg_")
    if isinstance(scorer, str) and scorer in METRICS:
        metric = METRICS[scorer]
        title = metric.title if name == scorer else shown
        upper = 1.0 if scorer == "neg_brier_score" and len(classes) == 2 else metric.bounds[1]
        return [
            Measure(
                shown,
                title,
                metric.greater_is_better,
                (metric.bounds[0], upper),
                _MetricOfPredictions(metric, classes),
                ranks_cases=scorer in _AREAS,
                of_classes=_AREAS.get(scorer, ""),
                needs=every if metric.needs_every_class else (),
                of_labels=metric.response == "predict",
            )
        ]
    if not isinstance(scorer, str) and not callable(scorer):
        raise TypeError(f"scoring[{name!r}] must be a name or callable, not {scorer!r}")
    scorer = get_scorer(scorer)
    unbounded = (-np.inf, np.inf)
    if isinstance(scorer, SCIKIT_LEARN_SCORER):
        title = shown.replace("_", " ")
        if pos_label is not None and takes_pos_label(scorer):
            title = f"{title} of {pos_label}"
        scorer = adapt_scorer(scorer, classes, pos_label)
        kept = _rank_score(scorer, classes) or _ScorerOfPredictions(
            shown, scorer, classes, -1 if loss else 1
        )
        return [
            Measure(
                shown,
                title,
                not loss,
                unbounded,
                kept,
                ranks_cases=_ranks_cases(scorer),
                needs=every if needs_every_class(scorer) else (),
                of_labels=is_of_labels(scorer),
            )
        ]
    return [Measure(name, name.replace("_", " "), True, unbounded, None, scorer)]


def _rank_score(scorer: Any, classes: NDArray[Any]) -> _RankScoreOfPredictions | None:
    """Return the same score without scikit-learn's checks, which take longer than the score."""
    plain = set(scorer._kwargs) <= {"pos_label"} and scorer._sign == 1
    by_rank = scorer._response_method == ("decision_function", "predict_proba")
    if len(classes) != 2 or not plain or not by_rank or scorer._score_func not in SCORES_OF_RANKS:
        return None
    label = scorer._kwargs.get("pos_label", classes[1])
    return _RankScoreOfPredictions(scorer._score_func, int(np.flatnonzero(classes == label)[0]))


def _ranks_cases(scorer: Any) -> bool:
    """Say whether a scorer of scikit-learn looks at the order of cases: an area under a curve."""
    method = scorer._response_method
    by_case = getattr(scorer._score_func, "__name__", "") == "top_k_accuracy_score"
    several = not isinstance(method, str)
    return not by_case and (
        (several and "decision_function" in method)
        or method == "decision_function"
        or "auc" in getattr(scorer._score_func, "__name__", "")
    )


def with_bounds(
    measures: list[Measure], bounds: Mapping[str, tuple[float, float]] | None
) -> list[Measure]:
    """Set the smallest and largest values of scores.

    Parameters
    ----------
    measures : list of Measure
        What is scored.
    bounds : dict of str to tuple, or None
        By name of the score.

    Returns
    -------
    measures : list of Measure

    Raises
    ------
    ValueError
        If a name was not scored, or the bounds are not in order.
    """
    if bounds is None:
        return measures
    names = [measure.name for measure in measures]
    given = {str(name).removeprefix("neg_"): limits for name, limits in bounds.items()}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"bounds names {unknown}, which are not scored; there are {names}")
    for name, limits in given.items():
        if len(limits) != 2 or not limits[0] < limits[1]:
            raise ValueError(f"bounds[{name!r}]={limits!r} must be a smaller and a larger number")
    return [
        replace(measure, bounds=(float(given[measure.name][0]), float(given[measure.name][1])))
        if measure.name in given
        else measure
        for measure in measures
    ]


def check_measures(measures: list[Measure], X: Any, y: NDArray[Any]) -> None:
    """Try every score on made-up predictions, so that it fails before anything is fitted.

    Scores that only a fitted estimator tells are tried on a few rows and a classifier that knows
    nothing.

    Parameters
    ----------
    measures : list of Measure
        What will be scored.
    X : array-like, list or DataFrame
        All cases.
    y : ndarray
        Their labels.

    Raises
    ------
    ValueError
        If a score can't be worked out for such labels, such as a binary score of three classes, or
        a function that is no scorer.
    """
    classes, y_codes = np.unique(y, return_inverse=True)
    n_classes = len(classes)
    codes = np.roll(y_codes, 1)
    response = np.full((len(codes), n_classes), 0.5 / n_classes)
    response[np.arange(len(codes)), codes] += 0.5
    predictions = Predictions(codes, response, "predict_proba")
    for measure in measures:
        if measure.from_predictions is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try_scorer(measure.name, measure.scorer, X, y)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".* is undefined on a fold")
            try:
                measure.from_predictions(y_codes, predictions)
            except Exception as error:
                raise ValueError(f"scoring by {measure.name!r} fails: {error}") from error
