"""The cases of a comparison and those of other places, checked before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import indexable
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from skcyto.exceptions import MissingClassWarning
from skcyto.model_selection._splits import Split
from skcyto.utils._validation import plain_vector
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some

_MOST_SHOWN = 5


@dataclass(frozen=True)
class Cases:
    """What every fold is cut from.

    Parameters
    ----------
    X : array-like, list or DataFrame
        Cases.
    y : ndarray
        Labels.
    groups : ndarray or None
        Groups.
    classes : ndarray
        The labels that occur, sorted.
    metadata : dict of str to ndarray
        What goes along with every case to those that ask for it, groups included.
    """

    X: Any
    y: NDArray[Any]
    groups: NDArray[Any] | None
    classes: NDArray[Any]
    metadata: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExternalSet:
    """Cases of another place.

    Parameters
    ----------
    name : str
        Of the place.
    X : array-like
        Cases.
    y : ndarray
        Labels.
    groups : ndarray or None
        Groups.
    """

    name: str
    X: Any
    y: NDArray[Any]
    groups: NDArray[Any] | None

    def split(self, n_internal: int) -> Split:
        """Return the rows that train, of the internal data, and that are tested, of this set."""
        return np.arange(n_internal), np.arange(len(self.y))


def check_cases(X: Any, y: Any, groups: Any, params: Mapping[str, Any] | None) -> Cases:
    """Check the cases of a comparison.

    Raises
    ------
    ValueError
        If lengths differ, labels or groups are missing, or there is one class only.
    """
    X, y, groups = indexable(X, y, groups)
    y = _check_labels("y", y)
    target = type_of_target(y, input_name="y")
    if target not in ("binary", "multiclass"):
        raise ValueError(f"compare_models compares classifiers; y is {target}")
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only, {classes.tolist()[0]!r}: nothing to tell apart")
    groups = None if groups is None else _check_groups("groups is", groups)
    return Cases(X, y, groups, classes, _check_metadata(params, groups, len(y)))


def _check_labels(what: str, y: Any) -> NDArray[Any]:
    labels: NDArray[Any] = column_or_1d(plain_vector(y), warn=True)
    if pd.isna(labels).any():
        raise ValueError(f"{what} holds missing labels in {int(pd.isna(labels).sum())} cases")
    return labels


def _check_groups(what: str, given: Any) -> NDArray[Any]:
    groups: NDArray[Any] = column_or_1d(plain_vector(given))
    if pd.isna(groups).any():
        raise ValueError(
            f"{what} missing for {int(pd.isna(groups).sum())} cases: give each a group, "
            "one of its own if nothing is known of it"
        )
    return groups


def _check_metadata(
    params: Mapping[str, Any] | None, groups: NDArray[Any] | None, n: int
) -> dict[str, NDArray[Any]]:
    metadata = {} if groups is None else {"groups": groups}
    for key, value in (params or {}).items():
        if key == "groups":
            raise ValueError("give groups as groups=, not in params")
        array = np.asarray(value)
        if array.ndim == 0 or len(array) != n:
            raise ValueError(f"params[{key!r}] must hold one value for each of the {n} cases")
        metadata[key] = array
    return metadata


def check_external(external: Any, internal: Cases) -> list[ExternalSet]:
    """Check external data before anything is fitted.

    Raises
    ------
    TypeError
        If it is no dict of names to tuples.
    ValueError
        If lengths differ, labels or groups are missing, a label is unknown to the internal data, a
        group is also internal, or the cases have other columns.

    Warns
    -----
    MissingClassWarning
        If a set lacks a class.
    """
    if external is None:
        return []
    if not isinstance(external, Mapping):
        raise TypeError(
            "external must be a dict of names to (X, y) or (X, y, groups), not "
            f"{type(external).__name__}"
        )
    return [_check_set(name, given, internal) for name, given in external.items()]


def _check_set(name: Any, given: Any, internal: Cases) -> ExternalSet:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name {name!r} of an external set must be a string")
    what = f"external[{name!r}]"
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise TypeError(f"{what} must be (X, y) or (X, y, groups)")
    X, y, groups = (*given, None)[:3]
    lengths = [len(part) for part in (X, y, groups) if part is not None]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"{what} must hold X, y and groups of one length, not of {lengths}")
    X, y, groups = indexable(X, y, groups)
    y = _check_labels(what, y)
    classes = internal.classes.tolist()
    labels, counts = np.unique(y, return_counts=True)
    numbers = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    unknown = {label: number for label, number in numbers.items() if label not in set(classes)}
    if unknown:
        listed = ", ".join(f"{label!r} ({count} cases)" for label, count in unknown.items())
        raise ValueError(
            f"{what} holds labels that no internal case has, so that no model can know them: "
            f"{listed}; the internal ones are {classes}. Name the labels alike, or leave these "
            "cases out and say so"
        )
    _check_columns(what, X, internal.X)
    if groups is not None:
        groups = _check_groups(f"{what}: groups is", groups)
        _check_shared_groups(what, groups, internal.groups)
    lacking = [label for label in classes if label not in numbers]
    if lacking:
        warn(
            f"{what} lacks class {', '.join(map(repr, lacking))}: its recall and every area under "
            "a curve are undefined there",
            MissingClassWarning,
        )
    return ExternalSet(name, X, y.astype(internal.classes.dtype, copy=False), groups)


def _check_columns(what: str, X: Any, internal: Any) -> None:
    if isinstance(internal, pd.DataFrame) != isinstance(X, pd.DataFrame):
        raise ValueError(
            f"{what} has X as {type(X).__name__}, the internal data as {type(internal).__name__}: "
            "give both as a DataFrame, or both without names of columns"
        )
    if isinstance(internal, pd.DataFrame):
        own, expected = list(X.columns), list(internal.columns)
        if own == expected:
            return
        lacking = [column for column in expected if column not in set(own)]
        more = [column for column in own if column not in set(expected)]
        if not lacking and not more:
            raise ValueError(
                f"{what} has the columns of the internal data in another order: give it as "
                "X_external[X.columns]"
            )
        parts = []
        if lacking:
            parts.append(f"lacks {_shorten(lacking)}")
        if more:
            parts.append(f"has {_shorten(more)}, which they lack")
        raise ValueError(f"{what} has other columns than the internal data: {', '.join(parts)}")
    shapes = [getattr(data, "shape", ())[1:] for data in (X, internal)]
    # Images may differ in size, which is for the models to say.
    if len(shapes[0]) != len(shapes[1]) or (len(shapes[0]) == 1 and shapes[0] != shapes[1]):
        raise ValueError(f"{what} has cases of shape {shapes[0]}, the internal data of {shapes[1]}")


def _check_shared_groups(what: str, own: NDArray[Any], internal: NDArray[Any] | None) -> None:
    if internal is None:
        return
    known = set(internal.tolist())
    shared = [group for group in np.unique(own).tolist() if group in known]
    if shared:
        raise ValueError(
            f"{what} shares {len(shared)} groups with the internal data, so that its scores would "
            f"be too good: {_shorten(shared)}. Leave their cases out on one side; if they only "
            "happen to have the same names, make these different"
        )


def _shorten(items: Sequence[Any]) -> str:
    return list_some(map(repr, items), _MOST_SHOWN)
