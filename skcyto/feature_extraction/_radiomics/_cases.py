"""What the user passes as `X`, understood."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class ScanProblem(Exception):
    """Why a case, or one structure of it, gives no features.

    Parameters
    ----------
    reason : str
        What is wrong and what to do.
    key : str or None
        Of the structure, where the rest of the case is sound.
    """

    def __init__(self, reason: str, key: str | None = None) -> None:
        super().__init__(reason, key)
        self.reason = reason
        self.key = key


@dataclass(frozen=True)
class Source:
    """Where an image or a mask comes from.

    Attributes
    ----------
    path : str or None
    image : SimpleITK.Image or None
    array : ndarray or None
    spacing : tuple of float or None
        Of `array`, in the order of its axes.
    problem : str or None
        Why it is none of these.
    """

    path: str | None = None
    image: Any = None
    array: np.ndarray[Any, Any] | None = None
    spacing: tuple[float, ...] | None = None
    problem: str | None = None

    @property
    def given(self) -> Any:
        """What it was made of, as a row of `X` takes it."""
        if self.array is not None:
            return self.array if self.spacing is None else (self.array, self.spacing)
        return self.image if self.path is None else self.path

    @property
    def identity(self) -> Hashable:
        """The path, or which object in memory it is."""
        return self.path or (id(self.image), id(self.array), self.spacing, self.problem)


@dataclass(frozen=True)
class Case:
    """One row of `X`.

    Attributes
    ----------
    row : int
    name : str
    images : tuple of Source
        One, or one a sequence.
    mask : Source
    label : int or None
        The label of this row, where each row has its own.
    """

    row: int
    name: str
    images: tuple[Source, ...]
    mask: Source
    label: int | None = None

    @property
    def scan(self) -> tuple[Hashable, ...]:
        """The same for rows of the same images and mask."""
        return tuple(source.identity for source in (*self.images, self.mask))


@dataclass(frozen=True)
class Columns:
    """Where images, mask and label of a row are found.

    Attributes
    ----------
    images : tuple of str
    mask : str
    label : str or None
    """

    images: tuple[str, ...]
    mask: str
    label: str | None = None


def check_columns(image: Any, mask: str, label: str | None) -> Columns:
    """Turn the parameters that name columns into one.

    Raises
    ------
    ValueError
        If a name is missing, given twice, or none for a column's name.
    """
    images = (image,) if isinstance(image, str) else tuple(image)
    for name in images:
        if not isinstance(name, str) or not name or (len(images) > 1 and "__" in name):
            raise ValueError(
                "image_column must be the name of a column, or a list of names without '__', one "
                f"a sequence; got {image!r}"
            )
    names = [*images, mask, *([] if label is None else [label])]
    if not images or len(set(names)) < len(names):
        raise ValueError(f"image_column, mask_column and label_column must differ; got {names}")
    return Columns(images, mask, label)


def make_cases(X: Any, columns: Columns) -> list[Case]:
    """Turn `X` into cases.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n, n_images + 1) or sequence of rows
    columns : Columns

    Returns
    -------
    cases : list of Case
        Rows that are no image and mask carry their problem with them.

    Raises
    ------
    ValueError
        If `X` as a whole is none of these.
    """
    rows, names = _rows(X, columns)
    if not rows:
        raise ValueError("X holds no case: 0 sample(s) while a minimum of 1 is required")
    cases = []
    n_images = len(columns.images)
    for row, values in enumerate(rows):
        images = tuple(_source(value, "image") for value in values[:n_images])
        mask, label = _source(values[n_images], "mask"), None
        if columns.label is not None:
            label = _row_label(values[-1])
            if label is None:
                mask = Source(problem=_no_label(columns.label, values[-1]))
        name = f"case {row}" if names is None or names[row] == row else f"case {names[row]!r}"
        if images[0].path is not None:
            name += f" ({os.path.basename(images[0].path)})"
        cases.append(Case(row, name, images, mask, label))
    return cases


def _row_label(value: Any) -> int | None:
    """Read a row's label, which a CSV file may hold as text and a column with gaps as a float."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    is_label = not isinstance(value, bool | np.bool_) and number.is_integer() and 0 < number < 2**32
    return int(number) if is_label else None


def _no_label(column: str, value: Any) -> str:
    return f"its {column!r} is {value!r}: give the label of the mask, a whole number above 0"


def with_masks(X: Any, cases: list[Case], columns: Columns, files: list[str]) -> Any:
    """Give `X` with other masks.

    Parameters
    ----------
    X : DataFrame, ndarray or sequence of pairs
    cases : list of Case
        What `X` was understood as.
    columns : Columns
    files : list of str
        One a case.

    Returns
    -------
    X : DataFrame or list of rows
    """
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        return X.assign(**{columns.mask: pd.Series(files, index=X.index, dtype=object)})
    rows = []
    for case, file in zip(cases, files, strict=True):
        images = [source.given for source in case.images]
        together = dict(zip(columns.images, images, strict=True)) if len(images) > 1 else images[0]
        rows.append((together, file))
    return rows


def _rows(X: Any, columns: Columns) -> tuple[list[Any], list[Any] | None]:
    if hasattr(X, "columns") and hasattr(X, "__getitem__"):
        present = list(X.columns)
        names = [*columns.images, columns.mask]
        names += [] if columns.label is None else [columns.label]
        absent = [name for name in names if name not in present]
        if absent:
            parameters = " and ".join(
                f"{kind}_column="
                for kind, its in (("image", columns.images), ("mask", [columns.mask]))
                if columns.label is None or set(its) & set(absent)
            )
            raise ValueError(
                f"X has no column {' and no column '.join(map(repr, absent))}; its columns are "
                f"{present}. Name them with {parameters or 'label_column='}"
            )
        twice = [name for name in names if present.count(name) > 1]
        if twice:
            raise ValueError(f"X has more than one column {twice[0]!r}: rename or drop the others")
        rows = list(zip(*(list(X[name]) for name in names), strict=True))
        return rows, list(X.index) if hasattr(X, "index") else None
    if columns.label is not None:
        raise ValueError(
            f"label_column={columns.label!r} names a column: X must be a DataFrame, got "
            f"{type(X).__name__}"
        )
    width = len(columns.images) + 1
    wanted = (
        "a DataFrame with an image and a mask column, an array of paths of shape (n, 2), or a "
        "sequence of (image, mask) pairs"
    )
    if width > 2:
        wanted = (
            f"a DataFrame with the columns {', '.join(columns.images)} and {columns.mask}, an "
            f"array of paths of shape (n, {width}) in that order, or a sequence of "
            "({name: image}, mask) pairs"
        )
    if isinstance(X, np.ndarray):
        if X.ndim != 2 or X.shape[1] != width or X.dtype.kind not in "OUS":
            raise ValueError(
                f"X must be {wanted}; got an array of shape {X.shape} and dtype {X.dtype}"
            )
        return [tuple(row) for row in X], None
    if isinstance(X, str | bytes | os.PathLike | Mapping) or not isinstance(X, Sequence):
        raise ValueError(f"X must be {wanted}; got {type(X).__name__}")
    for row, pair in enumerate(X):
        is_pair = isinstance(pair, Sequence | np.ndarray) and not isinstance(pair, str | bytes)
        if not is_pair or len(pair) != 2:
            hint = ": for one case write [(image, mask)]" if len(X) == 2 else ""
            raise ValueError(
                f"X must be {wanted}; row {row} is no pair but {type(pair).__name__}{hint}"
            )
    if width == 2:
        return list(X), None
    return [_in_order(pair, columns.images, row) for row, pair in enumerate(X)], None


def _in_order(pair: Any, names: tuple[str, ...], row: int) -> tuple[Any, ...]:
    images, mask = pair
    if not isinstance(images, Mapping) or set(images) != set(names):
        found = list(images) if isinstance(images, Mapping) else type(images).__name__
        raise ValueError(
            f"row {row} of X must have its images as a dict with the keys {list(names)} of "
            f"image_column; got {found}"
        )
    return (*(images[name] for name in names), mask)


def _source(value: Any, role: str) -> Source:
    if isinstance(value, str | os.PathLike):
        return Source(path=os.fspath(value))
    if type(value).__module__.partition(".")[0] == "SimpleITK":
        return Source(image=value)
    spaced = isinstance(value, tuple | list) and len(value) == 2
    array = value[0] if spaced else value
    if isinstance(array, np.ma.MaskedArray):
        return Source(
            problem=f"the {role} is a masked array, whose hidden values would be measured too: "
            "fill it (numpy.ma.filled), and leave voxels out by the mask of the case"
        )
    if isinstance(array, np.ndarray):
        return _array_source(array, value[1], role) if spaced else Source(array=array)
    missing = value is None or type(value).__name__ in ("NAType", "NaTType")
    missing = missing or (isinstance(value, float) and np.isnan(value))
    found = "missing" if missing else f"of type {type(value).__name__}"
    return Source(
        problem=f"the {role} is {found}; give a path, a SimpleITK image, a numpy array or a pair "
        "(array, spacing)"
    )


def _array_source(array: np.ndarray[Any, Any], spacing: Any, role: str) -> Source:
    ndim = 2 if is_colour_array(array) else array.ndim
    try:
        values = tuple(float(each) for each in spacing)
    except (TypeError, ValueError):
        values = ()
    if len(values) != ndim or not all(np.isfinite(each) and each > 0 for each in values):
        return Source(
            problem=f"the spacing {spacing!r} of the {role} must be {ndim} positive numbers, one "
            f"for each axis of the array in its order"
        )
    return Source(array=array, spacing=values)


def is_colour_array(array: np.ndarray[Any, Any]) -> bool:
    """Tell (H, W, 3) pictures from volumes: a volume of bytes is hardly three voxels wide."""
    return array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
