"""Which keywords of a ``fit`` take groups to the parts of an estimator that use them."""

from __future__ import annotations

from typing import Any

from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.feature_selection import RFECV
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

GROUPS = "groups"


def group_keywords(estimator: Any) -> list[str]:
    """Name the keywords under which ``estimator.fit`` takes groups, metadata routing being off.

    Parameters
    ----------
    estimator : estimator
        A pipeline hands groups to every step whose ``fit`` names them. A search, or another
        estimator with folds of its own, hands them to these folds where they keep groups whole.

    Returns
    -------
    keywords : list of str
        Empty if nothing in it takes groups.
    """
    if isinstance(estimator, Pipeline):
        return [
            f"{name}__{keyword}"
            for name, step in estimator.steps
            if isinstance(step, BaseEstimator)
            for keyword in group_keywords(step)
        ]
    if has_folds(estimator):
        own = [GROUPS] if has_grouped_folds(estimator) else []
        if hasattr(estimator, "_hands_groups_on"):
            # It asks this very function what its estimator takes.
            return own
        # `groups` itself goes to the folds and no further.
        return own + [key for key in group_keywords(estimator.estimator) if key != GROUPS]
    if isinstance(estimator, RFECV):  # takes groups without naming them
        return [GROUPS] if has_grouped_folds(estimator) else []
    return [GROUPS] if has_fit_parameter(estimator, GROUPS) else []


def hand_groups_on(estimator: Any, groups: Any) -> dict[str, Any]:
    """Collect what the ``fit`` of an estimator is to be given, where groups are at hand.

    Returns
    -------
    fit_params : dict
        Empty with scikit-learn's metadata routing on, where users say themselves what goes where.
    """
    if groups is None or get_config()["enable_metadata_routing"]:
        return {}
    return dict.fromkeys(group_keywords(estimator), groups)


def has_folds(estimator: Any) -> bool:
    """Whether an estimator fits another one on folds of its own."""
    return isinstance(estimator, BaseSearchCV) or hasattr(estimator, "_hands_groups_on")


def has_grouped_folds(estimator: Any) -> bool:
    """Whether the folds of a search keep groups whole."""
    if isinstance(estimator.cv, (str, float)):  # "prefit", or the share of a single split
        return False
    splitter = check_cv(estimator.cv, classifier=True)
    return bool(get_routing_for_object(splitter).consumes("split", {GROUPS}))


def unreached_by_groups(estimator: Any) -> list[str]:
    """Name the parts of an estimator that use groups and that no keyword leads to.

    Returns
    -------
    names : list of str
        Names of classes, each once.
    """
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if isinstance(step, BaseEstimator)]
        names = [name for step in steps for name in unreached_by_groups(step)]
    elif has_folds(estimator):
        inner = estimator.estimator
        names = unreached_by_groups(inner)
        if not hasattr(estimator, "_hands_groups_on") and GROUPS in group_keywords(inner):
            names.append(type(inner).__name__)
    elif has_fit_parameter(estimator, GROUPS):
        names = []
    else:
        parts = estimator.get_params(deep=True).values()
        names = [
            type(part).__name__
            for part in parts
            if isinstance(part, BaseEstimator) and has_fit_parameter(part, GROUPS)
        ]
    return list(dict.fromkeys(names))
