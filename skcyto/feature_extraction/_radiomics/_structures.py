"""Which voxels of a mask make a structure: one label, a union of labels, its largest part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skcyto.feature_extraction._radiomics._cases import Case


@dataclass(frozen=True)
class Structure:
    """One block of columns.

    Attributes
    ----------
    name : str
    labels : tuple of int
        Values of the mask that belong to it.
    largest : bool
        Whether only its largest connected part counts.
    """

    name: str
    labels: tuple[int, ...]
    largest: bool = False

    @property
    def key(self) -> str:
        """The same for structures of the same voxels, whatever their names."""
        return "+".join(map(str, sorted(self.labels))) + (" largest" if self.largest else "")

    @property
    def is_label(self) -> bool:
        """Whether it is a label of the mask as it stands."""
        return len(self.labels) == 1 and not self.largest

    @property
    def title(self) -> str:
        """Labels and, where the user gave one, name."""
        numbers = ", ".join(map(str, self.labels))
        named = "" if self.name == structure_name(numbers) else f" ({self.name})"
        return f"label{'s' if len(self.labels) > 1 else ''} {numbers}{named}"


def check_mask_labels(mask_labels: Any) -> dict[str, int | list[int]] | None:
    """Turn the `mask_labels` parameter into a name and one value or more for each structure.

    Parameters
    ----------
    mask_labels : None, sequence of int, or mapping of str to int or sequence of int

    Returns
    -------
    labels : dict of str to int or list of int, or None
        None where labels are to be found in the masks.

    Raises
    ------
    ValueError
        If a label is not a positive integer, or two structures are the same.
    """
    if mask_labels is None:
        return None
    is_list = isinstance(mask_labels, Sequence | np.ndarray)
    if isinstance(mask_labels, Mapping):
        named = dict(mask_labels)
        for name in named:
            if not isinstance(name, str) or not name or "__" in name:
                raise ValueError(
                    f"mask_labels: the structure's name {name!r} must be a string without '__'"
                )
    elif is_list and not isinstance(mask_labels, str | bytes):
        for value in mask_labels:
            if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
                raise ValueError(
                    f"mask_labels: the union {list(value)} needs a name: give a dict, such as "
                    f"{{'whole': {list(value)}}}"
                )
        values = [_check_label(value) for value in mask_labels]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"mask_labels names the values {twice} twice")
        named = {structure_name(value): value for value in values}
    else:
        raise ValueError(
            "mask_labels must be None, a list of integers or a dict {name: integer, or list of "
            f"integers for their union}}, got {mask_labels!r}"
        )
    if not named:
        raise ValueError(
            "mask_labels is empty: give at least one label, or None for all of the masks"
        )
    labels = {name: _check_labels(name, value) for name, value in named.items()}
    seen: dict[str, str] = {}
    for structure in make_structures(labels, largest=False):
        if structure.key in seen:
            values = sorted(structure.labels)
            raise ValueError(
                f"mask_labels names the values {values} twice, as {seen[structure.key]!r} and "
                f"{structure.name!r}"
            )
        seen[structure.key] = structure.name
    return labels


def _check_labels(name: str, value: Any) -> int | list[int]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        return _check_label(value)
    values = [_check_label(each) for each in value]
    if not values or len(set(values)) < len(values):
        what = "is empty" if not values else "names a value twice"
        raise ValueError(f"mask_labels: the union {name!r}, {values}, {what}")
    return values


def _check_label(value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        hint = f"; write {int(value)}" if isinstance(value, str) and value.isdigit() else ""
        raise ValueError(
            f"mask_labels must be integers, got {value!r} of type {type(value).__name__}{hint}"
        )
    if not 0 < int(value) < 2**32:
        raise ValueError(f"mask_labels must be positive (0 is the background), got {value}")
    return int(value)


def make_structures(
    mask_labels: Mapping[str, int | Sequence[int]], *, largest: bool
) -> list[Structure]:
    """Make the structures of an extractor from names and labels.

    Parameters
    ----------
    mask_labels : mapping of str to int or sequence of int
    largest : bool

    Returns
    -------
    structures : list of Structure
    """
    return [
        Structure(
            name, (labels,) if isinstance(labels, int | np.integer) else tuple(labels), largest
        )
        for name, labels in mask_labels.items()
    ]


def structures_of(case: Case, structures: list[Structure]) -> list[Structure]:
    """Put a row's own label, where it has one, in the place of the only structure."""
    if case.label is None:
        return structures
    return [replace(structure, labels=(case.label,)) for structure in structures]


def structure_name(value: Any) -> str:
    """Name of a structure that the user gave none."""
    return f"label_{value}"


def connected_parts(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give the connected parts of a region numbers, the largest first.

    Voxels that share a face, an edge or a corner are connected, as they are neighbours in
    texture matrices. Of parts of one size that with the first voxel comes first.

    Parameters
    ----------
    inside : ndarray of bool

    Returns
    -------
    parts : ndarray of int32
        0 outside, then 1, 2, ...
    sizes : ndarray of int64, shape (n_parts,)
        Voxels of each.
    """
    found, n_parts = ndimage.label(inside, structure=np.ones((3,) * inside.ndim))
    sizes = np.bincount(found.ravel(), minlength=n_parts + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    number = np.zeros(n_parts + 1, dtype=np.int32)
    number[1 + order] = np.arange(1, n_parts + 1)
    return number[found], sizes[order]


def region_masks(mask: Any, structures: Iterable[Structure]) -> dict[str, tuple[Any, int]]:
    """Find the mask and the label in it that each structure is measured with.

    Parameters
    ----------
    mask : SimpleITK.Image of 32-bit unsigned integers
    structures : iterable of Structure
        At least one label of each is present.

    Returns
    -------
    masks : dict of str to (SimpleITK.Image, int)
        By the structures' keys. A label's mask is the one given.
    """
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(mask)
    masks: dict[str, tuple[Any, int]] = {}
    for structure in structures:
        if structure.is_label:
            masks[structure.key] = (mask, structure.labels[0])
            continue
        inside = np.isin(values, structure.labels)
        if structure.largest:
            inside = connected_parts(inside)[0] == 1
        own = sitk.GetImageFromArray(inside.astype(np.uint32))
        own.CopyInformation(mask)
        masks[structure.key] = (own, 1)
    return masks
