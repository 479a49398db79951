"""Scorers for ``scoring=``, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    make_scorer,
    precision_score,
    recall_score,
)
from sklearn.metrics import get_scorer as _sklearn_get_scorer
from sklearn.metrics import get_scorer_names as _sklearn_get_scorer_names
from sklearn.metrics._scorer import _Scorer
from sklearn.utils.validation import column_or_1d

from skcyto.metrics._classification import average_f1_score
from skcyto.metrics._counts import SCORES_OF_COUNTS, score_codes
from skcyto.metrics._probabilistic import (
    expected_calibration_error,
    macro_average_precision_score,
    macro_roc_auc_score,
)
from skcyto.metrics._responses import SCORES_OF_RESPONSES
from skcyto.utils._decision_values import check_one_a_class, decides_by_pairs
from skcyto.utils._validation import check_parameters

Response = Literal["predict", "score", "predict_proba"]
_RESPONSE_METHODS: dict[str, Any] = {
    "predict": "predict",
    "score": ("predict_proba", "decision_function"),
    "predict_proba": "predict_proba",
}


@dataclass(frozen=True)
class Metric:
    """A score with what a comparison must know to show it.

    Parameters
    ----------
    name : str
        Name that users give; scikit-learn's convention: ``neg_`` before a loss.
    title : str
        Name on axes and in tables, of the positive loss where it is a loss.
    function : callable
        ``function(y_true, response, labels=classes) -> float``, in the metric's own sign.
    response : {"predict", "score", "predict_proba"}
        What it takes.
    greater_is_better : bool, default=True
        False for losses.
    bounds : tuple of float, default=(0, 1)
        Smallest and largest value.
    needs_every_class : bool, default=False
        Whether it averages over classes, so that it is undefined where one has no case.
    """

    name: str
    title: str
    function: Callable[..., float]
    response: Response
    greater_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    needs_every_class: bool = False

    def make_scorer(self) -> Any:
        """Return the scikit-learn scorer: larger is better."""
        make: Any = make_scorer if self.response != "score" else _make_class_scorer
        return make(
            self.function,
            response_method=_RESPONSE_METHODS[self.response],
            greater_is_better=self.greater_is_better,
        )

    def of_predictions(
        self, true: NDArray[np.intp], predicted: NDArray[np.intp], response: Any, n_classes: int
    ) -> float:
        """Score class codes and responses, thousands of times if need be, in the metric's own sign.

        Parameters
        ----------
        true, predicted : ndarray of int, shape (n_samples,)
            Class codes from 0 to `n_classes` - 1.
        response : ndarray of shape (n_samples, n_classes) or None
            Of the kind that the metric takes.
        n_classes : int
            Number of classes.

        Returns
        -------
        score : float
            NaN where there is no such response.
        """
        if self.name in SCORES_OF_COUNTS:
            return score_codes(self.name, true, predicted, n_classes)
        if response is None:
            return float("nan")
        if self.name in SCORES_OF_RESPONSES:
            return SCORES_OF_RESPONSES[self.name](true, response)
        # Class codes serve as labels: what they stand for makes no difference to any of these.
        return float(self.function(true, response, labels=np.arange(n_classes)))


class ClassScorer(_Scorer):
    """Refuses decision values of pairs of classes, which look like scores of three classes."""

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> Any:
        if not hasattr(estimator, "predict_proba") and decides_by_pairs(estimator):
            check_one_a_class(estimator, len(estimator.classes_))
        return super()._score(method_caller, estimator, X, y_true, **kwargs)


def _make_class_scorer(function: Any, **settings: Any) -> ClassScorer:
    made = make_scorer(function, **settings)
    return ClassScorer(made._score_func, made._sign, made._kwargs, made._response_method)


def _accuracy(y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None) -> float:
    return float(accuracy_score(y_true, y_pred, sample_weight=sample_weight))


def _balanced_accuracy(
    y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None
) -> float:
    # As scikit-learn's, without its warning where a class is predicted that the fold doesn't hold.
    recalls = recall_score(
        y_true,
        y_pred,
        # Of several labels a case there is no balanced accuracy.
        labels=np.unique(column_or_1d(y_true)),
        average="macro",
        sample_weight=sample_weight,
        zero_division=0.0,
    )
    return float(recalls)


def _macro(
    function: Callable[..., float],
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    sample_weight: Any = None,
) -> float:
    # `labels` is ignored: scikit-learn's macro averages run over the labels that occur.
    return float(
        function(y_true, y_pred, average="macro", sample_weight=sample_weight, zero_division=0.0)
    )


def _average_f1(
    y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None
) -> float:
    return average_f1_score(y_true, y_pred, sample_weight=sample_weight, zero_division=0.0)


def _both_columns(y_prob: Any) -> NDArray[np.float64]:
    """Give probabilities of the second of two classes a column for the first."""
    prob = np.asarray(y_prob, dtype=float)
    return np.column_stack([1.0 - prob, prob]) if prob.ndim == 1 else prob


def _log_loss(y_true: Any, y_prob: Any, *, labels: Any = None, sample_weight: Any = None) -> float:
    return float(
        log_loss(y_true, _both_columns(y_prob), labels=labels, sample_weight=sample_weight)
    )


def _brier(y_true: Any, y_prob: Any, *, labels: Any = None, sample_weight: Any = None) -> float:
    return float(
        brier_score_loss(y_true, _both_columns(y_prob), labels=labels, sample_weight=sample_weight)
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", _accuracy, "predict"),
        Metric(
            "precision_macro",
            "macro precision",
            partial(_macro, precision_score),
            "predict",
            needs_every_class=True,
        ),
        Metric(
            "recall_macro",
            "macro recall",
            partial(_macro, recall_score),
            "predict",
            needs_every_class=True,
        ),
        Metric(
            "f1_macro", "macro F1", partial(_macro, f1_score), "predict", needs_every_class=True
        ),
        Metric("average_f1", "average F1", _average_f1, "predict", needs_every_class=True),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            _balanced_accuracy,
            "predict",
            needs_every_class=True,
        ),
        Metric("roc_auc_ovr", "ROC AUC", macro_roc_auc_score, "score", needs_every_class=True),
        Metric(
            "average_precision_macro",
            "macro average precision",
            macro_average_precision_score,
            "score",
            needs_every_class=True,
        ),
        Metric("neg_log_loss", "log-loss", _log_loss, "predict_proba", False, (0.0, np.inf)),
        Metric("neg_brier_score", "Brier score", _brier, "predict_proba", False, (0.0, 2.0)),
        Metric(
            "neg_expected_calibration_error",
            "expected calibration error",
            expected_calibration_error,
            "predict_proba",
            False,
        ),
    )
}


def get_scorer(scoring: Any) -> Any:
    """Get a scorer of skcyto or scikit-learn by name.

    Use it wherever scikit-learn takes ``scoring=``: its own functions know skcyto's names only
    through this function. Names that scikit-learn has too mean the same number; skcyto's scorers
    of them also take what scikit-learn's refuse: "roc_auc_ovr" is content with decision values,
    and none warns of a class that is never predicted, whose precision is 0.

    Parameters
    ----------
    scoring : str or callable
        One of :func:`get_scorer_names`; a callable is returned as it is.

    Returns
    -------
    scorer : callable
        Called with (estimator, X, y); larger is better.

    Raises
    ------
    ValueError
        If the name is unknown.

    See Also
    --------
    get_scorers : Several at once, for multi-metric searches.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.metrics import get_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_val_score(GaussianNB(), X, y, scoring=get_scorer("average_f1")).round(3)
    array([0.933, 0.968, 0.939, 0.939, 1.   ])
    """
    if isinstance(scoring, str) and scoring in METRICS:
        return METRICS[scoring].make_scorer()
    if isinstance(scoring, str) and scoring not in _sklearn_get_scorer_names():
        plain = {name.replace("_", ""): name for name in get_scorer_names()}
        near = difflib.get_close_matches(scoring.lower().replace("_", ""), plain, 1, 0.7)
        hint = f", did you mean {plain[near[0]]!r}?" if near else ";"
        raise ValueError(
            f"scoring={scoring!r} is unknown{hint} skcyto.metrics.get_scorer_names() lists the "
            "names"
        )
    return _sklearn_get_scorer(scoring)


def get_scorer_names() -> list[str]:
    """List the names that :func:`get_scorer` knows: skcyto's own and scikit-learn's.

    Returns
    -------
    names : list of str
        Sorted.

    Examples
    --------
    >>> from skcyto.metrics import get_scorer_names
    >>> "average_f1" in get_scorer_names()
    True
    """
    return sorted({*METRICS, *_sklearn_get_scorer_names()})


@check_parameters(names=["array-like", None])
def get_scorers(names: Iterable[str] | None = None) -> dict[str, Any]:
    """Get several scorers, for the multi-metric ``scoring=`` of searches and cross-validation.

    Parameters
    ----------
    names : iterable of str, default=None
        Names from :func:`get_scorer_names`; None takes the eleven of skcyto.

    Returns
    -------
    scorers : dict of str to callable
        In the order given.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.metrics import get_scorers
    >>> X, y = load_iris(return_X_y=True)
    >>> scores = cross_validate(GaussianNB(), X, y, scoring=get_scorers(["f1_macro", "average_f1"]))
    >>> sorted(key for key in scores if key.startswith("test"))
    ['test_average_f1', 'test_f1_macro']
    """
    return {name: get_scorer(name) for name in (METRICS if names is None else names)}


def make_recall_scorer(label: Any) -> Any:
    """Make a scorer of one class's recall, for example the sensitivity for the rare one.

    Parameters
    ----------
    label : object
        The class.

    Returns
    -------
    scorer : callable
        Called with (estimator, X, y); 0 where the class has no case.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.metrics import make_recall_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> make_recall_scorer(2)(GaussianNB().fit(X, y), X, y)
    0.94
    """
    return make_scorer(_recall_of, label=label)


def _recall_of(y_true: Any, y_pred: Any, *, label: Any, sample_weight: Any = None) -> float:
    return float(
        recall_score(
            y_true,
            y_pred,
            labels=[label],
            average="macro",
            sample_weight=sample_weight,
            zero_division=0.0,
        )
    )
