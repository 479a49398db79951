"""Features of the neighbourhood of each voxel, by the kernels that measure whole regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._kernels._compile import compiled
from skcyto.feature_extraction._radiomics._kernels._cooccurrence import cooccurrence
from skcyto.feature_extraction._radiomics._kernels._sizes import (
    dependences,
    lines_with_pairs,
    run_lengths,
    zones,
)
from skcyto.feature_extraction._radiomics._kernels._tones import tone_differences

FIRST_ORDER = (
    "Energy",
    "TotalEnergy",
    "Entropy",
    "Minimum",
    "10Percentile",
    "90Percentile",
    "Maximum",
    "Mean",
    "Median",
    "InterquartileRange",
    "Range",
    "MeanAbsoluteDeviation",
    "RobustMeanAbsoluteDeviation",
    "RootMeanSquared",
    "Skewness",
    "Kurtosis",
    "Variance",
    "Uniformity",
)
_EPS = float(np.spacing(1))
_NOTHING = 1e-13  # a spread this small against the values is rounding


@compiled
def texture_maps(
    dense: NDArray[np.int32],
    centres: NDArray[np.int64],
    cube: NDArray[np.int64],
    local: NDArray[np.int32],
    local_cube: NDArray[np.int64],
    offsets: NDArray[np.int64],
    next_offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    run_weights: NDArray[np.float64],
    levels: NDArray[np.int64],
    symmetric: bool,
    alpha: int,
    longest: int,
    wanted: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    """Measure the matrices around each voxel.

    Parameters
    ----------
    dense : ndarray of int32
        The padded box, flattened: rank of the gray level, from 1 on, and 0 outside the region.
    centres : ndarray of shape (n_voxels,)
        Voxels to measure around, as positions in `dense`.
    cube : ndarray of shape (n_cube,)
        Offsets in `dense` of all voxels around a centre, and its own.
    local : ndarray of int32
        A padded box of the size of the cube, flattened: 0 within, -1 in the padding.
    local_cube : ndarray of shape (n_cube,)
        Where in `local` the voxels of `cube` are.
    offsets, next_offsets : ndarray of int64
        Neighbours in `local`, and direct neighbours; of a direction and its opposite, one.
    weights, run_weights : ndarray of float64
        Of `offsets` and `next_offsets`; empty for none.
    levels : ndarray of int64
        Gray level of each rank.
    symmetric : bool
    alpha : int
    longest : int
        Voxels along a side of the cube.
    wanted : ndarray of bool, shape (5,)
        Whether to measure glcm, gldm, ngtdm, glrlm, glszm.
    out : ndarray of shape (n_voxels, 76)
        Takes up the features: 23, 16, 5, 16 and 16 of them. Where there are no neighbours, what is
        there stays.
    """
    places, ranks = np.empty(cube.size, np.int64), np.empty(cube.size, np.int32)
    rank_of = np.zeros(levels.size + 1, np.int32)
    nothing = np.zeros((0, 0, 0))
    for v in range(centres.size):
        n = 0
        for k in range(cube.size):
            rank = dense[centres[v] + cube[k]]
            if rank > 0:
                places[n], ranks[n] = local_cube[k], rank
                rank_of[rank] = 1
                n += 1
        near = np.unique(ranks[:n])
        for k in range(near.size):
            rank_of[near[k]] = k + 1
        for k in range(n):
            local[places[k]] = rank_of[ranks[k]]
        here, own = places[:n], levels[near - 1]
        if wanted[0]:
            found, values, _ = cooccurrence(
                local, here, offsets, weights, own, levels[-1], symmetric, nothing
            )
            if found:
                out[v, :23] = values
        if wanted[1]:
            out[v, 23:39] = dependences(local, here, offsets, own, alpha)
        if wanted[2]:
            out[v, 39:44] = tone_differences(local, here, offsets, own)
        if wanted[3]:
            has = lines_with_pairs(local, here, next_offsets)
            own_weights = run_weights[has] if run_weights.size else run_weights
            found, values, _ = run_lengths(
                local, here, next_offsets[has], own_weights, own, longest
            )
            if found:
                out[v, 44:60] = values
        if wanted[4]:
            out[v, 60:76] = zones(local, here, next_offsets, own)
        for k in range(n):
            local[places[k]] = 0


@compiled
def first_order_maps(
    dense: NDArray[np.int32],
    values: NDArray[np.float64],
    centres: NDArray[np.int64],
    cube: NDArray[np.int64],
    shift: float,
    voxel_volume: float,
    out: NDArray[np.float64],
) -> None:
    """Measure first-order features around each voxel.

    Parameters
    ----------
    dense, centres, cube
        As for :func:`texture_maps`.
    values : ndarray of float64
        The image in the padded box, flattened.
    shift, voxel_volume : float
    out : ndarray of shape (n_voxels, 18)
    """
    near, ranks = np.empty(cube.size), np.empty(cube.size, np.int32)
    for v in range(centres.size):
        n = 0
        for k in range(cube.size):
            rank = dense[centres[v] + cube[k]]
            if rank > 0:
                near[n], ranks[n] = values[centres[v] + cube[k]], rank
                n += 1
        _measure(np.sort(near[:n]), np.sort(ranks[:n]), shift, voxel_volume, out[v])


@compiled
def _measure(
    x: NDArray[np.float64],
    ranks: NDArray[np.int32],
    shift: float,
    voxel_volume: float,
    out: NDArray[np.float64],
) -> None:
    """Measure sorted values."""
    n = x.size
    energy, entropy, uniformity, start = ((x + shift) ** 2).sum(), 0.0, 0.0, 0
    for k in range(1, n + 1):
        if k < n and ranks[k] == ranks[start]:
            continue
        p = (k - start) / n
        entropy -= p * np.log2(p + _EPS)
        uniformity += p * p
        start = k
    tenth, ninetieth = _quantile(x, 0.1), _quantile(x, 0.9)
    mean = x.sum() / n
    middle = x[(x >= tenth) & (x <= ninetieth)]
    centred = x - mean
    second = (centred**2).sum() / n
    flat = second <= (_NOTHING * mean) ** 2
    out[0], out[1], out[2] = energy, energy * voxel_volume, entropy
    out[3], out[4], out[5], out[6], out[7] = x[0], tenth, ninetieth, x[-1], mean
    out[8] = (x[(n - 1) // 2] + x[n // 2]) / 2
    out[9] = _quantile(x, 0.75) - _quantile(x, 0.25)
    out[10] = x[-1] - x[0]
    out[11] = np.abs(centred).sum() / n
    out[12] = np.abs(middle - middle.sum() / middle.size).sum() / middle.size
    out[13] = np.sqrt(energy / n)
    out[14] = 0.0 if flat else (centred**3).sum() / n / second**1.5
    out[15] = 0.0 if flat else (centred**4).sum() / n / second**2
    out[16] = second
    out[17] = uniformity


@compiled
def _quantile(x: NDArray[np.float64], share: float) -> float:
    place = (x.size - 1) * share
    below = int(place)
    low, high, part = x[below], x[min(below + 1, x.size - 1)], place - below
    step = high - low
    return low + step * part if part < 0.5 else high - step * (1 - part)
