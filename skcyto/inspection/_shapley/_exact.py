"""shap's exact explainers, for linear models and trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from skcyto.inspection._shapley._shap import import_shap, quiet_shap

_PROBABILITY_TREES = (DecisionTreeClassifier, ExtraTreesClassifier, RandomForestClassifier)


def exact_method(
    classifier: Any, table: Any, rows: np.ndarray, *, weighted: bool
) -> tuple[str, str] | None:
    """Say how a classifier can be explained exactly.

    Parameters
    ----------
    classifier : estimator
        Fitted.
    table : ndarray or DataFrame of shape (n_rows, n_features)
        Some rows, as the classifier takes them.
    rows : ndarray of shape (n_rows, n_features)
        The same as floats.
    weighted : bool
        Whether rows of the background have weights, which shap's explainer of trees does not know.

    Returns
    -------
    method : ("linear" or "tree", "predict_proba" or "decision_function") or None
        Explainer, and the output that it explains; None where there is no exact explainer.
    """
    if isinstance(classifier, _PROBABILITY_TREES):
        return None if weighted else ("tree", "predict_proba")
    if isinstance(classifier, GradientBoostingClassifier):
        # shap reads a single tree a stage. HistGradientBoostingClassifier is left to Kernel SHAP:
        # with a background, shap 0.51's values of it do not sum to the margin.
        readable = classifier.n_classes_ == 2 and not weighted
        return ("tree", "decision_function") if readable else None
    return ("linear", "decision_function") if _is_linear(classifier, table, rows) else None


def _is_linear(classifier: Any, table: Any, rows: np.ndarray) -> bool:
    if not all(hasattr(classifier, name) for name in ("coef_", "intercept_", "decision_function")):
        return False
    # Looked at instead of believed: coefficients of SVC, for one, are of pairs of classes.
    margin = np.asarray(classifier.decision_function(table)).reshape(len(rows), -1)
    coef = np.atleast_2d(np.asarray(classifier.coef_))
    if coef.shape != (margin.shape[1], rows.shape[1]):
        return False
    return np.allclose(rows @ coef.T + classifier.intercept_, margin, rtol=1e-6, atol=1e-6)


def explain_exactly(
    kind: str, classifier: Any, rows: np.ndarray, background: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Explain a classifier with shap's exact explainer.

    Parameters
    ----------
    kind : {"linear", "tree"}
        From :func:`exact_method`.
    classifier : estimator
        Fitted.
    rows : ndarray of shape (n_samples, n_features)
        Rows to explain.
    background : ndarray of shape (n_background, n_features)
        Rows that stand in for absent features.
    weights : ndarray of shape (n_background,)
        Weights of these rows; for trees they must be equal.

    Returns
    -------
    values : ndarray of shape (n_samples, n_features, n_outputs)
    """
    shap = import_shap()
    with quiet_shap():
        if kind == "linear":
            # Only the mean of the background enters, which may so be a weighted one.
            mean = weights @ background
            explainer = shap.LinearExplainer(
                (np.atleast_2d(classifier.coef_), classifier.intercept_), mean[np.newaxis]
            )
            values = explainer.shap_values(rows)
        else:
            masker = shap.maskers.Independent(background, max_samples=len(background))
            explainer = shap.TreeExplainer(
                classifier, masker, feature_perturbation="interventional", model_output="raw"
            )
            values = explainer.shap_values(rows, check_additivity=False)
    return np.asarray(values, dtype=np.float64).reshape(len(rows), rows.shape[1], -1)
