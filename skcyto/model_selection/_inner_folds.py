"""Inner folds of scikit-learn's meta-estimators, where groups may not reach them by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import RFECV
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.multioutput import ClassifierChain, RegressorChain
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from skcyto.model_selection._groups import GROUPS, has_folds

# Where no `cv` means no folds, not five.
_NO_FOLDS_BY_DEFAULT = (ClassifierChain, RegressorChain, RidgeClassifierCV, RidgeCV)


def owns_folds(estimator: Any) -> bool:
    """Whether an estimator splits the rows that it is fitted on by a `cv` of its own.

    Returns
    -------
    owns_folds : bool
        False for "prefit", which splits nothing.
    """
    if not isinstance(estimator, BaseEstimator) or isinstance(estimator, type):
        return False
    params = estimator.get_params(deep=False)
    if "cv" not in params or (isinstance(params["cv"], str) and params["cv"] == "prefit"):
        return False
    return params["cv"] is not None or not isinstance(estimator, _NO_FOLDS_BY_DEFAULT)


def splits_groups(estimator: Any) -> bool:
    """Whether an estimator has inner folds of its own that know nothing of groups.

    Returns
    -------
    splits_groups : bool
        False also where `cv` holds ready splits, of which nothing is known.
    """
    if not owns_folds(estimator):
        return False
    cv = estimator.cv
    is_default = cv is None or isinstance(cv, (int, float))
    return is_default or (hasattr(cv, "split") and not _keeps_groups(estimator))


def fix_grouped_folds(estimator: Any, X: Any, y: Any, groups: Any) -> None:
    """Draw the inner folds that need groups and would not get them.

    ``StackingClassifier``, ``TunedThresholdClassifierCV`` and others hand no groups to their `cv`
    unless metadata routing does, and a pipeline routes none to selectors with folds.

    Parameters
    ----------
    estimator : estimator
        To be fitted on just these rows; its `cv` parameters are changed in place.
    X, y, groups : array-like
        Rows to fit, their labels and groups.
    """
    for part in _unserved(estimator):
        part.set_params(cv=list(part.cv.split(X, y, groups)))


def check_grouped_folds(estimator: Any, *, fixable: bool, prefix: str = "") -> None:
    """Refuse grouped folds that would get no groups, neither by a keyword nor by being drawn.

    Parameters
    ----------
    estimator : estimator
        A candidate, or one that is fitted on folds.
    fixable : bool
        Whether :func:`fix_grouped_folds` is going to see the rows that it is fitted on.
    prefix : str, default=""
        Beginning of the message.

    Raises
    ------
    ValueError
        Naming the parts. Never with metadata routing on, where users say themselves what goes
        where.
    """
    if get_config()["enable_metadata_routing"]:
        return
    served = {id(part) for part in _served_by_keyword(estimator)}
    if fixable:
        served |= {id(part) for part in _unserved(estimator)}
    parts = [estimator, *estimator.get_params(deep=True).values()]
    lost = [part for part in parts if _keeps_groups(part) and id(part) not in served]
    if lost:
        names = " and ".join(dict.fromkeys(type(part).__name__ for part in lost))
        raise ValueError(
            f"{prefix}groups cannot reach the grouped cv of {names}, which is fitted on folds of "
            "another estimator: give it a cv that needs no groups, take it out of the other's "
            "folds, or enable scikit-learn's metadata routing"
        )


def _keeps_groups(estimator: Any) -> bool:
    if not owns_folds(estimator) or not hasattr(estimator.cv, "split"):
        return False
    return bool(get_routing_for_object(estimator.cv).consumes("split", {GROUPS}))


def _unserved(estimator: Any) -> list[Any]:
    """List parts with grouped folds that see all rows of a fit, and that groups do not reach."""
    routing = get_config()["enable_metadata_routing"]
    served = set() if routing else {id(part) for part in _served_by_keyword(estimator)}
    return [
        part
        for part, method in _parts_on_all_rows(estimator, "fit")
        if _keeps_groups(part)
        and id(part) not in served
        and not (routing and get_routing_for_object(part).consumes(method, {GROUPS}))
    ]


def _parts_on_all_rows(estimator: Any, method: str) -> Iterator[tuple[Any, str]]:
    """Yield the parts that are fitted on the very rows of their whole, and by which method."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            is_last = name == estimator.steps[-1][0]
            yield from _parts_on_all_rows(step, method if is_last else "fit_transform")
            if hasattr(step, "fit_resample"):
                return
    elif isinstance(estimator, VotingClassifier):
        for _, member in estimator.estimators:
            yield from _parts_on_all_rows(member, "fit")
    elif isinstance(estimator, FeatureUnion):
        for _, member in estimator.transformer_list:
            yield from _parts_on_all_rows(member, method)
    elif isinstance(estimator, BaseEstimator):
        yield estimator, method


def _served_by_keyword(estimator: Any) -> Iterator[Any]:
    """Yield the parts with folds to which a keyword of ``fit`` takes groups."""
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from _served_by_keyword(step)
    elif isinstance(estimator, RFECV):
        yield estimator
    elif has_folds(estimator):
        yield estimator
        yield from _served_by_keyword(estimator.estimator)
