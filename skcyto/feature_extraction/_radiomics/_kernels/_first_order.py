"""First-order features of one region, in few passes over sorted values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EPS = float(np.spacing(1))
_UNSURE = 1e-5  # a difference this small against its terms is known to ten digits at most


def first_order(
    values: NDArray[np.float64], counts: NDArray[np.int64], shift: float, voxel_volume: float
) -> tuple[dict[str, float], set[str]]:
    """Compute the features.

    Parameters
    ----------
    values : ndarray of shape (n_voxels,)
    counts : ndarray of shape (n_levels,)
        How many voxels each gray level has.
    shift : float
        Added before squares are summed (``voxelArrayShift``).
    voxel_volume : float

    Returns
    -------
    features : dict of str to float
    unsure : set of str
        Features that hang on what rounding makes of a difference.
    """
    ordered = np.sort(values)
    tenth, quarter, three_quarters, ninetieth = _quantiles(ordered)
    half = float(ordered[(values.size - 1) // 2] + ordered[values.size // 2]) / 2
    middle = ordered[np.searchsorted(ordered, tenth) : np.searchsorted(ordered, ninetieth, "right")]
    mean = values.mean()
    centred = values - mean
    sizes, squares = np.abs(centred), centred * centred
    second, third = squares.mean(), (squares * centred).mean()
    shifted = values + shift
    energy = float((shifted * shifted).sum())
    p = counts / counts.sum()
    flat = second == 0
    features = {
        "Energy": energy,
        "TotalEnergy": energy * voxel_volume,
        "Entropy": -1.0 * float((p * np.log2(p + _EPS)).sum()),
        "Minimum": float(ordered[0]),
        "10Percentile": tenth,
        "90Percentile": ninetieth,
        "Maximum": float(ordered[-1]),
        "Mean": float(mean),
        "Median": half,
        "InterquartileRange": three_quarters - quarter,
        "Range": float(ordered[-1] - ordered[0]),
        "MeanAbsoluteDeviation": float(sizes.mean()),
        "RobustMeanAbsoluteDeviation": float(np.abs(middle - middle.mean()).mean()),
        "RootMeanSquared": float(np.sqrt(energy / values.size)),
        "Skewness": 0.0 if flat else float(third / second**1.5),
        "Kurtosis": 0.0 if flat else float((squares * squares).mean() / second**2),
        "Variance": float(np.sqrt(second) ** 2),
        "Uniformity": float((p * p).sum()),
    }
    unsure = set()
    if abs(third) <= _UNSURE * (squares * sizes).mean():
        unsure.add("Skewness")
    # Where a region is as good as flat, what is left of it is the rounding of its mean.
    if second <= (_UNSURE * mean) ** 2:
        unsure |= {"Skewness", "Kurtosis", "Variance", "MeanAbsoluteDeviation"}
    if features["RobustMeanAbsoluteDeviation"] <= _UNSURE * abs(middle.mean()):
        unsure.add("RobustMeanAbsoluteDeviation")
    return features, unsure


def _quantiles(ordered: NDArray[np.float64]) -> list[float]:
    found = []
    for share in (0.1, 0.25, 0.75, 0.9):
        place = (ordered.size - 1) * share
        below = int(place)
        low, high = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
        part = place - below
        # As numpy does it: from the nearer end.
        step = high - low
        found.append(low + step * part if part < 0.5 else high - step * (1 - part))
    return found
