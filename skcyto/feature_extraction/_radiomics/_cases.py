"""What the user passes as `X` and `mask_labels`, understood."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np


class ScanProblem(Exception):
    """Why a case, or one label of it, gives no features.

    Parameters
    ----------
    reason : str
        What is wrong and what to do.
    label : int or None
        The label, where the rest of the case is sound.
    """

    def __init__(self, reason: str, label: int | None = None) -> None:
        super().__init__(reason, label)
        self.reason = reason
        self.label = label


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
    def in_memory(self) -> bool:
        """Whether the voxels are in this object."""
        return self.image is not None or self.array is not None


@dataclass(frozen=True)
class Case:
    """One row of `X`."""

    row: int
    name: str
    image: Source
    mask: Source


def make_cases(X: Any, image_column: str, mask_column: str) -> list[Case]:
    """Turn `X` into cases.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n, 2) or sequence of pairs
    image_column, mask_column : str
        Names of the columns where `X` is a DataFrame.

    Returns
    -------
    cases : list of Case
        Rows that are no image and mask carry their problem with them.

    Raises
    ------
    ValueError
        If `X` as a whole is none of these.
    """
    pairs, names = _pairs(X, image_column, mask_column)
    if not pairs:
        raise ValueError("X holds no case: 0 sample(s) while a minimum of 1 is required")
    cases = []
    for row, pair in enumerate(pairs):
        image, mask = _source(pair[0], "image"), _source(pair[1], "mask")
        name = f"case {row}" if names is None or names[row] == row else f"case {names[row]!r}"
        if image.path is not None:
            name += f" ({os.path.basename(image.path)})"
        cases.append(Case(row, name, image, mask))
    return cases


def _pairs(X: Any, image_column: str, mask_column: str) -> tuple[list[Any], list[Any] | None]:
    if hasattr(X, "columns") and hasattr(X, "__getitem__"):
        columns = list(X.columns)
        absent = [name for name in (image_column, mask_column) if name not in columns]
        if absent:
            raise ValueError(
                f"X has no column {' and no column '.join(map(repr, absent))}; its columns are "
                f"{columns}. Name them with image_column= and mask_column="
            )
        twice = [name for name in (image_column, mask_column) if columns.count(name) > 1]
        if twice:
            raise ValueError(f"X has more than one column {twice[0]!r}: rename or drop the others")
        pairs = list(zip(list(X[image_column]), list(X[mask_column]), strict=True))
        return pairs, list(X.index) if hasattr(X, "index") else None
    wanted = (
        "a DataFrame with an image and a mask column, an array of paths of shape (n, 2), or a "
        "sequence of (image, mask) pairs"
    )
    if isinstance(X, np.ndarray):
        if X.ndim != 2 or X.shape[1] != 2 or X.dtype.kind not in "OUS":
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
    return list(X), None


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


def check_mask_labels(mask_labels: Any) -> dict[str, int] | None:
    """Turn the `mask_labels` parameter into a name and a value for each structure.

    Parameters
    ----------
    mask_labels : None, sequence of int, or mapping of str to int

    Returns
    -------
    structures : dict of str to int, or None
        None where labels are to be found in the masks.

    Raises
    ------
    ValueError
        If a label is not a positive integer, or one is given twice.
    """
    if mask_labels is None:
        return None
    if isinstance(mask_labels, Mapping):
        values = list(mask_labels.values())
        names = list(mask_labels)
        for name in names:
            if not isinstance(name, str) or not name or "__" in name:
                raise ValueError(
                    f"mask_labels: the structure's name {name!r} must be a string without '__'"
                )
    elif isinstance(mask_labels, Sequence | np.ndarray) and not isinstance(
        mask_labels, str | bytes
    ):
        values = list(mask_labels)
        names = [structure_name(value) for value in values]
    else:
        raise ValueError(
            "mask_labels must be None, a list of integers or a dict {name: integer}, got "
            f"{mask_labels!r}"
        )
    if not values:
        raise ValueError(
            "mask_labels is empty: give at least one label, or None for all of the masks"
        )
    for value in values:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
            hint = f"; write {int(value)}" if isinstance(value, str) and value.isdigit() else ""
            raise ValueError(
                f"mask_labels must be integers, got {value!r} of type {type(value).__name__}{hint}"
            )
        if not 0 < int(value) < 2**32:
            raise ValueError(f"mask_labels must be positive (0 is the background), got {value}")
    twice = sorted({int(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"mask_labels names the values {twice} twice")
    return {name: int(value) for name, value in zip(names, values, strict=True)}


def structure_name(value: Any) -> str:
    """Name of a structure that the user gave none."""
    return f"label_{value}"
