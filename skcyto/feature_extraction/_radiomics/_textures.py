"""All features of one region in one image by compiled kernels, and what they leave to pyradiomics.

The kernels look at the region's voxels alone. What they know to hang on rounding (a difference
small against its terms), settings they do not know, and regions on which pyradiomics gives no
number or an error are left to pyradiomics' own classes. On first use in a process each kernel is
compared with the installed version on two phantoms; one that disagrees is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._classes import (
    feature_classes,
    phantoms,
    same_values,
    share_bins,
)
from skcyto.feature_extraction._radiomics._filters import Box
from skcyto.feature_extraction._radiomics._voxels import Voxels

_NORMS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "infinity": lambda lengths: lengths.max(axis=1),
    "euclidean": lambda lengths: np.sqrt((lengths**2).sum(axis=1)),
    "manhattan": lambda lengths: lengths.sum(axis=1),
}
Found = tuple[dict[str, float], set[str]]


@dataclass(frozen=True)
class BinnedRegion:
    """One region in one image.

    Attributes
    ----------
    voxels : Voxels
    values : ndarray of shape (n_voxels,)
    ranks : ndarray of int32, shape (n_voxels,)
        Of gray levels, from 1 on.
    levels : ndarray of int64
        Gray level of each rank.
    spacing : tuple of float
        In the order of the image's array axes.
    settings : dict
        pyradiomics' settings of the image type.
    wanted : dict of str to list of str
        Features of each class.
    """

    voxels: Voxels
    values: NDArray[Any]
    ranks: NDArray[np.int32]
    levels: NDArray[np.int64]
    spacing: tuple[float, ...]
    settings: dict[str, Any]
    wanted: dict[str, list[str]]

    @property
    def flat(self) -> int | None:
        """Axis along which there are no neighbours."""
        return self.settings.get("force2Ddimension", 0) if self.settings.get("force2D") else None

    @property
    def distances(self) -> tuple[int, ...]:
        """Distances of neighbours."""
        return tuple(self.settings.get("distances", [1]))

    def is_plain(self) -> bool:
        """Say whether settings are such as kernels know, and there are directions to look in."""
        distances, flat = self.distances, self.flat
        return (
            all(isinstance(each, int) and each > 0 for each in distances)
            and len(set(distances)) == len(distances) > 0
            and (flat is None or flat in range(len(self.spacing)))
            and len(self.voxels.steps(distances, flat)) > 0
            and len(self.voxels.steps((1,), flat)) > 0
        )

    def weights(self, steps: NDArray[np.int64], squared: bool) -> NDArray[np.float64] | None:
        """Weigh directions as ``weightingNorm`` says; none for no weights, None if not known."""
        norm = self.settings.get("weightingNorm")
        if norm is None:
            return np.empty(0)
        if norm == "no_weighting":
            return np.ones(len(steps))
        if norm not in _NORMS:
            return None
        lengths = _NORMS[norm](np.abs(steps) * np.array(self.spacing))
        return np.exp(-(lengths**2)) if squared else lengths


def compute(region: BinnedRegion, classes: Collection[str]) -> dict[str, Found]:
    """Compute the features of one region in one image.

    Parameters
    ----------
    region : BinnedRegion
    classes : collection of str
        Which classes to do, of those that are wanted.

    Returns
    -------
    found : dict of str to (dict of str to float, set of str)
        For each class that kernels can do here, its features, and which of them hang on rounding.
    """
    found = {}
    if "firstorder" in classes:
        found["firstorder"] = _first_order(region)
    if not region.is_plain():
        return found
    dense, positions = region.voxels.dense, region.voxels.positions
    dense[positions] = region.ranks
    for name, kernel in _MATRICES.items():
        if name in classes and (result := kernel(region)) is not None:
            found[name] = result
    dense[positions] = 0
    return found


def _first_order(region: BinnedRegion) -> Found:
    from skcyto.feature_extraction._radiomics._kernels._first_order import first_order

    counts = np.bincount(region.ranks)[1:]
    shift = region.settings.get("voxelArrayShift", 0)
    volume = float(np.prod(region.spacing))
    return first_order(region.values.astype(np.float64), counts, shift, volume)


def _cooccurrence(region: BinnedRegion) -> Found | None:
    from skcyto.feature_extraction._radiomics._kernels import _cooccurrence as kernels

    voxels = region.voxels
    steps = voxels.steps(region.distances, region.flat)
    weights = region.weights(steps, squared=True)
    if weights is None:
        return None
    n_levels = len(region.levels)
    wants_matrices = "MCC" in region.wanted["glcm"]
    shape = (1 if weights.size else len(steps), n_levels, n_levels)
    matrices = np.zeros(shape if wants_matrices else (0, 0, 0))
    n_matrices, values, unsure = kernels.cooccurrence(
        voxels.dense,
        voxels.positions,
        voxels.offsets(steps),
        weights,
        region.levels,
        int(region.levels[-1]),
        bool(region.settings.get("symmetricalGLCM", True)),
        matrices,
    )
    if n_matrices == 0:
        return None
    features, doubtful = _named(kernels.FEATURES, values, unsure)
    if wants_matrices:
        coefficient = kernels.correlation_coefficient(matrices[:n_matrices])
        features["MCC"] = np.nan if coefficient is None else coefficient
        doubtful |= {"MCC"} if coefficient is None else set()
    return features, doubtful


def _run_lengths(region: BinnedRegion) -> Found | None:
    from skcyto.feature_extraction._radiomics._kernels import _sizes as kernels

    voxels = region.voxels
    steps = voxels.with_pairs(region.flat)
    weights = region.weights(steps, squared=False)
    if weights is None or len(steps) == 0:
        return None
    n_matrices, values, unsure = kernels.run_lengths(
        voxels.dense,
        voxels.positions,
        voxels.offsets(steps),
        weights,
        region.levels,
        voxels.longest,
    )
    return _named(kernels.RUN_FEATURES, values, unsure) if n_matrices else None


def _dependences(region: BinnedRegion) -> Found | None:
    from skcyto.feature_extraction._radiomics._kernels import _sizes as kernels

    alpha = region.settings.get("gldm_a", 0)
    if not isinstance(alpha, int):
        return None
    voxels = region.voxels
    offsets = voxels.offsets(voxels.steps(region.distances, region.flat))
    values = kernels.dependences(voxels.dense, voxels.positions, offsets, region.levels, alpha)
    return _named(kernels.DEPENDENCE_FEATURES, values)


def _tones(region: BinnedRegion) -> Found:
    from skcyto.feature_extraction._radiomics._kernels import _tones as kernels

    voxels = region.voxels
    offsets = voxels.offsets(voxels.steps(region.distances, region.flat))
    values = kernels.tone_differences(voxels.dense, voxels.positions, offsets, region.levels)
    return _named(kernels.FEATURES, values)


def _zones(region: BinnedRegion) -> Found:
    from skcyto.feature_extraction._radiomics._kernels import _sizes as kernels

    voxels = region.voxels
    offsets = voxels.offsets(voxels.steps((1,), region.flat))
    values = kernels.zones(voxels.dense, voxels.positions, offsets, region.levels)
    return _named(kernels.ZONE_FEATURES, values)


# Zones come last: they empty the box.
_MATRICES: dict[str, Callable[[BinnedRegion], Found | None]] = {
    "glcm": _cooccurrence,
    "gldm": _dependences,
    "ngtdm": _tones,
    "glrlm": _run_lengths,
    "glszm": _zones,
}


def _named(
    names: tuple[str, ...],
    values: NDArray[np.float64],
    unsure: NDArray[np.bool_] | None = None,
) -> Found:
    features = {name: value for name, value in zip(names, values.tolist(), strict=True) if name}
    doubtful = set() if unsure is None else {names[k] for k in np.flatnonzero(unsure)}
    return features, doubtful | {name for name, value in features.items() if not np.isfinite(value)}


@lru_cache(maxsize=1)
def trusted_classes() -> frozenset[str]:
    """Compare the kernels with the installed pyradiomics, and name the classes that agree.

    Returns
    -------
    names : frozenset of str
    """
    trusted = {"firstorder", *_MATRICES} & set(feature_classes().classes)
    for phantom in phantoms():
        shared = share_bins(phantom.values[phantom.inside], phantom.settings)
        region = BinnedRegion(
            Voxels(phantom.inside, Box((0, 0, 0), phantom.image.GetSize()), 2),
            phantom.values[phantom.inside],
            shared["ranks"],
            shared["present"],
            phantom.image.GetSpacing()[::-1],
            phantom.settings,
            {name: list(phantom.expected(name)) for name in trusted},
        )
        trusted = {name for name in trusted if _agrees(region, name, phantom.expected(name))}
    return frozenset(trusted)


def _agrees(region: BinnedRegion, name: str, expected: dict[str, float]) -> bool:
    try:
        features, unsure = compute(region, [name])[name]
    except Exception:  # another version may lack anything that is relied on here
        return False
    return not unsure and same_values(features, expected)
