"""A region without the empty planes between its parts.

Texture matrices look at voxels of the region and at their neighbours some voxels away; pyradiomics'
C code, though, walks through the whole box. The box of paired muscles or scattered lesions is
mostly empty. Of every run of planes (along any axis) without a voxel of the region, only as many
are kept as the largest distance between neighbours: no voxels become neighbours that were none,
runs stay broken, zones apart, and the values are the same, bit for bit.
"""

from __future__ import annotations

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
