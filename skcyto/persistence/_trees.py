"""Check decision trees that come from a file.

scikit-learn's trees follow node numbers and read features without looking at bounds, which is right
for trees that it grew itself. In a forged file they could make a prediction read foreign memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree._tree import Tree

from skcyto.exceptions import InvalidModelError
from skcyto.persistence._walk import walk


def check_trees(model: Any) -> None:
    """Refuse trees with nodes that point outside of the tree or of the features.

    Parameters
    ----------
    model : object
        What was loaded.

    Raises
    ------
    InvalidModelError
        If a tree is not as scikit-learn grows them.
    """
    for item in walk(model):
        if isinstance(item, Tree):
            _check_tree(item)
        elif hasattr(item, "__dict__"):
            _check_owner(item)


def _check_tree(tree: Tree) -> None:
    nodes = tree.__getstate__()["nodes"]
    _check_nodes(
        nodes["left_child"],
        nodes["right_child"],
        nodes["feature"],
        nodes["left_child"] == -1,
        tree.n_features,
    )
    if len(tree.value) != len(nodes):
        raise _forged("its values do not match its nodes")


def _check_owner(item: Any) -> None:
    """Check that an estimator hands its trees as many features as they read."""
    state = vars(item)
    n_features = state.get("n_features_in_")
    own = state.get("tree_")
    trees = [own] if isinstance(own, Tree) else []
    members = state.get("estimators_")
    if isinstance(members, list | np.ndarray):
        flat = members if isinstance(members, list) else members.ravel()
        found = [vars(member).get("tree_") for member in flat if hasattr(member, "__dict__")]
        trees += [tree for tree in found if isinstance(tree, Tree)]
    if trees:
        if not isinstance(n_features, int | np.integer):
            raise _forged("its estimator does not say how many features it has")
        if max(tree.n_features for tree in trees) > n_features:
            raise _forged("it reads features that its estimator does not have")
    # The rounds of gradient boosting write as many columns as there are trees in a round.
    rounds = state.get("n_trees_per_iteration_")
    if rounds is not None and trees and getattr(members, "shape", ())[1:] != (rounds,):
        raise _forged("its rounds hold another number of trees than there are classes")
    for predictor in _predictors(state.get("_predictors")):
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        if not isinstance(n_features, int | np.integer):
            raise _forged("its estimator does not say how many features it has")
        _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, n_features)
        sets = nodes["bitset_idx"][~leaf & nodes["is_categorical"].astype(bool)]
        if len(sets) and sets.max() >= len(predictor.raw_left_cat_bitsets):
            raise _forged("it reads categories that it does not have")


def _predictors(rounds: Any) -> list[Any]:
    if not isinstance(rounds, list):
        return []
    return [each for predictors in rounds for each in predictors if hasattr(each, "nodes")]


def _check_nodes(
    left: np.ndarray, right: np.ndarray, feature: np.ndarray, leaf: np.ndarray, n_features: Any
) -> None:
    n_nodes = len(left)
    if n_nodes == 0:
        raise _forged("it has no nodes")
    inner = np.flatnonzero(~leaf)
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        # Trees are numbered from the root, so that a walk that only goes up comes to an end.
        if ((child <= inner) | (child >= n_nodes)).any():
            raise _forged("its nodes point outside of it")
    used = feature[inner].astype(np.int64)
    if ((used < 0) | (used >= n_features)).any():
        raise _forged("it reads features that its estimator does not have")


def _forged(reason: str) -> InvalidModelError:
    return InvalidModelError(
        f"the model holds a decision tree that scikit-learn did not grow: {reason}. Nothing was "
        "run; do not use this file"
    )
