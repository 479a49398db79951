"""What a comparison measures, and how it is had from kept predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skcyto.metrics._class_dependence import describe_scorer, positive_class, try_scorer
from skcyto.metrics._scorers import METRICS, Metric
from skcyto.model_selection._fixed_predictions import FixedPredictions
from skcyto.model_selection._results._records import Predictions
from skcyto.utils._warnings import warn

RECALL_PER_CLASS = "recall_per_class"
DEFAULT_SCORING = (*METRICS, RECALL_PER_CLASS)
# Under imbalance the accuracy that heads scikit-learn's list says little.
DEFAULT_PRIMARY = "f1_macro"
_AREAS = {"roc_auc_ovr": "roc_auc", "average_precision_macro": "average_precision"}
_SHARES = (
    "accuracy_score",
    "average_precision_score",
    "f1_score",
    "jaccard_score",
    "precision_score",
    "recall_score",
    "roc_auc_score",
    "top_k_accuracy_score",
)


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
        """Say whether cases of some classes lack one without which the score is undefined."""
        return not set(self.needs) <= set(np.unique(true).tolist())

    def score(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        """Score predictions; NaN where a class is lacking that the score needs."""
        assert self.from_predictions is not None
        return float("nan") if self.lacks(true) else self.from_predictions(true, predictions)


@dataclass(frozen=True)
class _MetricOfPredictions:
    metric: Metric
    classes: NDArray[Any]

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        fits = self.metric.response != "predict_proba" or predictions.kind == "predict_proba"
        response = predictions.response if fits else None
        return self.metric.of_predictions(true, predictions.codes, response, len(self.classes))


@dataclass(frozen=True)
class _RecallOfPredictions:
    code: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        own = true == self.code
        return float((predictions.codes[own] == self.code).mean()) if own.any() else float("nan")


@dataclass(frozen=True)
class _RankScoreOfPredictions:
    """A score of the order of cases, of one of two classes."""

    function: Callable[[NDArray[np.bool_], NDArray[np.float64]], float]
    code: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        response, own = predictions.response, true == self.code
        if response is None or own.all() or not own.any():
            return float("nan")
        return self.function(own, response[:, self.code])


@dataclass(frozen=True)
class _ScorerOfPredictions:
    name: str
    scorer: Callable[..., float]
    classes: NDArray[Any]
    sign: int

    def __call__(self, true: NDArray[np.intp], predictions: Predictions) -> float:
        labels = self.classes[predictions.codes]
        kept = FixedPredictions(labels, self.classes, predictions.response, predictions.kind)
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
    """Return the code of the class whose recall it is; None for any other score."""
    made_by = measure.from_predictions
    return made_by.code if isinstance(made_by, _RecallOfPredictions) else None


def counts_hits(measure: Measure) -> bool:
    """Say whether a score is a share of cases that are right: a recall or the accuracy."""
    made_by = measure.from_predictions
    return class_of_recall(measure) is not None or (
        isinstance(made_by, _MetricOfPredictions) and made_by.metric.name == "accuracy"
    )


class Scoring(NamedTuple):
    """What a comparison scores.

    Parameters
    ----------
    measures : list of Measure
        The columns of scores.
    primary : str
        Name of the one that matters most.
    pos_label : object or None
        The positive one of two classes.
    """

    measures: list[Measure]
    primary: str
    pos_label: Any

    @property
    def scorers(self) -> dict[str, Callable[..., float]]:
        """Scorers that need the fitted estimator, by name."""
        return {each.name: each.scorer for each in self.measures if each.scorer is not None}


def resolve_scoring(
    scoring: Any,
    X: Any,
    y: NDArray[Any],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    pos_label: Any = None,
) -> Scoring:
    """Turn ``scoring=`` into measures that were tried on the cases.

    Parameters
    ----------
    scoring : str, callable, iterable of str, dict or None
        As in scikit-learn's multi-metric evaluation, with skcyto's names and "recall_per_class".
    X : array-like, list or DataFrame
        All cases.
    y : ndarray
        Their labels.
    bounds : dict of str to tuple, or None, default=None
        Smallest and largest value of scores, by name.
    pos_label : object or None, default=None
        The positive one of two classes, as the user gave it.

    Returns
    -------
    scoring : Scoring
        The primary score is the first, "f1_macro" by default.

    Raises
    ------
    ValueError
        If a name is unknown or comes twice, bounds are not in order, or a score can't be worked
        out for such labels.
    TypeError
        If a scorer is neither a name nor callable.
    """
    classes, codes = np.unique(y, return_inverse=True)
    positive = positive_class(classes, codes, pos_label)
    measures: list[Measure] = []
    for name, scorer in _name_scorers(scoring).items():
        measures.extend(_measures_of(str(name), scorer, classes, positive))
    names = [measure.name for measure in measures]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"scoring gives {repeated} twice")
    measures = _with_bounds(measures, bounds)
    _try_measures(measures, X, y)
    return Scoring(measures, DEFAULT_PRIMARY if scoring is None else names[0], positive)


def _name_scorers(scoring: Any) -> dict[str, Any]:
    if scoring is None:
        return {name: name for name in DEFAULT_SCORING}
    if isinstance(scoring, str):
        return {scoring: scoring}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    if isinstance(scoring, Mapping):
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
    return named


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
    unbounded = (-np.inf, np.inf)
    facts = describe_scorer(scorer, classes, pos_label)
    if facts is None:
        return [Measure(name, name.replace("_", " "), True, unbounded, None, scorer)]
    title = shown.replace("_", " ")
    if facts.pos_label is not None:
        title = f"{title} of {facts.pos_label}"
    kept = (
        _ScorerOfPredictions(shown, facts.scorer, classes, -1 if loss else 1)
        if facts.of_ranks is None
        else _RankScoreOfPredictions(facts.of_ranks, facts.code)
    )
    return [
        Measure(
            shown,
            title,
            not loss,
            (0.0, 1.0) if _is_share(facts.scorer) else unbounded,
            kept,
            ranks_cases=facts.ranks_cases,
            needs=every if facts.needs_every_class else (),
            of_labels=facts.of_labels,
        )
    ]


def _is_share(scorer: Any) -> bool:
    """Tell whether a scorer of scikit-learn ends at 0 and 1, as its functions of these names do."""
    function = getattr(scorer, "_score_func", None)
    from_sklearn = getattr(function, "__module__", "").startswith("sklearn.")
    return from_sklearn and getattr(function, "__name__", "") in _SHARES


def _with_bounds(
    measures: list[Measure], bounds: Mapping[str, tuple[float, float]] | None
) -> list[Measure]:
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


def _try_measures(measures: list[Measure], X: Any, y: NDArray[Any]) -> None:
    """Try every score on made-up predictions, so that it fails before anything is fitted.

    Scores that only a fitted estimator tells are tried on a few rows and a classifier that knows
    nothing.
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
