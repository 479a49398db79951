"""Checks of arguments, with errors that name the argument."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils._param_validation import validate_params

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Kinds of arguments that many functions share, as scikit-learn's constraints.
PATH: list[Any] = [str, os.PathLike]
OPTIONAL_PATH: list[Any] = [*PATH, None]
RANDOM_STATE: list[Any] = ["random_state"]


def check_parameters(**constraints: list[Any]) -> Callable[[_Function], _Function]:
    """Check a function's arguments as scikit-learn checks an estimator's parameters.

    Parameters
    ----------
    **constraints : list
        What each argument may be: types and scikit-learn's constraints. Arguments that are not
        named are not checked.

    Returns
    -------
    decorator : callable
        Keeps the function's signature, for type checkers too, which scikit-learn's own does not.
    """
    decorate = validate_params(constraints, prefer_skip_nested_validation=False)
    return cast("Callable[[_Function], _Function]", decorate)


def plain_vector(values: Any) -> Any:
    """Return what numpy, or scikit-learn, would take for something else as a plain array.

    Parameters
    ----------
    values : array-like
        Labels or groups as the user gave them.

    Returns
    -------
    values : array-like
        A list of tuples as an array of tuples, pandas' own types without missing values, such as
        Int64, as what they hold; everything else as it is.
    """
    if isinstance(values, list | tuple) and values and all(isinstance(v, tuple) for v in values):
        return np.fromiter(values, dtype=object, count=len(values))
    is_pandas = isinstance(getattr(values, "dtype", None), pd.api.extensions.ExtensionDtype)
    return np.asarray(values) if is_pandas and not pd.isna(values).any() else values


def check_vector(values: Any, name: str) -> NDArray[Any]:
    """Return labels, or other values of one kind, as an array of one dimension.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, 1)
        Numbers, text or other values that have an order.
    name : str
        The argument's name.

    Returns
    -------
    values : ndarray of shape (n,)

    Raises
    ------
    TypeError
        If they are of kinds that have no order among them.
    ValueError
        If there is no dimension or more than one, or a value is missing.
    """
    array = np.asarray(plain_vector(values))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be a sequence of one value each, not "
            + (f"of shape {array.shape}" if array.ndim else f"a {type(values).__name__}")
        )
    if array.dtype.kind in "fc" and np.isnan(array).any():
        raise ValueError(
            f"{name} has no value at position {int(np.argmax(np.isnan(array)))}: give one"
        )
    if array.dtype == object:
        missing = [value is None or value != value for value in array]
        kinds = {type(value).__name__ for value in array}
        if any(missing):
            raise ValueError(f"{name} has no value at position {missing.index(True)}: give one")
        try:
            np.unique(array)
        except TypeError as error:
            raise TypeError(
                f"{name} holds values of kinds that have no order among them, "
                f"{', '.join(sorted(kinds))}: make them all text or all numbers"
            ) from error
    return array
