"""A classifier whose predictions are there already, for scorers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if


class FixedPredictions(ClassifierMixin, BaseEstimator):
    """Predicts what it was given, whatever it is asked.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        Predicted labels.
    classes : ndarray of shape (n_classes,)
        All classes, sorted.
    response : ndarray of shape (n_samples, n_classes), default=None
        Probabilities or decision values.
    kind : {"predict_proba", "decision_function"} or None, default=None
        Which of them `response` holds; what it does not hold, the classifier does not have.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        classes: NDArray[Any],
        response: NDArray[np.float64] | None = None,
        kind: str | None = None,
    ) -> None:
        self.labels = labels
        self.classes = classes
        self.response = response
        self.kind = kind

    @property
    def classes_(self) -> NDArray[Any]:
        """All classes."""
        return self.classes

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the labels."""
        return self.labels

    @available_if(lambda self: self.kind == "predict_proba")
    def predict_proba(self, X: Any) -> NDArray[np.float64] | None:
        """Return the probabilities."""
        return self.response

    @available_if(lambda self: self.kind == "decision_function")
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the decision values, of two classes those of the second."""
        assert self.response is not None
        return self.response[:, 1] if len(self.classes) == 2 else self.response
