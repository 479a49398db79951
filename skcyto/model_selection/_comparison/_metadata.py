"""Take groups, weights and other metadata of a fold to the estimators that use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from skcyto.model_selection._groups import (
    GROUPS,
    group_keywords,
    has_folds,
    unreached_by_groups,
)
from skcyto.model_selection._inner_folds import check_grouped_folds, splits_groups
from skcyto.utils._warnings import warn


def route_metadata(
    candidates: Mapping[str, BaseEstimator], available: set[str]
) -> dict[str, dict[str, str]]:
    """Say which metadata the ``fit`` of every candidate gets, under which names.

    With scikit-learn's metadata routing enabled these are the metadata that the candidate's parts
    have requested (``set_fit_request(groups=True)``). Without it, the last step of a pipeline gets
    what its ``fit`` names, every step that uses groups gets them, and a search gets them for its
    inner folds too.

    Returns
    -------
    routes : dict of str to dict
        Keyword of ``fit`` to metadata, by candidate.

    Raises
    ------
    ValueError
        If the user gave metadata that a candidate does not take, or a part of it has grouped
        folds that groups cannot reach.
    """
    return {name: _route(name, candidate, available) for name, candidate in candidates.items()}


def _route(name: str, estimator: BaseEstimator, available: set[str]) -> dict[str, str]:
    routes: dict[str, str] = {}
    if get_config()["enable_metadata_routing"]:
        consumed = get_routing_for_object(estimator).consumes("fit", available)
        routes = {key: key for key in consumed}
    else:
        for key in sorted(available - {GROUPS}):
            keyword = _keyword_of(estimator, key)
            if keyword is not None:
                routes[keyword] = key
        if GROUPS in available:
            routes |= dict.fromkeys(group_keywords(estimator), GROUPS)
            check_grouped_folds(estimator, fixable=True, prefix=f"candidate {name!r}: ")
            _warn_of_lost_groups(name, estimator)
    if GROUPS in available:
        _warn_of_split_groups(name, estimator)
    lost = available - set(routes.values()) - {GROUPS}
    if lost:
        raise ValueError(
            f"candidate {name!r} takes no {sorted(lost)} in fit, so it would be compared without: "
            "leave the candidate or params out, or request them with set_fit_request and "
            "scikit-learn's metadata routing enabled"
        )
    return routes


def _keyword_of(estimator: Any, key: str) -> str | None:
    if isinstance(estimator, Pipeline):
        last, final = estimator.steps[-1]
        inner = _keyword_of(final, key)
        return None if inner is None else f"{last}__{inner}"
    if has_folds(estimator) and not has_fit_parameter(estimator, key):
        return _keyword_of(estimator.estimator, key)
    return key if has_fit_parameter(estimator, key) else None


def _warn_of_split_groups(name: str, estimator: Any) -> None:
    parts = [estimator, *estimator.get_params(deep=True).values()]
    kinds = dict.fromkeys(type(part).__name__ for part in parts if splits_groups(part))
    for kind in kinds:
        warn(
            f"candidate {name!r}: the inner folds of {kind} split groups, "
            "which tunes it for cases that look like its training cases; give it a grouped cv, "
            "StratifiedGroupKFold(5) for example"
        )


def _warn_of_lost_groups(name: str, estimator: Any) -> None:
    for part in unreached_by_groups(estimator):
        warn(
            f"candidate {name!r}: groups do not reach {part}, whose validation rows may share "
            "groups with the rows that train it; make it a step of a pipeline, or request them "
            "with set_fit_request(groups=True) and scikit-learn's metadata routing enabled"
        )
