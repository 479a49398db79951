"""Which classes a scorer needs, and which one it counts as positive."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    fbeta_score,
    jaccard_score,
    make_scorer,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.utils import _safe_indexing

from skcyto.metrics._responses import SCORES_OF_RANKS
from skcyto.metrics._scorers import METRICS, get_scorer

SCIKIT_LEARN_SCORER = type(make_scorer(accuracy_score))
# Averages over classes, or of one of two classes: without a case of each they are another quantity.
_BY_CLASS = (precision_score, recall_score, f1_score, fbeta_score, jaccard_score)
_OVER_CLASSES = (
    balanced_accuracy_score,
    cohen_kappa_score,
    matthews_corrcoef,
    roc_auc_score,
    average_precision_score,
)
# Sums over cases, in which a class that has none has no part.
_OVER_CASES = ("micro", "weighted", "samples")
_ROWS_PER_CLASS = 10


class _TriedClassifier(DummyClassifier):
    """A classifier for trying scorers; what it lacks of a pipeline is an AttributeError."""

    def __getitem__(self, key: Any) -> Any:
        raise AttributeError(f"{type(self).__name__} has no step {key!r}")


def needs_every_class(scorer: Any) -> bool:
    """Say whether a scorer is undefined where a class has no case.

    Parameters
    ----------
    scorer : callable
        A scorer; of one that scikit-learn didn't make nothing is known.

    Returns
    -------
    needs : bool
    """
    if not isinstance(scorer, SCIKIT_LEARN_SCORER):
        return False
    function = scorer._score_func
    for metric in METRICS.values():
        if function is metric.function:
            return metric.needs_every_class
    if function in _OVER_CLASSES:
        return True
    if function not in _BY_CLASS or scorer._kwargs.get("labels") is not None:
        return False
    return scorer._kwargs.get("average", "binary") not in _OVER_CASES


def is_of_labels(scorer: Any) -> bool:
    """Say whether a scorer takes predicted labels, which can be pooled over models.

    Parameters
    ----------
    scorer : callable
        Made by scikit-learn's ``make_scorer``.

    Returns
    -------
    of_labels : bool
        False for scores of probabilities and decision values.
    """
    return isinstance(scorer, SCIKIT_LEARN_SCORER) and scorer._response_method == "predict"


def positive_class(classes: NDArray[Any], codes: NDArray[np.intp], pos_label: Any) -> Any:
    """Return the positive one of two classes.

    Parameters
    ----------
    classes : ndarray
        The labels that occur, sorted.
    codes : ndarray of int
        Class of each case.
    pos_label : object or None
        As the user gave it.

    Returns
    -------
    label : object or None
        The rarer class where the user gave none (the second of equally many), None of more than
        two.

    Raises
    ------
    ValueError
        If `pos_label` is no class, or there are more than two.
    """
    if len(classes) != 2:
        if pos_label is not None:
            raise ValueError(
                f"pos_label={pos_label!r} is for two classes; y holds {len(classes)}: "
                f"{classes.tolist()}"
            )
        return None
    if pos_label is None:
        counts = np.bincount(codes, minlength=2)
        return classes[0] if counts[0] < counts[1] else classes[1]
    found = [code for code, label in enumerate(classes.tolist()) if label == pos_label]
    if len(found) != 1:
        raise ValueError(f"pos_label={pos_label!r} is no class of y: {classes.tolist()}")
    return classes[found[0]]


def takes_pos_label(scorer: Any) -> bool:
    """Say whether a scorer is of one of two classes, and doesn't say of which.

    Parameters
    ----------
    scorer : callable
        A scorer.

    Returns
    -------
    takes : bool
    """
    if not isinstance(scorer, SCIKIT_LEARN_SCORER) or "pos_label" in scorer._kwargs:
        return False
    parameters = inspect.signature(scorer._score_func).parameters
    if "pos_label" not in parameters:
        return False
    default = "binary" if scorer._score_func in _BY_CLASS else None
    return (
        scorer._kwargs.get("average", default) in ("binary", None)
        and scorer._kwargs.get("labels") is None
    )


def with_keywords(scorer: Any, **keywords: Any) -> Any:
    """Return a scorer that hands more to its metric.

    Parameters
    ----------
    scorer : callable
        Made by scikit-learn's ``make_scorer``.
    **keywords : object
        For the metric.

    Returns
    -------
    scorer : callable
    """
    made = SCIKIT_LEARN_SCORER(
        scorer._score_func,
        scorer._sign,
        {**scorer._kwargs, **keywords},
        scorer._response_method,
    )
    # What metadata it asks for stays.
    if hasattr(scorer, "_metadata_request"):
        made._metadata_request = scorer._metadata_request
    return made


def adapt_scorer(scorer: Any, classes: NDArray[Any], pos_label: Any) -> Any:
    """Tell a scorer the classes, which a fold may lack, and the positive one.

    Parameters
    ----------
    scorer : callable
        Any; one that scikit-learn didn't make is returned as it is.
    classes : ndarray
        The labels that occur, sorted.
    pos_label : object or None
        The positive one of two.

    Returns
    -------
    scorer : callable
    """
    if pos_label is not None and takes_pos_label(scorer):
        return with_keywords(scorer, pos_label=pos_label)
    if isinstance(scorer, SCIKIT_LEARN_SCORER) and "labels" not in scorer._kwargs:
        own = [metric for metric in METRICS.values() if metric.function is scorer._score_func]
        if own and own[0].response != "predict":
            return with_keywords(scorer, labels=classes)
    return scorer


@dataclass(frozen=True)
class ScorerFacts:
    """What is known of a scorer that scikit-learn made.

    Parameters
    ----------
    scorer : callable
        Told the classes, and the positive one of two.
    pos_label : object or None
        The positive one, where it had not said of which class it is.
    needs_every_class : bool
        Whether it is undefined where a class has no case.
    of_labels : bool
        Whether it takes predicted labels.
    ranks_cases : bool
        Whether it looks at the order of cases, as areas under curves do.
    of_ranks : callable or None
        ``of_ranks(positive, score)``: the same number without scikit-learn's checks, where it is
        one of the order of cases and two classes.
    code : int
        Position of the class that `of_ranks` takes for positive.
    """

    scorer: Any
    pos_label: Any
    needs_every_class: bool
    of_labels: bool
    ranks_cases: bool
    of_ranks: Callable[[NDArray[np.bool_], NDArray[np.float64]], float] | None
    code: int = 1


def describe_scorer(scoring: Any, classes: NDArray[Any], pos_label: Any) -> ScorerFacts | None:
    """Say what is known of a scorer.

    Parameters
    ----------
    scoring : str or callable
        As :func:`skcyto.metrics.get_scorer` takes it.
    classes : ndarray
        The labels that occur, sorted.
    pos_label : object or None
        The positive one of two.

    Returns
    -------
    facts : ScorerFacts or None
        None of one that scikit-learn didn't make.
    """
    scorer = get_scorer(scoring)
    if not isinstance(scorer, SCIKIT_LEARN_SCORER):
        return None
    positive = pos_label if takes_pos_label(scorer) else None
    scorer = adapt_scorer(scorer, classes, pos_label)
    of_ranks, code = _of_ranks(scorer, classes)
    return ScorerFacts(
        scorer,
        positive,
        needs_every_class(scorer),
        is_of_labels(scorer),
        _ranks_cases(scorer),
        of_ranks,
        code,
    )


def _of_ranks(scorer: Any, classes: NDArray[Any]) -> tuple[Any, int]:
    plain = set(scorer._kwargs) <= {"pos_label"} and scorer._sign == 1
    by_rank = scorer._response_method == ("decision_function", "predict_proba")
    if len(classes) != 2 or not plain or not by_rank or scorer._score_func not in SCORES_OF_RANKS:
        return None, 1
    label = scorer._kwargs.get("pos_label", classes[1])
    return SCORES_OF_RANKS[scorer._score_func], int(np.flatnonzero(classes == label)[0])


def _ranks_cases(scorer: Any) -> bool:
    method = scorer._response_method
    name = getattr(scorer._score_func, "__name__", "")
    several = not isinstance(method, str)
    return name != "top_k_accuracy_score" and (
        (several and "decision_function" in method)
        or method == "decision_function"
        or "auc" in name
    )


def try_scorer(name: str, scorer: Any, X: Any, y: NDArray[Any], *, several: bool = False) -> None:
    """Score a few rows of every class by a classifier that knows nothing.

    Parameters
    ----------
    name : str
        Of the scorer.
    scorer : callable
        ``scorer(estimator, X, y)``.
    X : array-like, list or DataFrame
        Cases.
    y : ndarray
        Their labels.
    several : bool, default=False
        Whether it may give a dict of scores.

    Raises
    ------
    ValueError
        If the scorer fails, or gives no number.
    """
    _, codes = np.unique(y, return_inverse=True)
    rows = np.sort(
        np.concatenate(
            [np.flatnonzero(codes == code)[:_ROWS_PER_CLASS] for code in range(codes.max() + 1)]
        )
    )
    part, labels = _safe_indexing(X, rows), y[rows]
    model: BaseEstimator = _TriedClassifier(strategy="prior").fit(np.zeros((len(rows), 1)), labels)
    try:
        value = scorer(model, part, labels)
    except (AttributeError, LookupError, AssertionError):
        return  # it asks for what only the estimator has
    except Exception as error:
        if str(getattr(scorer, "__module__", "")).startswith("sklearn.metrics"):
            raise ValueError(
                f"scoring {name!r} is a metric, {getattr(scorer, '__name__', scorer)}, and no "
                "scorer: sklearn.metrics.make_scorer makes one of it"
            ) from error
        raise ValueError(
            f"scoring by {name!r} fails on {len(rows)} rows of all classes, before anything was "
            f"fitted: {type(error).__name__}: {error}"
        ) from error
    values = value if several and isinstance(value, dict) else {name: value}
    for key, each in values.items():
        if np.ndim(each) != 0 or not isinstance(each, (int, float, np.number)):
            raise ValueError(f"scoring by {key!r} must give a number, not {each!r}")
