"""Where a region's voxels are, which all image types share."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._filters import Box


class Voxels:
    """The voxels of one region, in a box of its own with empty planes all around.

    Parameters
    ----------
    inside : ndarray of bool
        Where the region is in its box.
    box : Box
        Where the box is in the image.
    reach : int
        Largest distance between neighbours, in voxels: the thickness of the padding.

    Attributes
    ----------
    positions : ndarray of int64, shape (n_voxels,)
        In the flattened padded box.
    dense : ndarray of int32
        The flattened padded box, all zero between uses.
    reach : int
    """

    def __init__(self, inside: NDArray[np.bool_], box: Box, reach: int) -> None:
        self._coordinates = np.argwhere(inside)
        self._shape = inside.shape
        self._start = np.array(box.start[::-1])
        self.reach = reach
        padded = np.array(inside.shape) + 2 * reach
        self._strides = _strides(tuple(padded))
        self.positions = (self._coordinates + reach) @ self._strides
        self.dense = np.zeros(int(np.prod(padded)), dtype=np.int32)
        self._flat: dict[Any, NDArray[np.int64]] = {}
        self._steps: dict[Any, NDArray[np.int64]] = {}
        self._with_pairs: dict[Any, NDArray[np.bool_]] = {}

    @property
    def longest(self) -> int:
        """Voxels along the longest side of the box."""
        return max(self._shape)

    def values(self, image: Any, frame: Box) -> NDArray[Any]:
        """Read the region's values out of an image.

        Parameters
        ----------
        image : SimpleITK.Image
        frame : Box
            Where the image lies in the unfiltered one.

        Returns
        -------
        values : ndarray of shape (n_voxels,)
        """
        import SimpleITK as sitk

        array = sitk.GetArrayViewFromImage(image)
        key = frame.start, array.shape
        if key not in self._flat:
            shift = self._start - np.array(frame.start[::-1])
            self._flat[key] = (self._coordinates + shift) @ _strides(array.shape)
        return array.reshape(-1)[self._flat[key]]

    def steps(self, distances: tuple[int, ...], flat: int | None) -> NDArray[np.int64]:
        """List the directions to neighbours as pyradiomics does, one of each two opposite ones.

        Parameters
        ----------
        distances : tuple of int
            In voxels, by the largest of a direction's steps.
        flat : int or None
            Axis along which there is no direction.

        Returns
        -------
        steps : ndarray of int, shape (n_directions, n_dims)
            None that leads out of the box from everywhere.
        """
        key = distances, flat
        if key not in self._steps:
            far = max(distances)
            ranges = [
                (0,) if axis == flat else range(min(far, size - 1), -min(far, size - 1) - 1, -1)
                for axis, size in enumerate(self._shape)
            ]
            found = [
                step
                for step in product(*ranges)
                if step > (0,) * len(step) and max(map(abs, step)) in distances
            ]
            self._steps[key] = np.array(found, dtype=np.int64).reshape(-1, len(self._shape))
        return self._steps[key]

    def offsets(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn steps into distances in the flattened padded box."""
        return steps @ self._strides

    def has_neighbours(self, distances: tuple[int, ...], flat: int | None) -> bool:
        """Say whether any two voxels are as far apart as one of the distances."""
        inside = np.zeros(len(self.dense), dtype=bool)
        inside[self.positions] = True
        offsets = self.offsets(self.steps(distances, flat))
        return any(inside[self.positions + offset].any() for offset in offsets)

    def with_pairs(self, flat: int | None) -> NDArray[np.int64]:
        """List those steps to direct neighbours that have two voxels in line, gaps allowed."""
        from skcyto.feature_extraction._radiomics._kernels._sizes import lines_with_pairs

        steps = self.steps((1,), flat)
        if flat not in self._with_pairs:
            padded = tuple(np.array(self._shape) + 2 * self.reach)
            dense = np.full(padded, -1, dtype=np.int32)
            dense[(slice(self.reach, -self.reach),) * len(padded)] = 0
            dense.reshape(-1)[self.positions] = 1
            self._with_pairs[flat] = lines_with_pairs(
                dense.reshape(-1), self.positions, self.offsets(steps)
            )
        return steps[self._with_pairs[flat]]


def _strides(shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.append(np.cumprod(np.array(shape[:0:-1], dtype=np.int64))[::-1], 1).astype(np.int64)
