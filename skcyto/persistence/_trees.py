"""Check decision trees that come from a file.

scikit-learn's trees follow node numbers and read features without looking at bounds, which is right
for trees that it grew itself. In a forged file they could make a prediction read foreign memory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import (
    BaseEnsemble,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree
from sklearn.utils import check_array

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
    items = list(walk(model))
    checked: set[int] = set()
    for item in items:
        if isinstance(item, Tree):
            _check_tree(item)
        elif isinstance(item, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
            checked.update(_check_histogram_boosting(item))
        elif hasattr(item, "__dict__"):
            _check_owner(item)
    if any(isinstance(item, TreePredictor) and id(item) not in checked for item in items):
        raise _forged("it stands where scikit-learn puts none")


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
    # What else has members, such as a vote, has them check for themselves.
    if isinstance(item, BaseEnsemble) and members is not None:
        if not isinstance(members, list | np.ndarray):
            raise _forged(f"its ensemble is no list but a {type(members).__name__}")
        flat = members if isinstance(members, list) else members.ravel()
        found = [vars(member).get("tree_") for member in flat if hasattr(member, "__dict__")]
        trees += [tree for tree in found if isinstance(tree, Tree)]
    if trees:
        _check_methods(item)
        if not isinstance(n_features, int | np.integer):
            raise _forged("its estimator does not say how many features it has")
        if max(tree.n_features for tree in trees) > n_features:
            raise _forged("it reads features that its estimator does not have")
    # The rounds of gradient boosting write as many columns as there are trees in a round.
    rounds = state.get("n_trees_per_iteration_")
    if rounds is not None and trees and getattr(members, "shape", ())[1:] != (rounds,):
        raise _forged("its rounds hold another number of trees than there are classes")


def _check_histogram_boosting(item: Any) -> list[int]:
    """Check the trees of histogram boosting, which are of their own kind; return their ids."""
    state = vars(item)
    rounds = state.get("_predictors", [])
    if not isinstance(rounds, list) or not all(isinstance(each, list) for each in rounds):
        raise _forged("its rounds are no lists")
    predictors = [each for predictors in rounds for each in predictors]
    if not all(isinstance(each, TreePredictor) for each in predictors):
        raise _forged("its rounds hold something else than trees")
    n_features = state.get("n_features_in_")
    if predictors and not isinstance(n_features, int | np.integer):
        raise _forged("its estimator does not say how many features it has")
    _check_methods(item)
    # The encoder of categories is made anew. One that a file holds could hand the trees fewer
    # columns than they read, unless it is scikit-learn's own, of which the user trusts a function.
    encoder = state.get("_preprocessor")
    own = encoder is None or any(
        isinstance(each, partial) and each.func is check_array for each in walk(encoder)
    )
    if not own or "_in_fit" in state:
        raise _forged("its estimator does not check what it hands to it")
    for predictor in predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, n_features)
        categorical = ~leaf & nodes["is_categorical"].astype(bool)
        _check_categorical(state, nodes["feature_idx"][categorical], n_features)
        sets = nodes["bitset_idx"][categorical]
        if len(sets) and sets.max() >= len(predictor.raw_left_cat_bitsets):
            raise _forged("it reads categories that it does not have")
    return [id(each) for each in predictors]


def _check_categorical(state: dict[str, Any], features: np.ndarray, n_features: Any) -> None:
    """Check that the features by whose categories nodes decide have such."""
    if len(features) == 0:
        return
    mapper = state.get("_bin_mapper")
    if type(mapper) is not _BinMapper:
        raise _forged("it has no categories")
    _check_methods(mapper)
    known = getattr(mapper, "is_categorical_", None)
    if not isinstance(known, np.ndarray) or known.shape != (n_features,):
        raise _forged("it does not say which features have categories")
    if known.dtype.kind not in ("b", "u") or not known[features.astype(np.int64)].all():
        raise _forged("it reads categories that it does not have")


def _check_methods(item: Any) -> None:
    """Check that no attribute takes the place of a method, such as the one that checks `X`."""
    for name in vars(item):
        if callable(getattr(type(item), name, None)):
            raise _forged(f"its estimator has another {name} than its class")


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
