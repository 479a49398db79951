"""Search trees of nearest-neighbour estimators, which are made anew from their data.

skops does not write them, and compiled code would follow the numbers of a forged one.
"""

from __future__ import annotations

from sklearn.base import BaseEstimator
from sklearn.neighbors import BallTree, KDTree

_TREES = {"ball_tree": BallTree, "kd_tree": KDTree}


def has_search_tree(estimator: BaseEstimator) -> bool:
    """Tell whether an estimator searches its neighbours in a tree."""
    state = vars(estimator)
    return "_tree" in state and state.get("_fit_method") in _TREES


def leave_out_search_tree(estimator: BaseEstimator) -> None:
    """Take the tree from a copy that is saved."""
    if has_search_tree(estimator):
        estimator._tree = None


def rebuild_search_tree(estimator: BaseEstimator) -> None:
    """Make the tree as `fit` did."""
    if has_search_tree(estimator):
        estimator._tree = _TREES[estimator._fit_method](
            estimator._fit_X,
            estimator.leaf_size,
            metric=estimator.effective_metric_,
            **estimator.effective_metric_params_,
        )
