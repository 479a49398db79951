"""Look into a fitted pipeline: its classifier, and the features that reach it."""

from __future__ import annotations

import copy
from difflib import get_close_matches
from typing import Any

from sklearn.base import is_classifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _num_features, check_is_fitted


def split_pipeline(estimator: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Separate what transforms from what classifies.

    Nested pipelines, the best estimator of a search, and what tunes the decision of a classifier
    are looked through. A tuner takes part in the classifier that is returned: its predictions are
    the tuner's own, on the features that reach what it tunes.

    Parameters
    ----------
    estimator : estimator
        Fitted pipeline, search over one, or classifier.

    Returns
    -------
    steps : list of (str, transformer)
        Steps that act in prediction; resampling steps of imbalanced-learn do not.
    classifier : estimator

    Raises
    ------
    TypeError
        If the last step is no classifier.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    if not hasattr(estimator, "__sklearn_tags__") or isinstance(estimator, type):
        raise TypeError(
            "pipeline must be a fitted classifier or a pipeline that ends in one, not "
            f"{estimator!r}"
        )
    steps: list[tuple[str, Any]] = []
    tuners: list[Any] = []
    while True:
        if isinstance(estimator, Pipeline):
            steps += [
                (name, step)
                for name, step in estimator.steps[:-1]
                if step is not None and step != "passthrough" and not hasattr(step, "fit_resample")
            ]
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif tunes_decision(estimator):
            check_is_fitted(estimator, "estimator_")
            tuners.append(estimator)
            estimator = estimator.estimator_
        else:
            break
    if not is_classifier(estimator):
        raise TypeError(
            f"a classifier, or a pipeline that ends in one, is needed; this ends in {estimator!r}"
        )
    check_is_fitted(estimator)
    for tuner in reversed(tuners):
        estimator = _tune_instead(tuner, estimator)
    return steps, estimator


def tunes_decision(estimator: Any) -> bool:
    """Say whether an estimator wraps a classifier and changes its decisions alone.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    tunes : bool
        Probabilities and margins are then those of ``estimator_``.
    """
    # Imported here, since it brings the packages of searches.
    from skcyto.model_selection import TunedLogitBiasClassifierCV

    # By type: `estimator_` of other ensembles is no more than a template.
    return isinstance(
        estimator,
        (TunedLogitBiasClassifierCV, TunedThresholdClassifierCV, FixedThresholdClassifier),
    )


def without_tuners(classifier: Any) -> Any:
    """Return the classifier whose decision is tuned.

    Parameters
    ----------
    classifier : estimator
        Fitted.

    Returns
    -------
    classifier : estimator
        The same where nothing tunes it. Its probabilities and margins are the same in any case.
    """
    while tunes_decision(classifier):
        classifier = classifier.estimator_
    return classifier


def _tune_instead(tuner: Any, classifier: Any) -> Any:
    """Copy a fitted tuner for another estimator: the last part of what it was fitted with."""
    tuner = copy.copy(tuner)
    tuner.estimator_ = classifier
    for name in ("n_features_in_", "feature_names_in_"):
        vars(tuner).pop(name, None)
        if hasattr(classifier, name):
            setattr(tuner, name, getattr(classifier, name))
    return tuner


def transform_to_features(steps: list[tuple[str, Any]], X: Any) -> Any:
    """Send pipeline input through the transforming steps.

    Parameters
    ----------
    steps : list of (str, transformer)
        From :func:`split_pipeline`.
    X : object
        Input of the pipeline.

    Returns
    -------
    features : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
        What the classifier sees.
    """
    for _, step in steps:
        X = step.transform(X)
    return X


def name_features(steps: list[tuple[str, Any]], X: Any, features: Any) -> list[str]:
    """Carry the names of the input through the steps.

    Parameters
    ----------
    steps : list of (str, transformer)
        From :func:`split_pipeline`.
    X : object
        Input of the pipeline.
    features : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
        What the steps made of it.

    Returns
    -------
    names : list of str
        One a feature. A step that cannot tell gives "<step>0", "<step>1", ...
    """
    names = [str(name) for name in X.columns] if hasattr(X, "columns") else None
    maker: str | None = None
    for name, step in steps:
        names = _names_out(step, names)
        maker = name if names is None else None
    n_features = _num_features(features)
    if hasattr(features, "columns") and (names is None or len(names) != n_features):
        names = [str(name) for name in features.columns]
    if names is None or len(names) != n_features:
        names = [f"{maker or 'x'}{position}" for position in range(n_features)]
    return names


def _names_out(step: Any, names: list[str] | None) -> list[str] | None:
    # Extractors of images have names of their own and refuse those of their input.
    for arguments in ([names], []):
        try:
            return [str(item) for item in step.get_feature_names_out(*arguments)]
        except (AttributeError, TypeError, ValueError):
            continue
    return None


def find_feature(feature: str | int, names: list[str]) -> int:
    """Find a feature by its name or column.

    Parameters
    ----------
    feature : str or int
        Name, or column from 0.
    names : list of str
        Names of all features.

    Returns
    -------
    column : int

    Raises
    ------
    ValueError
        If there is no such feature.
    """
    if isinstance(feature, str):
        if feature in names:
            return names.index(feature)
        alike = get_close_matches(feature, names, n=3)
        hint = f"; names like it: {', '.join(alike)}" if alike else f", as {names[0]!r}"
        raise ValueError(f"no feature {feature!r} reaches the classifier{hint}")
    if not 0 <= feature < len(names):
        raise ValueError(f"feature={feature} is no column of {len(names)} features")
    return int(feature)
