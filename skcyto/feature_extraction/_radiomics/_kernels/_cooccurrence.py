"""Features of gray level co-occurrence matrices (GLCM).

Of each matrix only the cells that hold something are looked at. Of a symmetric one the pairs are
counted without order. What depends on i + j, on |i - j| or on i alone comes from the marginals.
Logarithms, the slowest step, are taken once for all cells with the same count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._kernels._compile import compiled

FEATURES = (
    "Autocorrelation",
    "JointAverage",
    "ClusterProminence",
    "ClusterShade",
    "ClusterTendency",
    "Contrast",
    "Correlation",
    "DifferenceAverage",
    "DifferenceEntropy",
    "DifferenceVariance",
    "JointEnergy",
    "JointEntropy",
    "Imc1",
    "Imc2",
    "Idm",
    "Idmn",
    "Id",
    "Idn",
    "InverseVariance",
    "MaximumProbability",
    "SumAverage",
    "SumEntropy",
    "SumSquares",
)
(
    _AUTOCORRELATION,
    _JOINT_AVERAGE,
    _CLUSTER_PROMINENCE,
    _CLUSTER_SHADE,
    _CLUSTER_TENDENCY,
    _CONTRAST,
    _CORRELATION,
    _DIFFERENCE_AVERAGE,
    _DIFFERENCE_ENTROPY,
    _DIFFERENCE_VARIANCE,
    _JOINT_ENERGY,
    _JOINT_ENTROPY,
    _IMC1,
    _IMC2,
    _IDM,
    _IDMN,
    _ID,
    _IDN,
    _INVERSE_VARIANCE,
    _MAXIMUM_PROBABILITY,
    _SUM_AVERAGE,
    _SUM_ENTROPY,
    _SUM_SQUARES,
) = range(len(FEATURES))
_EPS = float(np.spacing(1))
_EPS_BITS = _EPS / float(np.log(2))
_UNSURE = 1e-5  # a difference this small against its terms is known to ten digits at most
_UNSURE_BITS = 1e-4
_NOTHING = 1e-12  # a variance this small may be rounding alone
_N_COUNTS = 512  # logarithms of counts below are shared


@compiled
def cooccurrence(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    levels: NDArray[np.int64],
    top: int,
    symmetric: bool,
    matrices: NDArray[np.float64],
) -> tuple[int, NDArray[np.float64], NDArray[np.bool_]]:
    """Average the features of all directions.

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
    top : int
        Number of gray levels that differences are scaled by.
    symmetric : bool
    matrices : ndarray of shape (n_directions, n_levels, n_levels) or (0, 0, 0)
        Takes up the matrices, summing to 1 each.

    Returns
    -------
    n_matrices : int
        Directions in which there is a pair, or 1 with weights; 0 where there is no pair.
    features : ndarray of shape (n_features,)
    unsure : ndarray of bool
        Features that hang on what rounding makes of a difference.
    """
    n_levels = levels.size
    total, each = np.zeros(len(FEATURES)), np.zeros(len(FEATURES))
    unsure = np.zeros(len(FEATURES), np.bool_)
    cells = np.empty(min(positions.size * max(1, weights.size), n_levels * n_levels), np.int64)
    counts = np.zeros(n_levels * n_levels)
    spread = np.zeros(2)  # absolute third moment and its signed counterpart
    n_cells = n_matrices = 0
    for a in range(offsets.size):
        weight = weights[a] if weights.size else 1.0
        if weight > 0:  # of neighbours far apart it is zero
            n_cells = _count(
                dense, positions, offsets[a], weight, n_levels, symmetric, counts, cells, n_cells
            )
        if n_cells and (weights.size == 0 or a == offsets.size - 1):
            matrix = matrices[n_matrices] if matrices.size else np.zeros((0, 0))
            whole = weights.size == 0
            _measure(
                counts,
                cells[:n_cells],
                levels,
                top,
                symmetric,
                whole,
                matrix,
                each,
                unsure,
                spread,
            )
            total += each
            n_matrices += 1
            n_cells = 0
    if n_matrices:
        total /= n_matrices
    if spread[0] > 0 and abs(spread[1]) <= _UNSURE * spread[0]:
        unsure[_CLUSTER_SHADE] = True
    if abs(total[_CORRELATION]) < _UNSURE:
        unsure[_CORRELATION] = True
    return n_matrices, total, unsure


@compiled
def _count(
    dense: NDArray[np.int32],
    positions: NDArray[np.int64],
    offset: int,
    weight: float,
    n_levels: int,
    symmetric: bool,
    counts: NDArray[np.float64],
    cells: NDArray[np.int64],
    n_cells: int,
) -> int:
    for v in range(positions.size):
        position = positions[v]
        i, j = dense[position], dense[position + offset]
        if j <= 0:
            continue
        if symmetric and j < i:
            i, j = j, i
        cell = (i - 1) * n_levels + (j - 1)
        if counts[cell] == 0:
            cells[n_cells] = cell
            n_cells += 1
        counts[cell] += weight
    return n_cells


@compiled
def _measure(
    counts: NDArray[np.float64],
    cells: NDArray[np.int64],
    levels: NDArray[np.int64],
    top: int,
    symmetric: bool,
    whole: bool,
    matrix: NDArray[np.float64],
    out: NDArray[np.float64],
    unsure: NDArray[np.bool_],
    spread: NDArray[np.float64],
) -> None:
    """Measure one matrix, and empty its cells."""
    n_levels = levels.size
    total = 0.0
    for k in range(cells.size):
        total += counts[cells[k]]
    total *= 2.0 if symmetric else 1.0
    px, py = np.zeros(n_levels), np.zeros(n_levels)
    sums, differences = np.zeros(2 * levels[-1] + 1), np.zeros(levels[-1])
    n_shared = min(_N_COUNTS, int(total) + 1) if whole else 0
    shared = np.zeros(n_shared)
    energy = auto = entropy = largest = 0.0
    for k in range(cells.size):
        i, j = cells[k] // n_levels, cells[k] % n_levels
        count, times = counts[cells[k]], 1.0
        if symmetric and i == j:
            count *= 2.0
        elif symmetric:
            times = 2.0
            px[j] += count
            py[i] += count
        px[i] += count
        py[j] += count
        sums[levels[i] + levels[j]] += times * count
        differences[abs(levels[i] - levels[j])] += times * count
        auto += times * count * levels[i] * levels[j]
        energy += times * count * count
        largest = max(largest, count)
        if count < n_shared:
            shared[int(count)] += times
        else:
            p = count / total
            entropy -= times * p * np.log2(p + _EPS)
        if matrix.size:
            matrix[i, j] = count / total
            if symmetric:
                matrix[j, i] = count / total
    for count in range(1, min(n_shared, int(largest) + 1)):
        if shared[count]:
            p = count / total
            entropy -= shared[count] * p * np.log2(p + _EPS)
    px /= total
    py /= total
    sums /= total
    differences /= total
    out[_AUTOCORRELATION] = auto / total
    out[_JOINT_ENERGY] = energy / (total * total)
    out[_JOINT_ENTROPY] = entropy
    out[_MAXIMUM_PROBABILITY] = largest / total
    single = cells.size == 1 and (not symmetric or cells[0] // n_levels == cells[0] % n_levels)
    _of_differences(differences, top, single, out, unsure)
    _of_sums(sums, px, py, levels, single, out, unsure, spread)
    _of_both(counts, cells, total, px, py, levels, symmetric, single, out, unsure)
    for k in range(cells.size):
        counts[cells[k]] = 0.0


@compiled
def _of_differences(
    differences: NDArray[np.float64],
    top: int,
    single: bool,
    out: NDArray[np.float64],
    unsure: NDArray[np.bool_],
) -> None:
    mean = contrast = entropy = idm = idmn = id_ = idn = inverse = 0.0
    for k in range(differences.size):
        p = differences[k]
        if p == 0:
            continue
        mean += k * p
        contrast += p * k * k
        entropy -= p * np.log2(p + _EPS)
        idm += p / (1.0 + k * k)
        idmn += p / (1.0 + (k * k) / (float(top) * top))
        id_ += p / (1.0 + k)
        idn += p / (1.0 + k / top)
        if k:
            inverse += p / (k * k)
    variance = 0.0
    for k in range(differences.size):
        variance += differences[k] * (k - mean) ** 2
    if not single and variance <= _NOTHING * max(1.0, mean * mean):
        unsure[_DIFFERENCE_VARIANCE] = True
    out[_CONTRAST] = contrast
    out[_DIFFERENCE_AVERAGE] = mean
    out[_DIFFERENCE_ENTROPY] = entropy
    out[_DIFFERENCE_VARIANCE] = variance
    out[_IDM] = idm
    out[_IDMN] = idmn
    out[_ID] = id_
    out[_IDN] = idn
    out[_INVERSE_VARIANCE] = inverse


@compiled
def _of_sums(
    sums: NDArray[np.float64],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    levels: NDArray[np.int64],
    single: bool,
    out: NDArray[np.float64],
    unsure: NDArray[np.bool_],
    spread: NDArray[np.float64],
) -> None:
    ux = uy = squares = 0.0
    for i in range(levels.size):
        ux += px[i] * levels[i]
        uy += py[i] * levels[i]
    for i in range(levels.size):
        squares += px[i] * (levels[i] - ux) ** 2
    mean = entropy = tendency = shade = size = prominence = 0.0
    for k in range(sums.size):
        p = sums[k]
        if p == 0:
            continue
        mean += k * p
        entropy -= p * np.log2(p + _EPS)
        d = k - ux - uy
        tendency += p * d * d
        shade += p * d * d * d
        size += p * d * d * abs(d)
        prominence += p * d * d * d * d
    floor = _NOTHING * max(1.0, mean * mean)
    if not single and tendency <= floor:
        unsure[_CLUSTER_TENDENCY] = unsure[_CLUSTER_SHADE] = unsure[_CLUSTER_PROMINENCE] = True
    if not single and squares <= floor:
        unsure[_SUM_SQUARES] = True
    spread[0] += size
    spread[1] += shade
    out[_JOINT_AVERAGE] = ux
    out[_CLUSTER_PROMINENCE] = prominence
    out[_CLUSTER_SHADE] = shade
    out[_CLUSTER_TENDENCY] = tendency
    out[_SUM_AVERAGE] = mean
    out[_SUM_ENTROPY] = entropy
    out[_SUM_SQUARES] = squares


@compiled
def _of_both(
    counts: NDArray[np.float64],
    cells: NDArray[np.int64],
    total: float,
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    levels: NDArray[np.int64],
    symmetric: bool,
    single: bool,
    out: NDArray[np.float64],
    unsure: NDArray[np.bool_],
) -> None:
    """Measure how i and j hang together: correlation and mutual information."""
    if single:  # both marginals are certain
        out[_CORRELATION], out[_IMC1], out[_IMC2] = 1.0, 0.0, 0.0
        return
    ux = uy = vx = vy = 0.0
    for i in range(levels.size):
        ux += px[i] * levels[i]
        uy += py[i] * levels[i]
    for i in range(levels.size):
        vx += px[i] * (levels[i] - ux) ** 2
        vy += py[i] * (levels[i] - uy) ** 2
    covariance = ratio = 0.0
    for k in range(cells.size):
        i, j = cells[k] // levels.size, cells[k] % levels.size
        times = 2.0 if symmetric else 1.0  # the diagonal is counted twice as well
        p = times * counts[cells[k]] / total
        covariance += p * (levels[i] - ux) * (levels[j] - uy)
        ratio += p / (px[i] * py[j])
    if min(vx, vy) <= _NOTHING * max(1.0, ux * ux, uy * uy):
        unsure[_CORRELATION] = True
    out[_CORRELATION] = covariance / (np.sqrt(vx) * np.sqrt(vy) + _EPS)
    hx = hy = sx = sy = 0.0
    nx = ny = 0
    for i in range(levels.size):
        if px[i]:
            nx += 1
            hx -= px[i] * np.log2(px[i] + _EPS)
            sx -= px[i] * np.log2(px[i])
        if py[i]:
            ny += 1
            hy -= py[i] * np.log2(py[i] + _EPS)
            sy -= py[i] * np.log2(py[i])
    # log2(px py + eps) is log2(px) + log2(py) + eps / (px py ln 2), to the last digit.
    first = sx + sy - _EPS_BITS * ratio
    second = sx + sy - _EPS_BITS * nx * ny
    shared = out[_JOINT_ENTROPY] - first
    squared = 1.0 - np.exp(-2.0 * (second - out[_JOINT_ENTROPY]))
    if abs(shared) < _UNSURE_BITS:
        unsure[_IMC1] = True
    if abs(squared) < _UNSURE_BITS:
        unsure[_IMC2] = True
    out[_IMC1] = shared / max(hx, hy)
    out[_IMC2] = np.sqrt(max(squared, 0.0))


def correlation_coefficient(matrices: NDArray[np.float64]) -> float | None:
    """Compute MCC, the maximal correlation coefficient, averaged over the matrices.

    pyradiomics' matrix Q is that of the eigenvalue problem of (P / (px py + eps)) P'. Scaled by
    the roots of px it is symmetric but for eps, and a symmetric problem is ten times faster.

    Parameters
    ----------
    matrices : ndarray of shape (n_matrices, n_levels, n_levels)
        Summing to 1 each.

    Returns
    -------
    coefficient : float or None
        None where rounding or eps weigh too much to tell.
    """
    if matrices.shape[1] < 2:
        return 1.0 if len(matrices) else None
    px, py = matrices.sum(axis=2), matrices.sum(axis=1)
    both = px[:, :, None] * py[:, None, :]
    with np.errstate(divide="ignore"):
        there = np.where(matrices > 0, both, np.inf)
        if not (_EPS / there.min() < _UNSURE_BITS**2):
            return None
        scale_x, scale_y = (np.where(p > 0, 1 / np.sqrt(p), 0.0) for p in (px, py))
    scaled = matrices * scale_x[:, :, None] * scale_y[:, None, :]
    product = (scaled / (1 + _EPS / there)) @ scaled.swapaxes(1, 2)
    second = np.linalg.eigvalsh((product + product.swapaxes(1, 2)) / 2)[:, -2]
    return None if (second < _UNSURE).any() else float(np.sqrt(second).mean())
