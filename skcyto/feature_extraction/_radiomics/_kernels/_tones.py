"""Features of the neighbouring gray tone difference matrix (NGTDM)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._kernels._compile import compiled

FEATURES = ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")


@compiled
def tone_differences(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
    levels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the features.

    Parameters
    ----------
    dense : ndarray of int32
        A padded box, flattened: rank of the gray level, from 1 on, and 0 outside the region.
    positions : ndarray of int64
        Where in it the region's voxels are.
    offsets : ndarray of int64
        Of a direction and its opposite, one.
    levels : ndarray of int64
        Gray level of each rank.

    Returns
    -------
    features : ndarray of shape (5,)
    """
    counts, differences = np.zeros(levels.size), np.zeros(levels.size)
    for v in range(positions.size):
        position = positions[v]
        i = dense[position]
        n_neighbours = total = 0
        for a in range(offsets.size):
            for j in (dense[position + offsets[a]], dense[position - offsets[a]]):
                if j > 0:
                    n_neighbours += 1
                    total += levels[j - 1]
        counts[i - 1] += 1.0
        if n_neighbours:
            differences[i - 1] += abs(float(levels[i - 1]) - total / n_neighbours)
    return _measure(counts, differences, levels)


@compiled
def _measure(
    counts: NDArray[np.float64], s: NDArray[np.float64], levels: NDArray[np.int64]
) -> NDArray[np.float64]:
    total, all_s, coarse = counts.sum(), s.sum(), 0.0
    p = counts / total
    contrast = busyness = complexity = strength = 0.0
    for i in range(levels.size):
        coarse += p[i] * s[i]
        for j in range(levels.size):
            gap = float(abs(levels[i] - levels[j]))
            contrast += p[i] * p[j] * gap * gap
            busyness += abs(levels[i] * p[i] - levels[j] * p[j])
            complexity += gap * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j])
            strength += (p[i] + p[j]) * gap * gap
    out = np.zeros(5)
    out[0] = 1.0 / coarse if coarse != 0 else 1e6
    if levels.size > 1:
        out[1] = contrast * all_s / total / (levels.size * (levels.size - 1))
    out[2] = coarse / busyness if busyness != 0 else 0.0
    out[3] = complexity / total
    out[4] = strength / all_s if all_s != 0 else 0.0
    return out
