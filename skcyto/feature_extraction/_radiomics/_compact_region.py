"""A region without the empty planes between its parts.

Texture matrices look at voxels of the region and at their neighbours some voxels away; pyradiomics'
C code, though, walks through the whole box. The box of paired muscles or scattered lesions is
mostly empty. Of every run of planes (along any axis) without a voxel of the region, only as many
are kept as the largest distance between neighbours: no voxels become neighbours that were none,
runs stay broken, zones apart, and the values are the same, bit for bit.

Run lengths need one thing more. pyradiomics leaves out the directions in which no line holds two
voxels of the region, also where a gap lies between the two, and a diagonal line meets others
once planes are gone. Where the region has two voxels side by side in every direction, all of them
count either way; where not, its run lengths are measured in the whole box.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Those whose definition is known to look no further than `distances`.
LOCAL_CLASSES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")
_WORTHWHILE = 0.9


class Patch:
    """One region's mask, cut to its box and rid of empty planes.

    Parameters
    ----------
    mask : SimpleITK.Image
        Cut to the region's box.
    label : int
    distance : int
        Largest distance between neighbours, in voxels.

    Attributes
    ----------
    mask : SimpleITK.Image
        Without the empty planes.
    inside : ndarray of bool
        Where the region is in it.
    """

    def __init__(self, mask: Any, label: int, distance: int) -> None:
        import SimpleITK as sitk

        values = sitk.GetArrayViewFromImage(mask)
        inside = values == label
        self._keep = planes_to_keep(inside, distance)
        kept = np.prod([len(planes) for planes in self._keep])
        self.is_cut = bool(kept < _WORTHWHILE * inside.size)
        self.mask = self.take(mask)
        self.inside = sitk.GetArrayViewFromImage(self.mask) == label

    def keeps_runs(self, settings: dict[str, Any]) -> bool:
        """Say whether run lengths are the same as in the whole box.

        Parameters
        ----------
        settings : dict
            Of the image type; ``force2D`` takes directions away.

        Returns
        -------
        keeps : bool
        """
        flat = settings.get("force2Ddimension", 0) if settings.get("force2D") else None
        return not self.is_cut or has_pair_in_every_direction(self.inside, flat)

    def has_neighbours(self, settings: dict[str, Any]) -> bool:
        """Say whether any two voxels are as far apart as one of the distances.

        Parameters
        ----------
        settings : dict
            Of the image type.

        Returns
        -------
        has : bool
        """
        flat = settings.get("force2Ddimension", 0) if settings.get("force2D") else None
        axes = range(self.inside.ndim)
        for distance in settings.get("distances") or [1]:
            steps = [(0,) if axis == flat else range(-distance, distance + 1) for axis in axes]
            for step in product(*steps):
                if max(map(abs, step)) == distance and _has_pair(self.inside, step):
                    return True
        return False

    def take(self, image: Any) -> Any:
        """Take the same planes of an image that is cut to the region's box."""
        import SimpleITK as sitk

        if not self.is_cut:
            return image
        cut = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image)[np.ix_(*self._keep)])
        cut.SetSpacing(image.GetSpacing())
        return cut


def planes_to_keep(inside: NDArray[np.bool_], distance: int) -> list[NDArray[np.int64]]:
    """List for each axis the planes with the region, and the first few of each gap between.

    Parameters
    ----------
    inside : ndarray of bool
        Its first and last plane along each axis hold a voxel of the region.
    distance : int
        How many planes of a gap to keep.

    Returns
    -------
    keep : list of ndarray of int
    """
    keep = []
    for axis in range(inside.ndim):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        plane = np.arange(inside.shape[axis])
        last_occupied = np.maximum.accumulate(np.where(inside.any(axis=others), plane, 0))
        keep.append(np.flatnonzero(plane - last_occupied <= distance))
    return keep


def has_pair_in_every_direction(inside: NDArray[np.bool_], flat: int | None) -> bool:
    """Say whether two voxels of a region are next to one another in each of the directions.

    Parameters
    ----------
    inside : ndarray of bool
        Where the region is.
    flat : int or None
        Axis along which there is no direction.

    Returns
    -------
    has : bool
    """
    for steps in product((-1, 0, 1), repeat=inside.ndim):
        # Of a direction and its opposite, one will do.
        if steps <= (0,) * inside.ndim or (flat is not None and steps[flat]):
            continue
        if not _has_pair(inside, steps):
            return False
    return True


def _has_pair(inside: NDArray[np.bool_], steps: tuple[int, ...]) -> bool:
    """Say whether two voxels of a region are these steps apart."""
    sized = list(zip(steps, inside.shape, strict=True))
    here = tuple(slice(max(-step, 0), max(size - max(step, 0), 0)) for step, size in sized)
    there = tuple(slice(max(step, 0), max(size - max(-step, 0), 0)) for step, size in sized)
    return bool((inside[here] & inside[there]).any())
