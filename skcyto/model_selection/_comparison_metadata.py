"""Take groups, weights and other metadata of a fold to the estimators that use them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter


def check_metadata(
    params: Mapping[str, Any] | None, groups: NDArray[Any] | None, n: int
) -> dict[str, NDArray[Any]]:
    """Collect what goes along with every case.

    Parameters
    ----------
    params : dict or None
        Metadata that the user gave, one value a case.
    groups : ndarray or None
        Groups of the comparison.
    n : int
        Number of cases.

    Returns
    -------
    metadata : dict of str to ndarray

    Raises
    ------
    ValueError
        If a length is wrong or groups come twice.
    """
    metadata = {} if groups is None else {"groups": groups}
    for key, value in (params or {}).items():
        if key == "groups":
            raise ValueError("give groups as groups=, not in params")
        array = np.asarray(value)
        if array.ndim == 0 or len(array) != n:
            raise ValueError(f"params[{key!r}] must hold one value for each of the {n} cases")
        metadata[key] = array
    return metadata


def route_metadata(name: str, estimator: BaseEstimator, available: set[str]) -> dict[str, str]:
    """Say which metadata the ``fit`` of a candidate gets, under which names.

    With scikit-learn's metadata routing enabled these are the metadata that the candidate's parts
    have requested (``set_fit_request(groups=True)``). Without it, the last step of a pipeline gets
    what its ``fit`` names, and a search gets groups for its inner folds.

    Parameters
    ----------
    name : str
        Name of the candidate, for messages.
    estimator : estimator
        The candidate.
    available : set of str
        Metadata at hand.

    Returns
    -------
    routes : dict of str to str
        Keyword of ``fit`` to metadata.

    Raises
    ------
    ValueError
        If the user gave metadata that the candidate does not take.
    """
    routes: dict[str, str] = {}
    if get_config()["enable_metadata_routing"]:
        consumed = get_routing_for_object(estimator).consumes("fit", available)
        routes = {key: key for key in consumed}
    else:
        for key in sorted(available):
            keyword = _keyword_of(name, estimator, key)
            if keyword is not None:
                routes[keyword] = key
    lost = available - set(routes.values()) - {"groups"}
    if lost:
        raise ValueError(
            f"candidate {name!r} takes no {sorted(lost)} in fit, so it would be compared without: "
            "leave the candidate or params out, or request them with set_fit_request and "
            "scikit-learn's metadata routing enabled"
        )
    return routes


def _keyword_of(name: str, estimator: Any, key: str) -> str | None:
    if isinstance(estimator, Pipeline):
        last, final = estimator.steps[-1]
        inner = _keyword_of(name, final, key)
        return None if inner is None else f"{last}__{inner}"
    if isinstance(estimator, BaseSearchCV):
        if key != "groups":
            return _keyword_of(name, estimator.estimator, key)
        splitter = check_cv(estimator.cv, classifier=True)
        if get_routing_for_object(splitter).consumes("split", {"groups"}):
            return "groups"
        warnings.warn(
            f"candidate {name!r}: the inner folds of {type(estimator).__name__} split groups, "
            "which tunes it for cases that look like its training cases; give it a grouped cv, "
            "StratifiedGroupKFold(5) for example",
            UserWarning,
            stacklevel=5,
        )
        return None
    return key if has_fit_parameter(estimator, key) else None
