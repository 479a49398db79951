"""The output of a classifier that is explained."""

from __future__ import annotations

from typing import Any

import numpy as np

from skcyto.inspection._tables import TableEncoder
from skcyto.utils._decision_values import check_one_a_class

_METHODS = ("predict_proba", "decision_function")


def choose_response_method(classifier: Any, response_method: str) -> str:
    """Choose between the probabilities and the margins of a classifier.

    Parameters
    ----------
    classifier : estimator
        Fitted.
    response_method : {"auto", "predict_proba", "decision_function"}
        "auto" takes the first that there is.

    Returns
    -------
    name : str

    Raises
    ------
    ValueError
        If the classifier has no such method.
    """
    wanted = _METHODS if response_method == "auto" else (response_method,)
    for name in wanted:
        if hasattr(classifier, name):
            return name
    raise ValueError(f"{type(classifier).__name__} has no method {' or '.join(wanted)} to explain")


class Response:
    """Predictions of a classifier on encoded rows.

    Parameters
    ----------
    classifier : estimator
        Fitted.
    response_method : str
        Name of the method to call.
    encoder : TableEncoder
        Turns rows into the table that the classifier expects.
    """

    def __init__(self, classifier: Any, response_method: str, encoder: TableEncoder) -> None:
        self.classifier = classifier
        self.response_method = response_method
        self.encoder = encoder

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Predict.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_columns)
            Encoded.

        Returns
        -------
        outputs : ndarray of shape (n_rows, n_outputs), float64
            One output a class, but a single one for margins between two classes.

        Raises
        ------
        ValueError
            If decision values belong to pairs of classes.
        """
        given = getattr(self.classifier, self.response_method)(self.encoder.decode(rows))
        outputs = np.asarray(given, dtype=np.float64).reshape(len(rows), -1)
        if self.response_method == "decision_function":
            check_one_a_class(self.classifier, outputs.shape[1])
        return outputs
