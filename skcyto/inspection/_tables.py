"""Tables as arrays of floats, which is what shap mixes rows of, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


class TableEncoder:
    """Turn a table into floats and floats back into such a table.

    Columns of text, categories or dates become the positions of their values. Fitted on all
    tables that shall be mixed.

    Parameters
    ----------
    *tables : array-like, sparse matrix or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns.

    Attributes
    ----------
    columns : list or None
        Names of the columns where the tables are data frames.
    is_categorical : ndarray of shape (n_columns,), bool
        Which columns are encoded as positions.
    """

    def __init__(self, *tables: Any) -> None:
        first = tables[0]
        if not hasattr(first, "columns"):
            self.columns = None
            self.is_categorical = np.zeros(_as_floats(first).shape[1], dtype=bool)
            return
        frames = [as_pandas(table) for table in tables]
        self.columns = list(frames[0].columns)
        for frame in frames[1:]:
            missing = [name for name in self.columns if name not in frame.columns]
            if missing:
                raise ValueError(f"background_data lacks columns that X has: {missing[:10]}")
        self._dtypes = list(frames[0].dtypes)
        self._categories = [
            None
            if _is_number(dtype)
            else pd.Index(pd.concat([frame[name] for frame in frames]).dropna().unique())
            for name, dtype in zip(self.columns, self._dtypes, strict=True)
        ]
        self.is_categorical = np.array([item is not None for item in self._categories])
        self._plain = all(
            isinstance(dtype, np.dtype) and dtype.kind == "f" for dtype in self._dtypes
        )

    def encode(self, table: Any) -> np.ndarray:
        """Turn a table into floats.

        Parameters
        ----------
        table : array-like, sparse matrix or DataFrame of shape (n_rows, n_columns)

        Returns
        -------
        encoded : ndarray of shape (n_rows, n_columns)
            float32 where every column is, else float64.
        """
        if self.columns is None:
            return _as_floats(table)
        frame = as_pandas(table)[self.columns]
        if self._plain:
            return np.ascontiguousarray(frame.to_numpy())
        encoded = np.empty(frame.shape)
        for position, categories in enumerate(self._categories):
            column = frame.iloc[:, position]
            if categories is None:
                encoded[:, position] = column.to_numpy(dtype=np.float64, na_value=np.nan)
            else:
                encoded[:, position] = categories.get_indexer(column)
        return encoded

    def decode(self, encoded: np.ndarray) -> Any:
        """Turn floats into a table like those given.

        Parameters
        ----------
        encoded : ndarray of shape (n_rows, n_columns)

        Returns
        -------
        table : ndarray or DataFrame of shape (n_rows, n_columns)
        """
        if self.columns is None:
            return encoded
        if self._plain:
            return pd.DataFrame(encoded, columns=self.columns)
        data = {}
        for position, categories in enumerate(self._categories):
            values, dtype = encoded[:, position], self._dtypes[position]
            if categories is None:
                data[position] = pd.Series(values).astype(dtype)
            else:
                taken = categories.take(values.astype(np.intp), allow_fill=True, fill_value=np.nan)
                data[position] = pd.Series(taken).astype(dtype)
        frame = pd.DataFrame(data)
        frame.columns = pd.Index(self.columns)
        return frame


def as_pandas(table: Any) -> pd.DataFrame:
    """Return a data frame of any library as one of pandas."""
    if isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def _is_number(dtype: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype))


def _as_floats(table: Any) -> np.ndarray:
    array = table.toarray() if sparse.issparse(table) else np.asarray(table)
    if array.ndim != 2:
        raise ValueError(
            f"a table of shape (n_rows, n_columns) is needed, but the array has shape {array.shape}"
        )
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    try:
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the table's values are no numbers ({error}): give text and categories in a pandas "
            "DataFrame"
        ) from error
