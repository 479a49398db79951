"""Digests of data and estimators: what a result on disk depends on."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

_PLAIN = (bool, int, float, str, bytes, type(None))


def fingerprint_data(X: Any, y: NDArray[Any], metadata: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest of the data; of files, size and time of the last change stand for content."""
    parts: list[Any] = [joblib.hash(X), joblib.hash(np.asarray(y)), joblib.hash(dict(metadata))]
    if isinstance(X, pd.DataFrame):
        columns = [X[name] for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]
    elif isinstance(X, np.ndarray) and np.issubdtype(X.dtype, np.number):
        columns = []
    else:
        columns = [X]
    for column in columns:
        for item in column:
            for path in item if isinstance(item, (tuple, list)) else (item,):
                if isinstance(path, (str, os.PathLike)) and os.path.isfile(path):
                    facts = os.stat(path)
                    parts.append((facts.st_size, facts.st_mtime_ns))
    return joblib.hash(parts)


def fingerprint_estimator(estimator: Any) -> str:
    """Return a digest of an estimator: its classes, their versions or code, all parameters.

    Parameters
    ----------
    estimator : object
        An estimator that is not fitted, a scorer, a function, or a container of these.
    """
    return hashlib.sha256(json.dumps(_describe(estimator)).encode()).hexdigest()


def _describe(value: Any, known: tuple[Any, ...] = ()) -> Any:
    """Describe a value; `known` are the functions and objects inside of which it was found."""
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        # Where a cache lies makes no difference to what is computed.
        params.pop("memory", None)
        described = {key: _describe(params[key], known) for key in sorted(params)}
        return [_code_of(type(value)), described]
    if isinstance(value, partial):
        return ["partial", *(_describe(v, known) for v in (value.func, value.args, value.keywords))]
    if isinstance(value, FunctionType):
        closure: list[Any] = []
        if not _is_among(value, known):  # one that calls itself is in its own closure
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            closure = [_describe(each, (*known, value)) for each in cells]
        return [_code_of(value), _describe(value.__defaults__, (*known, value)), closure]
    if isinstance(value, type) or inspect.isroutine(value):
        return _code_of(value)
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [_describe(item, known) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[_describe(k, known), _describe(value[k], known)] for k in value]]
    if isinstance(value, _PLAIN):
        return repr(value)
    return _describe_object(value, known)


def _describe_object(value: Any, known: tuple[Any, ...]) -> Any:
    """Describe by what is pickled, and by the code of functions, of which a pickle has the name."""
    held = dict(sorted(getattr(value, "__dict__", {}).items()))
    try:
        pickled = joblib.hash(value)
    except Exception:  # Whatever cannot be pickled fails in its own way.
        inside = [] if _is_among(value, known) else _describe(held, (*known, value))
        return [_code_of(type(value)), inside]
    functions = {name: _describe(item, known) for name, item in held.items() if _is_function(item)}
    return [_code_of(type(value)), pickled, functions]


def _is_among(value: Any, others: tuple[Any, ...]) -> bool:
    return any(value is other for other in others)


def _is_function(value: Any) -> bool:
    return isinstance(value, (FunctionType, partial))


def _code_of(item: Any, known: tuple[Any, ...] = ()) -> Any:
    """Name a class or function, with the version of its package or else its code."""
    module = getattr(item, "__module__", None) or ""
    name = f"{module}.{getattr(item, '__qualname__', repr(item))}"
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", None)
    if version is not None:
        return [name, str(version)]
    if isinstance(item, FunctionType) and item not in known:
        return [name, _code(item.__code__), _globals_of(item, (*known, item))]
    if isinstance(item, type) and module != "builtins":
        bases = [_code_of(base, known) for base in item.__bases__ if base is not object]
        return [name, bases, _members_of(item, (*known, item))]
    return [name]


def _code(code: CodeType) -> Any:
    """Describe what a function does; its source would be that of all functions on its line."""
    constants = [_constant(item) for item in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]


def _constant(item: Any) -> Any:
    if isinstance(item, CodeType):
        return _code(item)
    if isinstance(item, frozenset):  # whose order is another one in every process
        return ["frozenset", *sorted(map(repr, item))]
    return repr(item)


def _globals_of(function: FunctionType, known: tuple[Any, ...]) -> Any:
    """Describe the constants and functions of its module that a function uses."""
    found: dict[str, Any] = {}
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, _PLAIN) and name in function.__globals__:
            found[name] = repr(value)
        elif isinstance(value, FunctionType) and value not in known:
            found[name] = _code_of(value, known)
    return dict(sorted(found.items()))


def _names(code: CodeType) -> set[str]:
    inner = [_names(item) for item in code.co_consts if isinstance(item, CodeType)]
    return set(code.co_names).union(*inner)


def _members_of(cls: type, known: tuple[Any, ...]) -> Any:
    """Describe the methods and constants of a class."""
    found: dict[str, Any] = {}
    for name, value in vars(cls).items():
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        if isinstance(value, FunctionType):
            found[name] = [_code_of(value, known), repr(value.__defaults__)]
        elif isinstance(value, _PLAIN) and name not in ("__doc__", "__module__", "__firstlineno__"):
            found[name] = repr(value)
    return dict(sorted(found.items()))
