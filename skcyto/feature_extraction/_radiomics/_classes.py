"""pyradiomics' feature classes, taking up gray levels that are binned once for all of them.

The classes are subclasses of the installed pyradiomics' own: matrices and formulas are its own
code. They compute what compiled kernels (``_textures``) leave to them. Meshes are measured as in
``_shape``. On first use in a process every subclass is compared with its parent on small
phantoms, and where the installed version computes something else, its own class is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._runtime import import_radiomics, private_runtime
from skcyto.feature_extraction._radiomics._shape import measure_mesh

SHARED = "_skcyto_shared"  # key of the settings under which one label's classes share their bins
# Those that bin gray levels.
BINNED_CLASSES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")
_TOLERANCE = 1e-10


def to_float(value: Any) -> float:
    """Turn what a feature class returns into a number.

    From numpy 2.5 on ``eigvals`` returns complex numbers whatever the matrix, and so do the axes of
    pyradiomics' shape classes, whose matrix is symmetric and its eigenvalues real.

    Parameters
    ----------
    value : number or ndarray of one element

    Returns
    -------
    number : float
    """
    return float(np.real(value))


def share_bins(
    values: NDArray[Any], settings: dict[str, Any], max_levels: int | None = None
) -> dict[str, Any]:
    """Bin the gray levels of a region as ``imageoperations.binImage`` does.

    Parameters
    ----------
    values : ndarray of shape (n_voxels,)
    settings : dict
    max_levels : int or None
        Stop after counting the levels where there are more.

    Returns
    -------
    shared : dict
        ``levels``, their number; ``binned``, the level of each voxel; ``present``, the levels that
        there are; ``ranks``, of each voxel's level among these, from 1 on.
    """
    from radiomics import imageoperations

    low, high = values.min(), values.max()
    if max_levels is not None and settings.get("binCount") is None:
        levels = int((float(high) - float(low)) / settings.get("binWidth", 25)) + 1
        if levels > max_levels:
            return {"levels": levels}
    # The edges depend on the range alone, and Python's min() of an array is slow. Integers are
    # widened: pyradiomics adds two bin widths to the maximum, which overflows in bytes.
    ends = np.array([low, high])
    ends = ends.astype(np.int64) if ends.dtype.kind in "iu" else ends
    edges = imageoperations.getBinEdges(ends, **settings)
    binned = np.digitize(values, edges)
    counts = np.bincount(binned)
    present = np.flatnonzero(counts)
    rank_of = np.cumsum(counts > 0, dtype=np.int32)
    return {
        "levels": len(edges) - 1,
        "binned": binned,
        "present": present,
        "ranks": rank_of[binned],
    }


class _SharedBins:
    """Bins the gray levels of one label in one image once, for all feature classes."""

    def _applyBinning(self: Any, matrix: NDArray[Any]) -> NDArray[np.int64]:
        shared = self.settings[SHARED]
        self.coefficients["grayLevels"] = shared["present"]
        self.coefficients["Ng"] = int(shared["present"][-1])
        binned = np.zeros(matrix.shape, dtype="int")
        binned[self.maskArray] = shared["binned"]
        return binned


class _Mesh:
    """Stands in for pyradiomics' C module in its shape class."""

    def __init__(self, measure: Any) -> None:
        self._measure = measure

    def calculate_coefficients(
        self, mask: NDArray[np.bool_], spacing: NDArray[np.float64]
    ) -> tuple[float, float, tuple[float, float, float, float]]:
        return measure_mesh(mask, spacing, self._measure)


def _fast_shape(parent: type) -> dict[str, Any]:
    method: Any = parent._initSegmentBasedCalculation  # type: ignore[attr-defined]
    own = method.__globals__["cShape"].calculate_coefficients
    # The parent's own code, with another C module in its sight: the module itself stays as it is.
    rebound = FunctionType(
        method.__code__,
        {**method.__globals__, "cShape": _Mesh(own)},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )
    return {"_initSegmentBasedCalculation": rebound}


def _names_of(parent: Any) -> Callable[[type], dict[str, bool]]:
    """Look the features up once instead of for each region in each image."""
    names = parent.getFeatureNames()
    return lambda cls: dict(names)


def _members(source: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(source.__mro__[:-1]):
        members.update({k: v for k, v in vars(base).items() if not k.startswith("__")})
    return members


@dataclass(frozen=True)
class Phantom:
    """Something small to compare the installed pyradiomics with.

    Attributes
    ----------
    image, mask : SimpleITK.Image
        The mask's label is 2.
    values, inside : ndarray
        The image's values, and where the region is.
    settings : dict
    """

    image: Any
    mask: Any
    values: NDArray[np.float64]
    inside: NDArray[np.bool_]
    settings: dict[str, Any]
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def expected(self, name: str) -> dict[str, float]:
        """All values of one of pyradiomics' own classes, computed once."""
        if name not in self._known:
            own = import_radiomics().getFeatureClasses()[name]
            self._known[name] = self.measure(own)
        return self._known[name]

    def measure(self, feature_class: type, **settings: Any) -> dict[str, float]:
        """All values of a class that are not deprecated."""
        with private_runtime():
            calculator = feature_class(
                self.image, self.mask, label=2, **{**self.settings, **settings}
            )
            for name, deprecated in calculator.getFeatureNames().items():
                if not deprecated:
                    calculator.enableFeatureByName(name)
            return {name: to_float(value) for name, value in calculator.execute().items()}


@lru_cache(maxsize=1)
def phantoms() -> tuple[Phantom, ...]:
    """Draw an irregular body, to be measured with three sets of settings."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(scale=9, size=(6, 9, 8)), axis=2)
    z, y, x = np.indices(values.shape)
    inside: Any = ((z - 2.2) / 2.6) ** 2 + ((y - 4) / 4.1) ** 2 + ((x - 3.6) / 3.4) ** 2 < 1
    image = sitk.GetImageFromArray(values)
    mask = sitk.GetImageFromArray(inside.astype(np.uint32) * 2)
    for each in (image, mask):
        each.SetSpacing((0.7, 0.9, 2.5))
    all_settings: tuple[dict[str, Any], ...] = (
        {"binWidth": 2.0},
        {"binCount": 7, "force2D": True, "symmetricalGLCM": False, "voxelArrayShift": 50},
        {"binWidth": 4.0, "weightingNorm": "euclidean", "distances": [1, 2], "gldm_a": 1},
    )
    return tuple(Phantom(image, mask, values, inside, settings) for settings in all_settings)


@lru_cache(maxsize=1)
def feature_classes() -> SimpleNamespace:
    """Choose for each of pyradiomics' classes between the adapted one and its own.

    Returns
    -------
    chosen : namespace
        ``classes``, a dict of str to type, and ``slow``, the names of classes whose adapted
        version does not give the installed version's numbers.
    """
    classes: dict[str, type] = {}
    slow: list[str] = []
    for name, parent in import_radiomics().getFeatureClasses().items():
        classes[name] = parent
        if name != "shape" and name not in BINNED_CLASSES:
            continue
        try:
            members = _fast_shape(parent) if name == "shape" else _members(_SharedBins)
            members["getFeatureNames"] = classmethod(_names_of(parent))
            # The parent's module names the logger that its messages go to.
            adapted = type(parent.__name__, (parent,), {**members, "__module__": parent.__module__})
            if _agrees(name, adapted):
                classes[name] = adapted
                continue
        except Exception:  # another version may lack anything that is relied on here
            pass
        slow.append(name)
    return SimpleNamespace(classes=classes, slow=slow)


def _agrees(name: str, adapted: type) -> bool:
    for phantom in phantoms():
        shared = share_bins(phantom.values[phantom.inside], phantom.settings)
        found = phantom.measure(adapted, **{SHARED: shared})
        if not same_values(found, phantom.expected(name)):
            return False
    return True


def same_values(found: dict[str, float], expected: dict[str, float]) -> bool:
    """Compare features by name, to a relative 1e-10."""
    return found.keys() == expected.keys() and np.allclose(
        [found[name] for name in expected],
        list(expected.values()),
        rtol=_TOLERANCE,
        atol=0,
        equal_nan=True,
    )
