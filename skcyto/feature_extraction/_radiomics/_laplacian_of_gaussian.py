"""Laplacian of Gaussian where it is needed only.

ITK's filter is a sum over the axes of one recursive pass of second order along that axis and
one smoothing pass along each other. Run as single passes, each can leave out what no later pass
reads: after the pass along an axis, only the labels' box is kept of it. The numbers are ITK's own,
bit for bit; the first use in a process makes sure of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def laplacian_of_gaussian(
    array: NDArray[Any], spacing: tuple[float, ...], sigma: float, start: Any, stop: Any
) -> Any:
    """Filter an image and return the part between `start` and `stop`.

    Parameters
    ----------
    array : ndarray
        At least four voxels along each axis.
    spacing : tuple of float
        In ITK's order (x, y, z).
    sigma : float
        In millimetres.
    start, stop : sequence of int
        In voxels, in ITK's order.

    Returns
    -------
    filtered : SimpleITK.Image of 32-bit floats
    """
    import SimpleITK as sitk

    from skcyto.feature_extraction._radiomics._kernels._gaussian import coefficients, smooth_along

    array = array if array.dtype == np.float32 else np.asarray(array, dtype=np.float64)
    total: Any = np.zeros(1, dtype=np.float32)
    for axis in range(array.ndim):
        part = array
        for direction in [axis, *(other for other in range(array.ndim) if other != axis)]:
            recursion = coefficients(sigma, spacing[direction], 2 if direction == axis else 0)
            numpy_axis = array.ndim - 1 - direction
            part = smooth_along(part, numpy_axis, start[direction], stop[direction], recursion)
        weighted = part.astype(np.float64) * (1.0 / spacing[axis] ** 2)
        # ITK keeps the running sum in single precision.
        total = (total + weighted).astype(np.float32)
    filtered = sitk.GetImageFromArray(total)
    filtered.SetSpacing(spacing)
    return filtered


def name_of(sigma: float) -> str:
    """Return pyradiomics' name of the filtered image."""
    return f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D"


def fits(image: Any, sigma: float) -> bool:
    """Tell whether an image is large enough for pyradiomics to filter it with `sigma`."""
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    return bool(size.min() >= 4 and np.all(size >= np.ceil(sigma / spacing) + 1))


@lru_cache(maxsize=1)
def is_exact() -> bool:
    """Compare with the installed pyradiomics' own filter on noise, bit for bit."""
    import SimpleITK as sitk
    from radiomics import imageoperations

    for size in ((9, 12, 11), (14, 10)):
        noise = np.random.default_rng(0).normal(scale=100, size=size)
        image = sitk.GetImageFromArray(noise)
        image.SetSpacing((0.7, 0.8, 1.9)[: len(size)])
        sigma = 1.5
        expected = list(imageoperations.getLoGImage(image, image, sigma=[sigma]))
        start, stop = [1] * len(size), [length - 2 for length in image.GetSize()]
        found = laplacian_of_gaussian(noise, image.GetSpacing(), sigma, start, stop)
        inside = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))[::-1]
        if [name for _, name, _ in expected] != [name_of(sigma)] or not np.array_equal(
            sitk.GetArrayFromImage(expected[0][0])[inside], sitk.GetArrayFromImage(found)
        ):
            return False
    return True
