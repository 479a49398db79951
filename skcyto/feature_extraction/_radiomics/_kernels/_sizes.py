"""Matrices that count sizes by gray level: runs (GLRLM), zones (GLSZM) and dependences (GLDM).

What differs is what is counted; the formulas are the same sixteen, under three sets of names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._kernels._compile import compiled

RUN_FEATURES = (
    "ShortRunEmphasis",
    "LongRunEmphasis",
    "GrayLevelNonUniformity",
    "GrayLevelNonUniformityNormalized",
    "RunLengthNonUniformity",
    "RunLengthNonUniformityNormalized",
    "RunPercentage",
    "GrayLevelVariance",
    "RunVariance",
    "RunEntropy",
    "LowGrayLevelRunEmphasis",
    "HighGrayLevelRunEmphasis",
    "ShortRunLowGrayLevelEmphasis",
    "ShortRunHighGrayLevelEmphasis",
    "LongRunLowGrayLevelEmphasis",
    "LongRunHighGrayLevelEmphasis",
)
ZONE_FEATURES = (
    "SmallAreaEmphasis",
    "LargeAreaEmphasis",
    "GrayLevelNonUniformity",
    "GrayLevelNonUniformityNormalized",
    "SizeZoneNonUniformity",
    "SizeZoneNonUniformityNormalized",
    "ZonePercentage",
    "GrayLevelVariance",
    "ZoneVariance",
    "ZoneEntropy",
    "LowGrayLevelZoneEmphasis",
    "HighGrayLevelZoneEmphasis",
    "SmallAreaLowGrayLevelEmphasis",
    "SmallAreaHighGrayLevelEmphasis",
    "LargeAreaLowGrayLevelEmphasis",
    "LargeAreaHighGrayLevelEmphasis",
)
DEPENDENCE_FEATURES = (
    "SmallDependenceEmphasis",
    "LargeDependenceEmphasis",
    "GrayLevelNonUniformity",
    "",  # deprecated, as is the percentage
    "DependenceNonUniformity",
    "DependenceNonUniformityNormalized",
    "",
    "GrayLevelVariance",
    "DependenceVariance",
    "DependenceEntropy",
    "LowGrayLevelEmphasis",
    "HighGrayLevelEmphasis",
    "SmallDependenceLowGrayLevelEmphasis",
    "SmallDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis",
    "LargeDependenceHighGrayLevelEmphasis",
)
_N_FEATURES = 16
_GRAY_LEVEL_VARIANCE, _SIZE_VARIANCE = 7, 8
_EPS = float(np.spacing(1))
_NOTHING = 1e-12  # a variance this small may be rounding alone


@compiled
def lines_with_pairs(
    dense: NDArray[np.int32], positions: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say in which directions any straight line meets two voxels of a region, gaps allowed.

    Parameters
    ----------
    dense : ndarray of int32
        A padded box, flattened: above 0 in the region, 0 outside it, -1 in the padding.
    positions, offsets : ndarray of int64

    Returns
    -------
    has : ndarray of bool, shape (n_directions,)
    """
    has = np.zeros(offsets.size, np.bool_)
    for a in range(offsets.size):
        for v in range(positions.size):
            if dense[positions[v] + offsets[a]] > 0:
                has[a] = True
                break
        if has[a]:
            continue
        for v in range(positions.size):
            q = positions[v] + offsets[a]
            while dense[q] == 0:
                q += offsets[a]
            if dense[q] > 0:
                has[a] = True
                break
    return has


@compiled
def run_lengths(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    levels: NDArray[np.int64],
    longest: int,
) -> tuple[int, NDArray[np.float64], NDArray[np.bool_]]:
    """Average the features of runs over all directions.

    Parameters
    ----------
    dense : ndarray of int32
        A padded box, flattened: rank of the gray level, from 1 on, and 0 outside the region.
    positions : ndarray of int64
        Where in it the region's voxels are.
    offsets : ndarray of int64
        The neighbour in each direction.
    weights : ndarray of float64
        Of each direction, which are then summed to one matrix; empty for a matrix each.
    levels : ndarray of int64
        Gray level of each rank.
    longest : int
        No run is longer.

    Returns
    -------
    n_matrices : int
    features : ndarray of shape (16,)
    unsure : ndarray of bool
        Features that hang on what rounding makes of a difference.
    """
    total, each = np.zeros(_N_FEATURES), np.zeros(_N_FEATURES)
    unsure = np.zeros(_N_FEATURES, np.bool_)
    matrix = np.zeros((levels.size, longest))
    n_matrices = 0
    for a in range(offsets.size):
        step = offsets[a]
        weight = weights[a] if weights.size else 1.0
        for v in range(positions.size):
            position = positions[v]
            level = dense[position]
            if dense[position - step] == level:
                continue
            length, q = 0, position + step
            while dense[q] == level:
                length += 1
                q += step
            matrix[level - 1, length] += weight
        if weights.size == 0 or a == offsets.size - 1:
            _measure_dense(matrix, levels, each)
            total += each
            n_matrices += 1
            matrix[:] = 0.0
    if n_matrices:
        total /= n_matrices
    if weights.size:
        unsure[_GRAY_LEVEL_VARIANCE] = total[_GRAY_LEVEL_VARIANCE] <= _NOTHING * levels[-1] ** 2
        unsure[_SIZE_VARIANCE] = total[_SIZE_VARIANCE] <= _NOTHING
    return n_matrices, total, unsure


@compiled
def dependences(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
    levels: NDArray[np.int64],
    alpha: int,
) -> NDArray[np.float64]:
    """Compute the features of dependences: neighbours that differ by `alpha` at most.

    Parameters
    ----------
    dense, positions, offsets, levels
        As for :func:`run_lengths`; of a direction and its opposite, one is in `offsets`.
    alpha : int

    Returns
    -------
    features : ndarray of shape (16,)
    """
    out = np.zeros(_N_FEATURES)
    matrix = np.zeros((levels.size, 2 * offsets.size + 1))
    for v in range(positions.size):
        position = positions[v]
        i = dense[position]
        count = 0
        for a in range(offsets.size):
            for j in (dense[position + offsets[a]], dense[position - offsets[a]]):
                if j == i or (j > 0 and abs(levels[i - 1] - levels[j - 1]) <= alpha):
                    count += 1
        matrix[i - 1, count] += 1.0
    _measure_dense(matrix, levels, out)
    return out


@compiled
def zones(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
    levels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the features of zones, and leave `dense` empty.

    Parameters
    ----------
    dense, positions, offsets, levels
        As for :func:`run_lengths`; of a direction and its opposite, one is in `offsets`.

    Returns
    -------
    features : ndarray of shape (16,)
    """
    stack = np.empty(positions.size, np.int64)
    keys = np.empty(positions.size, np.int64)
    n_zones = largest = 0
    for v in range(positions.size):
        level = dense[positions[v]]
        if level == 0:
            continue
        dense[positions[v]] = 0
        stack[0] = positions[v]
        height, size = 1, 0
        while height:
            height -= 1
            position = stack[height]
            size += 1
            for a in range(offsets.size):
                for q in (position + offsets[a], position - offsets[a]):
                    if dense[q] == level:
                        dense[q] = 0
                        stack[height] = q
                        height += 1
        keys[n_zones] = size * levels.size + (level - 1)
        n_zones += 1
        largest = max(largest, size)
    return _measure_zones(np.sort(keys[:n_zones]), largest, levels)


@compiled
def _measure_zones(
    keys: NDArray[np.int64], largest: int, levels: NDArray[np.int64]
) -> NDArray[np.float64]:
    out = np.zeros(_N_FEATURES)
    by_level, by_size = np.zeros(levels.size), np.zeros(largest)
    start = 0
    for k in range(1, keys.size + 1):
        if k < keys.size and keys[k] == keys[start]:
            continue
        size, rank = keys[start] // levels.size, keys[start] % levels.size
        by_level[rank] += k - start
        by_size[size - 1] += k - start
        _add_cell(float(k - start), float(keys.size), size, levels[rank], out)
        start = k
    _of_marginals(by_level, by_size, float(keys.size), levels, out)
    return out


@compiled
def _measure_dense(
    matrix: NDArray[np.float64], levels: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    out[:] = 0.0
    by_level, by_size = matrix.sum(axis=1), matrix.sum(axis=0)
    total = by_level.sum()
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            if matrix[i, j]:
                _add_cell(matrix[i, j], total, j + 1, levels[i], out)
    _of_marginals(by_level, by_size, total, levels, out)


@compiled
def _add_cell(count: float, total: float, size: int, level: int, out: NDArray[np.float64]) -> None:
    """Add what a cell has to the features that depend on level and size at once."""
    p = count / total
    i2, j2 = float(level) * level, float(size) * size
    out[9] -= p * np.log2(p + _EPS)
    out[12] += p / (i2 * j2)
    out[13] += p * i2 / j2
    out[14] += p * j2 / i2
    out[15] += p * (i2 * j2)


@compiled
def _of_marginals(
    by_level: NDArray[np.float64],
    by_size: NDArray[np.float64],
    total: float,
    levels: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    mean = 0.0
    for i in range(levels.size):
        p, level = by_level[i] / total, float(levels[i])
        mean += p * level
        out[2] += by_level[i] * p
        out[10] += p / (level * level)
        out[11] += p * (level * level)
    for i in range(levels.size):
        out[7] += by_level[i] / total * (levels[i] - mean) ** 2
    mean = voxels = 0.0
    for j in range(by_size.size):
        p, size = by_size[j] / total, j + 1.0
        mean += p * size
        voxels += by_size[j] * size
        out[4] += by_size[j] * p
        out[0] += p / (size * size)
        out[1] += p * (size * size)
    for j in range(by_size.size):
        out[8] += by_size[j] / total * (j + 1.0 - mean) ** 2
    out[3] = out[2] / total
    out[5] = out[4] / total
    out[6] = total / voxels
