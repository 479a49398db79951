"""Checks of an image and its mask, each with a reason and a way out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem
from skcyto.feature_extraction._radiomics._filters import Box
from skcyto.utils._wording import list_some

_DEFAULT_TOLERANCE = 1e-6  # ITK's
_MAX_NAMED = 12
_LABELS_OF_AN_IMAGE = 32  # hardly any image holds fewer values


def check_dimensions(image: Any, mask: Any, ndim: int, channels: int) -> None:
    """Check dimension and channels against those seen in `fit`.

    Raises
    ------
    ScanProblem
    """
    if image.GetDimension() != ndim:
        raise ScanProblem(
            f"the image has {image.GetDimension()} dimensions, but the extractor was fitted on "
            f"{ndim}-D images: fit one extractor for each kind"
        )
    found = image.GetNumberOfComponentsPerPixel()
    if found != channels:
        kinds = {1: "gray", 3: "RGB"}
        raise ScanProblem(
            f"the image is {kinds[found]}, but the extractor was fitted on {kinds[channels]} "
            "images: convert it, or fit one extractor for each kind"
        )
    if mask.GetDimension() != ndim:
        raise ScanProblem(f"the mask has {mask.GetDimension()} dimensions, the image {ndim}")


def geometry_difference(image: Any, mask: Any, tolerance: float | None) -> str | None:
    """Say how a mask's grid differs from its image's by more than ITK tolerates.

    Parameters
    ----------
    image, mask : SimpleITK.Image
    tolerance : float or None
        pyradiomics' `geometryTolerance`.

    Returns
    -------
    difference : str or None
    """
    tolerance = _DEFAULT_TOLERANCE if tolerance is None else tolerance
    if image.GetSize() != mask.GetSize():
        return f"size {mask.GetSize()} instead of the image's {image.GetSize()}"
    allowed = abs(tolerance * image.GetSpacing()[0])
    for what, its, ours, limit in (
        ("spacing", mask.GetSpacing(), image.GetSpacing(), allowed),
        ("origin", mask.GetOrigin(), image.GetOrigin(), allowed),
        ("direction", mask.GetDirection(), image.GetDirection(), tolerance),
    ):
        gap = float(np.max(np.abs(np.subtract(its, ours))))
        if gap > limit:
            return f"{what} {_short(its)} instead of the image's {_short(ours)}, off by {gap:.3g}"
    return None


def _short(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def geometry_problem(difference: str) -> ScanProblem:
    """Make the problem of a mask on another grid."""
    return ScanProblem(
        f"the mask lies on another grid: {difference}. Resample the mask to the image, or set "
        "pyradiomics' 'geometryTolerance' for a small shift or 'correctMask': True to have it "
        "resampled"
    )


def check_finite(image: Any, *, everywhere: bool) -> None:
    """Check for NaN and infinity where they would spread over the whole image.

    Raises
    ------
    ScanProblem
    """
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    if not everywhere or values.dtype.kind != "f":
        return
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise ScanProblem(
            f"the image holds {bad} NaN or infinite voxels, which normalisation and filters "
            "spread: replace them, for instance with the background's value"
        )


def present_labels(mask_values: NDArray[Any]) -> list[int]:
    """List the labels of a mask.

    Raises
    ------
    ScanProblem
        If there is none, or the mask is an image.
    """
    labels = [int(value) for value in np.unique(mask_values) if value != 0]
    if not labels:
        raise ScanProblem("the mask is empty: every voxel is 0")
    if len(labels) > _LABELS_OF_AN_IMAGE and _is_speckled(mask_values):
        raise ScanProblem(
            f"the mask looks like an image: it holds {len(labels)} values, and voxels side by side "
            "seldom share one. Are image and mask swapped, or is it the image itself with its "
            "background removed?"
        )
    return labels


def _is_speckled(values: NDArray[Any]) -> bool:
    """Say whether most of the values differ, more often than not, from the voxel beside them."""
    here, beside = values[..., :-1].ravel(), values[..., 1:].ravel()
    inside = (here != 0) & (beside != 0)
    if not inside.any():
        return False
    here, beside = here[inside], beside[inside]
    _, label, pairs = np.unique(here, return_inverse=True, return_counts=True)
    equal = np.bincount(label, weights=here == beside)
    return bool(np.median(equal / pairs) < 0.5)


def missing_reason(present: list[int]) -> str:
    """Say which labels there are instead of the one sought."""
    return f"not in the mask, which holds {list_some(present, _MAX_NAMED)}"


def region_box(region: NDArray[np.bool_], settings: dict[str, Any], key: str) -> Box:
    """Find a region's box and check that the region is large enough.

    Parameters
    ----------
    region : ndarray of bool
    settings : dict
    key : str
        Of the structure.

    Returns
    -------
    box : Box

    Raises
    ------
    ScanProblem
    """
    if not region.any():
        raise ScanProblem(
            "resampling leaves no voxel of the region, which is smaller than a voxel of the new "
            "grid: a smaller 'resampledPixelSpacing' would keep it",
            key,
        )
    axes = range(region.ndim)
    bounds = []
    for axis in reversed(axes):
        there = np.flatnonzero(region.any(axis=tuple(other for other in axes if other != axis)))
        bounds.append((int(there[0]), int(there[-1]) + 1))
    extent = [stop - start for start, stop in bounds]
    spread = sum(length > 1 for length in extent)
    minimum = settings.get("minimumROIDimensions", 2)
    if spread == 0:
        raise ScanProblem("the region is a single voxel, which has no texture", key)
    if spread < minimum:
        raise ScanProblem(
            f"the region spans {_times(extent)} voxels, {spread} dimension(s) where "
            f"'minimumROIDimensions' asks for {minimum}",
            key,
        )
    voxels = int(np.count_nonzero(region))
    if settings.get("minimumROISize") is not None and voxels <= settings["minimumROISize"]:
        raise ScanProblem(
            f"the region has {voxels} voxels, not more than 'minimumROISize' "
            f"{settings['minimumROISize']}",
            key,
        )
    return Box(tuple(start for start, _ in bounds), tuple(stop for _, stop in bounds))


def _times(extent: list[int]) -> str:
    return " x ".join(map(str, extent))


def check_intensities(values: NDArray[Any], key: str) -> None:
    """Check the intensities inside a region.

    Raises
    ------
    ScanProblem
    """
    if values.dtype.kind == "f":
        bad = values.size - np.count_nonzero(np.isfinite(values))
        if bad:
            raise ScanProblem(
                f"{bad} of the region's {values.size} voxels are NaN or infinite: replace them or "
                "take them out of the mask",
                key,
            )
    if values.min() == values.max():
        raise ScanProblem(
            f"the region is flat: all {values.size} voxels have the intensity {values.min():g}; "
            "look whether mask and image belong together",
            key,
        )
