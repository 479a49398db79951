"""The types that a saved model may hold beyond those that skops trusts by itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from skcyto.persistence._stand_ins import FEATURE_SCORES

# How skops may refer to a type: as an object whose attributes are set (which calls no
# constructor), or as the type or function itself (which is not called).
_OBJECT = frozenset({"ObjectNode"})
_SPLITTER = frozenset({"ObjectNode", "TypeNode"})
_FUNCTION = frozenset({"FunctionNode"})

_KERNELS = (
    "CompoundKernel",
    "ConstantKernel",
    "DotProduct",
    "Exponentiation",
    "Matern",
    "Product",
    "RBF",
    "RationalQuadratic",
    "Sum",
    "WhiteKernel",
)
# Parts of scikit-learn's estimators that skops leaves to the caller.
_SKLEARN = (
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(f"sklearn.gaussian_process.kernels.{kernel}" for kernel in _KERNELS),
    # skops trusts it only where the import that enables it came first.
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    # skops leaves trees out because a forged one could read foreign memory when it predicts:
    # `check_trees` looks for that.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
_SPLITTERS = (
    "GroupKFold",
    "GroupShuffleSplit",
    "KFold",
    "LeaveOneGroupOut",
    "LeaveOneOut",
    "PredefinedSplit",
    "RepeatedKFold",
    "RepeatedStratifiedKFold",
    "ShuffleSplit",
    "StratifiedGroupKFold",
    "StratifiedKFold",
    "StratifiedShuffleSplit",
)
# Compressed rows or columns: `check_sparse` looks for indices out of bounds.
_SPARSE = ("_csc.csc_array", "_csc.csc_matrix", "_csr.csr_array", "_csr.csr_matrix")
# What make_column_selector chooses columns by.
_COLUMN_TYPES = ("builtins.object", "numpy.floating", "numpy.integer", "numpy.number")
# How FeatureAgglomeration pools features.
_POOLING = ("numpy.max", "numpy.mean", "numpy.median", "numpy.min")
_IMBLEARN = ("combine", "ensemble", "over_sampling", "pipeline", "under_sampling")


@lru_cache(maxsize=1)
def trusted_types() -> dict[str, frozenset[str]]:
    """List the types that :func:`skcyto.load` trusts, and how a file may refer to each.

    Returns
    -------
    types : dict of str to frozenset of str
        Full name of the type or function, and the names of the skops nodes that may hold it.
    """
    trusted = dict.fromkeys((*_own_types(), *_SKLEARN), _OBJECT)
    trusted["sklearn.tree._tree.Tree"] = frozenset({"TreeNode"})
    trusted["sklearn.utils._bunch.Bunch"] = frozenset({"DictNode"})
    trusted["sklearn.impute._iterative._ImputerTriplet"] = frozenset({"TupleNode"})
    trusted["numpy.dtype"] = frozenset({"DTypeNode"})
    trusted |= dict.fromkeys(
        (f"scipy.sparse.{name}" for name in _SPARSE), frozenset({"SparseMatrixNode"})
    )
    trusted |= dict.fromkeys(_COLUMN_TYPES, frozenset({"TypeNode"}))
    trusted |= dict.fromkeys(_POOLING, _FUNCTION)
    trusted |= dict.fromkeys((f"sklearn.model_selection._split.{s}" for s in _SPLITTERS), _SPLITTER)
    trusted["skcyto.model_selection.RepeatedStratifiedGroupKFold"] = _SPLITTER
    for name in _IMBLEARN:
        trusted |= dict.fromkeys(_public_classes(import_module(f"imblearn.{name}")), _OBJECT)
    # Scores, as parts of scorers: what a name of scikit-learn's scorers stands for, and ours.
    return trusted | dict.fromkeys(_score_functions(), _FUNCTION)


def _own_types() -> Iterable[str]:
    """List skcyto's public estimators and losses, and what stands for tables and the like."""
    from skcyto import losses
    from skcyto.utils import all_estimators

    # A whole search is not saved: its best estimator is.
    yield from (type_name(cls) for name, cls in all_estimators() if name != "OptunaSearchCV")
    for name in losses.__all__:
        item = getattr(losses, name)
        if inspect.isclass(item) and issubclass(item, losses.Loss) and item is not losses.Loss:
            yield type_name(item)
    yield "skcyto.metrics.ClassScorer"
    for name in ("SavedPartial", "SavedSpline", "SavedTable"):
        yield f"skcyto.persistence.{name}"


def _public_classes(package: ModuleType) -> Iterable[str]:
    for name in package.__all__:
        item = getattr(package, name)
        if inspect.isclass(item):
            yield type_name(item)


def _score_functions() -> Iterable[str]:
    from sklearn.metrics import get_scorer, get_scorer_names

    from skcyto import metrics

    yield from map(type_name, FEATURE_SCORES)
    for name in get_scorer_names():
        yield type_name(get_scorer(name)._score_func)
    for name in metrics.__all__:
        if name.endswith(("_score", "_error", "_per_class")):
            yield type_name(getattr(metrics, name))
    for scorer in metrics.get_scorers().values():
        if inspect.isfunction(scorer._score_func):
            yield type_name(scorer._score_func)


def type_name(item: Any) -> str:
    """Return the full name of a class or function, as skops writes it."""
    return f"{item.__module__}.{item.__name__}"


def check_node_kinds(schema: Any, trusted: dict[str, frozenset[str]]) -> list[str]:
    """Find types that a skops schema refers to in a way that would call them.

    skops trusts a name wherever it stands, also where it is called with what the file says. A
    model has no need of that.

    Parameters
    ----------
    schema : object
        Parsed content of schema.json.
    trusted : dict of str to frozenset of str
        As :func:`trusted_types` gives it.

    Returns
    -------
    problems : list of str
    """
    problems = []
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            name = f"{item.get('__module__')}.{item.get('__class__')}"
            loader = item.get("__loader__")
            if name in trusted and loader is not None and loader not in trusted[name]:
                problems.append(f"{name} as {loader}")
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return sorted(set(problems))
