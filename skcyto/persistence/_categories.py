"""The encoder of categories of histogram boosting, which is made anew from the categories.

It holds a partial function, and one that a file made up could hand the trees fewer columns than
they read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from sklearn.utils import check_array

_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_SAVED = "_saved_categories"


def leave_out_category_encoder(estimator: BaseEstimator) -> None:
    """Take the encoder from a copy that is saved, and keep its categories."""
    encoder = vars(estimator).get("_preprocessor")
    if type(estimator) not in _BOOSTING or not _is_own(encoder):
        return
    vars(estimator)[_SAVED] = encoder.named_transformers_["encoder"].categories_
    estimator._preprocessor = None


def rebuild_category_encoder(estimator: BaseEstimator) -> None:
    """Make the encoder as `fit` did; the estimator's trees must have been checked.

    Parameters
    ----------
    estimator : estimator
        Changed in place, if categories were saved with it.

    Raises
    ------
    ValueError
        If the categories do not fit the columns.
    """
    categories = vars(estimator).pop(_SAVED, None)
    if categories is None:
        return
    mask = np.asarray(estimator.is_categorical_, dtype=bool)
    names = vars(estimator).get("feature_names_in_")
    if mask.shape != (estimator.n_features_in_,) or len(categories) != mask.sum():
        raise ValueError("the categories do not fit the columns")
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        dtype=np.float64,
    )
    check_X = partial(check_array, dtype=[np.float64], ensure_all_finite=False)
    made = ColumnTransformer(
        [("encoder", encoder, mask), ("numerical", FunctionTransformer(check_X), ~mask)]
    ).set_output(transform="default")
    made.fit(_rows_with(categories, mask, names))
    found = made.named_transformers_["encoder"].categories_
    if [each.tolist() for each in map(_known, found)] != [
        each.tolist() for each in map(_known, categories)
    ]:
        raise ValueError("the categories are not sorted or not unique")
    estimator._preprocessor = made


def _is_own(encoder: Any) -> bool:
    """Tell whether it is made as histogram boosting makes it."""
    return (
        type(encoder) is ColumnTransformer
        and [(name, type(part)) for name, part, _ in encoder.transformers]
        == [("encoder", OrdinalEncoder), ("numerical", FunctionTransformer)]
        and getattr(encoder.transformers[1][1].func, "func", None) is check_array
    )


def _known(categories: np.ndarray) -> np.ndarray:
    return categories[~pd.isna(categories)]


def _rows_with(categories: list[np.ndarray], mask: np.ndarray, names: Any) -> Any:
    """Make a table whose columns hold the categories, in the types that `fit` was given."""
    n_rows = max(map(len, categories))
    columns: list[Any] = [np.zeros(n_rows) for _ in mask]
    for i, values in zip(np.flatnonzero(mask), categories, strict=True):
        columns[i] = np.resize(values, n_rows)
    if names is not None:
        frame = pd.DataFrame(dict(enumerate(columns)))
        frame.columns = pd.Index(names)
        return frame
    dtype = np.result_type(*(values.dtype for values in categories))
    table = np.zeros((n_rows, len(columns)), dtype=dtype)
    for i, values in enumerate(columns):
        table[:, i] = values
    return table
