"""Voxel-wise maps: each feature of the neighbourhood of each voxel of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import Case, ScanProblem
from skcyto.feature_extraction._radiomics._checks import (
    check_dimensions,
    check_finite,
    missing_reason,
    present_labels,
)
from skcyto.feature_extraction._radiomics._classes import share_bins
from skcyto.feature_extraction._radiomics._engine import Region, prepare
from skcyto.feature_extraction._radiomics._filters import (
    Box,
    Filtered,
    crop,
    depends_on_label,
    filtered_images,
)
from skcyto.feature_extraction._radiomics._reading import read_case
from skcyto.feature_extraction._radiomics._runtime import private_runtime
from skcyto.feature_extraction._radiomics._settings import Settings
from skcyto.feature_extraction._radiomics._structures import Structure, region_masks
from skcyto.feature_extraction._radiomics._textures import BinnedRegion, trusted_classes
from skcyto.feature_extraction._radiomics._voxels import Voxels

_AT_ONCE = 20_000  # voxels; bounds the memory of all features side by side
_MATRIX_CLASSES = ("glcm", "gldm", "ngtdm", "glrlm", "glszm")


@dataclass(frozen=True)
class Kernel:
    """What counts as the neighbourhood of a voxel.

    Attributes
    ----------
    radius : int
        In voxels along each axis.
    masked : bool
        Whether voxels outside the structure are left out.
    """

    radius: int
    masked: bool

    def __post_init__(self) -> None:
        if isinstance(self.radius, bool) or not isinstance(self.radius, int) or self.radius < 1:
            raise ValueError(f"kernel_radius must be an integer of at least 1, got {self.radius!r}")


def choose_structure(structures: list[Structure], name: str | None) -> Structure:
    """Look up a structure, which only one structure alone need not be named.

    Parameters
    ----------
    structures : list of Structure
    name : str or None

    Returns
    -------
    structure : Structure

    Raises
    ------
    ValueError
    """
    if name is None and len(structures) == 1:
        return structures[0]
    named = {structure.name: structure for structure in structures}
    if name is None or name not in named:
        raise ValueError(f"structure must be one of {list(named)}, got {name!r}")
    return named[name]


def choose_features(known: Sequence[str], features: Sequence[str] | None) -> set[str]:
    """Choose what to map among the features of the settings.

    Parameters
    ----------
    known : sequence of str
        pyradiomics' names of the features of the settings.
    features : sequence of str or None
        None for all that have maps.

    Returns
    -------
    chosen : set of str

    Raises
    ------
    ValueError
        If one of `features` is none of the settings' or has no map.
    """
    have = {f"{group}_{name}" for group, names in columns().items() for name in names if name}
    able = [name for name in known if name.partition("_")[2] in have]
    if features is None:
        return set(able)
    names = [features] if isinstance(features, str) else list(features)
    for name in names:
        if name not in known:
            close = get_close_matches(str(name), able, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"feature {name!r} is none of the settings'{hint}")
        if name not in able:
            raise ValueError(
                f"feature {name!r} has no map: shape, MCC and deprecated ones have none"
            )
    return set(names)


def columns() -> dict[str, tuple[str, ...]]:
    """List the features that have maps, by class, in the order of the kernels' columns."""
    from skcyto.feature_extraction._radiomics._kernels import _cooccurrence, _maps, _sizes, _tones

    return {
        "firstorder": _maps.FIRST_ORDER,
        "glcm": _cooccurrence.FEATURES,
        "gldm": _sizes.DEPENDENCE_FEATURES,
        "ngtdm": _tones.FEATURES,
        "glrlm": _sizes.RUN_FEATURES,
        "glszm": _sizes.ZONE_FEATURES,
    }


def map_case(
    case: Case,
    structure: Structure,
    settings: Settings,
    kernel: Kernel,
    features: set[str],
    init_value: float,
) -> dict[str, Any]:
    """Compute the maps of one structure of a case.

    Parameters
    ----------
    case : Case
        With one image.
    structure : Structure
    settings : Settings
    kernel : Kernel
    features : set of str
        pyradiomics' names of what to map.
    init_value : float
        What voxels outside the structure get.

    Returns
    -------
    maps : dict of str to SimpleITK.Image

    Raises
    ------
    ScanProblem
    """
    import SimpleITK as sitk

    with private_runtime():
        (image,), mask = read_case(case, settings.setting.get("label_channel"), 3)
        check_dimensions(image, mask, 3, 1)
        present = present_labels(sitk.GetArrayViewFromImage(mask))
        if not set(structure.labels) & set(present):
            raise ScanProblem(missing_reason(present), structure.key)
        spreads = settings.setting.get("normalize") or set(settings.image_types) != {"Original"}
        check_finite(image, everywhere=bool(spreads) or not kernel.masked)
        regions, problems = prepare(image, mask, region_masks(mask, [structure]), settings)
        for problem in [*problems, *(each.problem for each in regions if each.problem is not None)]:
            raise problem
        return _map_region(regions[0], settings, kernel, features, init_value)


def _map_region(
    region: Region,
    settings: Settings,
    kernel: Kernel,
    features: set[str],
    init_value: float,
) -> dict[str, Any]:
    import SimpleITK as sitk

    box = region.box.grown(kernel.radius, region.image.GetSize())
    like, mask = crop(region.image, box), crop(region.mask, box)
    region_there = sitk.GetArrayViewFromImage(mask) == region.label
    reach = max(kernel.radius, *(settings.setting.get("distances") or [1]))
    inside = region_there if kernel.masked else np.ones_like(region_there)
    voxels = Voxels(inside, box, reach)
    centres = voxels.positions[region_there[inside]]
    maps: dict[str, Any] = {}
    for image_type, custom in settings.image_types.items():
        kwargs = {**settings.setting, **custom, "label": region.label}
        whole = depends_on_label(image_type)
        for filtered in filtered_images(
            region.image, region.mask, image_type, kwargs, box, whole=whole
        ):
            for name, values in _map_image(filtered, voxels, centres, kernel, features):
                array = np.full(region_there.shape, init_value)
                array[region_there] = values
                maps[name] = sitk.GetImageFromArray(array)
                maps[name].CopyInformation(like)
    return maps


def _map_image(
    filtered: Filtered,
    voxels: Voxels,
    centres: NDArray[np.int64],
    kernel: Kernel,
    features: set[str],
) -> list[tuple[str, NDArray[np.float64]]]:
    wanted: list[tuple[str, str, int]] = []
    for class_name, names in columns().items():
        for number, name in enumerate(names):
            full = f"{filtered.name}_{class_name}_{name}"
            if full in features:
                wanted.append((full, class_name, number))
    if not wanted:
        return []
    classes = {class_name for _, class_name, _ in wanted}
    if untrusted := classes - trusted_classes():
        raise ScanProblem(
            f"the installed pyradiomics computes {sorted(untrusted)} otherwise than skcyto, whose "
            "maps would not be its own"
        )
    values = voxels.values(filtered.image, filtered.frame)
    shared = share_bins(values, filtered.kwargs)
    spacing = filtered.image.GetSpacing()[::-1]
    binned = BinnedRegion(
        voxels, values, shared["ranks"], shared["present"], spacing, filtered.kwargs, {}
    )
    found: dict[str, list[NDArray[np.float64]]] = {full: [] for full, _, _ in wanted}
    for start in range(0, len(centres), _AT_ONCE):
        tables = _measure(binned, centres[start : start + _AT_ONCE], kernel, classes)
        for full, class_name, number in wanted:
            found[full].append(tables[class_name][:, number].copy())
    return [(full, np.concatenate(parts)) for full, parts in found.items()]


def _measure(
    region: BinnedRegion, centres: NDArray[np.int64], kernel: Kernel, classes: set[str]
) -> dict[str, NDArray[np.float64]]:
    from skcyto.feature_extraction._radiomics._kernels import _maps as kernels

    voxels = region.voxels
    ndim, side = len(region.spacing), 2 * kernel.radius + 1
    # Neighbours and runs are looked for in a box of the kernel's size, the same for every voxel.
    small = Voxels(
        np.ones((side,) * ndim, dtype=bool), Box((0,) * ndim, (side,) * ndim), voxels.reach
    )
    radius = range(-kernel.radius, kernel.radius + 1)
    ranges = [(0,) if axis == region.flat else radius for axis in range(ndim)]
    steps = np.array(list(product(*ranges)))
    cube, local_cube = (
        voxels.offsets(steps),
        small.positions[len(small.positions) // 2] + small.offsets(steps),
    )
    local = np.full(small.dense.shape, -1, dtype=np.int32)
    local[small.positions] = 0
    near = small.steps(region.distances, region.flat)
    weights = region.weights(near, squared=True)
    next_steps = small.steps((1,), region.flat)
    run_weights = region.weights(next_steps, squared=False)
    if weights is None or run_weights is None:
        raise ValueError(f"weightingNorm={region.settings['weightingNorm']!r} is unknown")
    dense = voxels.dense
    dense[voxels.positions] = region.ranks
    tables = {}
    if "firstorder" in classes:
        tables["firstorder"] = _first_order(region, centres, cube)
    table = np.full((len(centres), sum(len(columns()[name]) for name in _MATRIX_CLASSES)), np.nan)
    kernels.texture_maps(
        dense,
        centres,
        cube,
        local,
        local_cube,
        small.offsets(near),
        small.offsets(next_steps),
        weights,
        run_weights,
        region.levels,
        bool(region.settings.get("symmetricalGLCM", True)),
        int(region.settings.get("gldm_a", 0)),
        side,
        np.array([name in classes for name in _MATRIX_CLASSES]),
        table,
    )
    dense[voxels.positions] = 0
    for name in _MATRIX_CLASSES:
        width = len(columns()[name])
        tables[name], table = table[:, :width], table[:, width:]
    return tables


def _first_order(
    region: BinnedRegion, centres: NDArray[np.int64], cube: NDArray[np.int64]
) -> NDArray[np.float64]:
    from skcyto.feature_extraction._radiomics._kernels import _maps as kernels

    table = np.empty((len(centres), len(kernels.FIRST_ORDER)))
    image = np.zeros(len(region.voxels.dense))
    image[region.voxels.positions] = region.values
    shift, volume = region.settings.get("voxelArrayShift", 0), float(np.prod(region.spacing))
    kernels.first_order_maps(region.voxels.dense, image, centres, cube, float(shift), volume, table)
    return table
