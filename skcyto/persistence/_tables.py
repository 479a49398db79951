"""Data frames among the attributes of estimators, in a form that skops can write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


class SavedTable:
    """A data frame as plain arrays.

    Parameters
    ----------
    frame : pandas.DataFrame
        With a simple index.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = frame.columns.tolist()
        self.columns_name = frame.columns.name
        self.values = [_to_plain(frame.iloc[:, i]) for i in range(frame.shape[1])]
        self.index = _to_plain(frame.index)
        self.index_name = frame.index.name

    def to_frame(self) -> pd.DataFrame:
        """Make the data frame again."""
        index = pd.Index(_from_plain(self.index), name=self.index_name)
        columns = {i: _from_plain(values) for i, values in enumerate(self.values)}
        frame = pd.DataFrame(columns, index=index)
        frame.columns = pd.Index(self.columns, name=self.columns_name)
        return frame


def _to_plain(values: Any) -> tuple[str, np.ndarray | list[Any]]:
    dtype = str(values.dtype)
    if values.dtype.kind in "biuf" and isinstance(values.dtype, np.dtype):
        return dtype, values.to_numpy()
    # NaN stays NaN; pandas' own NA and NaT are not skops'.
    missing = (type(pd.NA), type(pd.NaT))
    return dtype, [None if isinstance(value, missing) else value for value in values.tolist()]


def _from_plain(saved: tuple[str, np.ndarray | list[Any]]) -> pd.Series:
    dtype, values = saved
    return pd.Series(values, dtype=dtype)
