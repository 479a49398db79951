"""Meshes measured without comparing all pairs of vertices.

pyradiomics' C function finds surface, volume and maximum diameters in one go, the diameters by
comparing every pair of mesh vertices: quadratic in the surface. Here the same quantities come

- surface and volume from the number of mesh cubes of each of the 256 kinds, times what
  pyradiomics' own C function says about one cube of that kind (a cube at another place adds a
  term linear in its position to the volume);
- diameters from those vertices alone that can be ends of the longest line: the vertices of the
  convex hull, and in each slice the outermost vertices of each row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CORNERS = np.array(list(np.ndindex(2, 2, 2)))


def measure_mesh(
    mask: NDArray[np.bool_], spacing: NDArray[np.float64], measure: Any
) -> tuple[float, float, tuple[float, float, float, float]]:
    """Measure surface area, volume and diameters of a mask's mesh.

    Parameters
    ----------
    mask : ndarray of shape (nz, ny, nx), dtype bool
        Padded by one empty voxel on every side.
    spacing : ndarray of shape (3,)
        In the order of the mask's axes.
    measure : callable
        pyradiomics' ``cShape.calculate_coefficients``.

    Returns
    -------
    surface, volume : float
    diameters : tuple of 4 float
        Largest in planes across each of the three axes, and in space.
    """
    surfaces, volumes, slopes = _cubes(tuple(map(float, spacing)), measure)
    kinds = np.zeros(np.array(mask.shape) - 1, dtype=np.uint8)
    for bit, (z, y, x) in enumerate(_CORNERS):
        view = mask[z : z + kinds.shape[0], y : y + kinds.shape[1], x : x + kinds.shape[2]]
        kinds |= view.astype(np.uint8) << np.uint8(bit)
    where = np.nonzero((kinds != 0) & (kinds != 255))
    kinds_there = kinds[where]
    counts = np.bincount(kinds_there, minlength=256)
    volume = float(counts @ volumes)
    for axis in range(3):
        volume += float(where[axis] @ slopes[kinds_there, axis])
    return float(counts @ surfaces), volume, _diameters(_vertices(mask), spacing)


@lru_cache(maxsize=64)
def _cubes(
    spacing: tuple[float, float, float], measure: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Surface, volume at the origin, and growth of the volume a step along each axis."""
    surfaces, volumes, slopes = np.zeros(256), np.zeros(256), np.zeros((256, 3))
    spacing_array = np.array(spacing)

    def ask(corners: NDArray[np.bool_]) -> tuple[float, float]:
        surface, volume, _ = measure(np.ascontiguousarray(corners), spacing_array)
        return surface, volume

    for kind in range(256):
        cube = (kind >> np.arange(8) & 1).astype(bool).reshape(2, 2, 2)
        surfaces[kind], volumes[kind] = ask(cube)
        for axis in range(3):
            # The cube one step further, behind a cube that only repeats its first slice.
            first = np.take(cube, [0], axis=axis)
            _, before = ask(np.concatenate([first, first], axis=axis))
            _, both = ask(np.concatenate([first, cube], axis=axis))
            slopes[kind, axis] = both - before - volumes[kind]
    return surfaces, volumes, slopes


def _vertices(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Vertices of the mesh, in half voxels: the middles between neighbours in and out."""
    vertices = []
    for axis in range(3):
        crossings = np.argwhere(np.diff(mask, axis=axis))
        crossings *= 2
        crossings[:, axis] += 1
        vertices.append(crossings)
    return np.concatenate(vertices)


def _diameters(
    vertices: NDArray[np.int64], spacing: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    in_planes = [_largest_in_planes(vertices, axis, spacing) for axis in range(3)]
    return in_planes[0], in_planes[1], in_planes[2], _largest_in_space(vertices, spacing)


def _outermost(vertices: NDArray[np.int64], along: int) -> NDArray[np.int64]:
    """First and last vertex of each row along an axis: no other can end a longest line."""
    others = [axis for axis in range(3) if axis != along]
    order = np.lexsort((vertices[:, along], vertices[:, others[1]], vertices[:, others[0]]))
    rows = vertices[order]
    new_row = np.any(np.diff(rows[:, others], axis=0) != 0, axis=1)
    first, last = np.concatenate([[True], new_row]), np.concatenate([new_row, [True]])
    return rows[first | last]


def _largest_in_planes(
    vertices: NDArray[np.int64], across: int, spacing: NDArray[np.float64]
) -> float:
    along = 2 if across != 2 else 1
    vertices = _outermost(vertices, along)
    vertices = vertices[np.argsort(vertices[:, across], kind="stable")]
    starts = np.flatnonzero(np.diff(vertices[:, across], prepend=-1))
    points = vertices / 2.0 * spacing
    extent = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    bounds = (extent**2).sum(axis=1)
    ends = np.append(starts[1:], len(points))
    largest = 0.0
    for plane in np.argsort(-bounds):
        if bounds[plane] <= largest:
            break
        largest = max(largest, _largest_squared(points[starts[plane] : ends[plane]]))
    return float(np.sqrt(largest))


def _largest_in_space(vertices: NDArray[np.int64], spacing: NDArray[np.float64]) -> float:
    from scipy.spatial import ConvexHull

    points = _outermost(vertices, 2) / 2.0 * spacing
    # Any voxel has vertices on all six sides, so that the hull is never flat.
    return float(np.sqrt(_largest_squared(points[ConvexHull(points).vertices])))


def _largest_squared(points: NDArray[np.float64]) -> float:
    largest = 0.0
    for start in range(0, len(points), 256):  # bounds the memory of the table of pairs
        squared = np.zeros((len(points[start : start + 256]), len(points)))
        for axis in range(3):
            squared += np.subtract.outer(points[start : start + 256, axis], points[:, axis]) ** 2
        largest = max(largest, float(squared.max()))
    return largest
