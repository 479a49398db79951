"""pyradiomics' feature classes with their slowest steps done faster, and the proof each time.

The classes are subclasses of the installed pyradiomics' own: matrices and formulas are its own
code. What is replaced gives the same numbers: gray levels are binned once for all classes; the
marginals of the co-occurrence matrix are summed with ``bincount``; cluster features are summed
over i + j instead of all pairs (i, j); MCC's matrix is one matrix product; meshes are measured as
in ``_shape``. On first use in a process every subclass is compared with its parent on a small
phantom, and where the installed version computes something else, its own class is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._compact_region import LOCAL_CLASSES
from skcyto.feature_extraction._radiomics._runtime import import_radiomics, private_runtime
from skcyto.feature_extraction._radiomics._shape import measure_mesh

SHARED = "_skcyto_shared"  # key of the settings under which one label's classes share their bins
_TOLERANCE = 1e-10
_UNSURE = 1e-6  # below it, the square root of what rounding made would differ in the ninth digit


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
    matrix: NDArray[Any],
    region: NDArray[np.bool_],
    settings: dict[str, Any],
    max_levels: int | None = None,
) -> dict[str, Any]:
    """Bin the gray levels of a region as ``imageoperations.binImage`` does.

    Parameters
    ----------
    matrix : ndarray
    region : ndarray of bool, of the same shape
    settings : dict
    max_levels : int or None
        Stop after counting the levels where there are more.

    Returns
    -------
    shared : dict
        ``levels``, their number, ``binned``, the matrix, and ``present``, the levels in it.
    """
    from radiomics import imageoperations

    values = matrix[region]
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
    binned_values = np.digitize(values, edges)
    binned = np.zeros(matrix.shape, dtype="int")
    binned[region] = binned_values
    present = np.flatnonzero(np.bincount(binned_values))
    return {"levels": len(edges) - 1, "binned": binned, "present": present}


class _SharedBins:
    """Bins the gray levels of one label in one image once, for all feature classes."""

    def _applyBinning(self: Any, matrix: NDArray[Any]) -> NDArray[np.int64]:
        shared = self.settings.get(SHARED)
        if shared is None:
            shared = share_bins(matrix, self.maskArray, self.settings)
        self.coefficients["grayLevels"] = shared["present"]
        self.coefficients["Ng"] = int(shared["present"][-1])
        return shared["binned"]


class _FastFirstOrder(_SharedBins):
    @staticmethod
    def _moment(a: NDArray[np.float64], moment: int = 1) -> NDArray[np.float64]:
        centred = a - np.nanmean(a, 1, keepdims=True)
        powers = centred
        for _ in range(moment - 1):  # pow() is ten times slower
            powers = powers * centred
        return np.nanmean(powers, 1)


class _FastGLCM(_SharedBins):
    def _calculateCoefficients(self: Any) -> None:
        count = self.coefficients["Ng"]
        eps = np.spacing(1)
        levels = self.coefficients["grayLevels"]
        i, j = np.meshgrid(
            levels.astype("float"), levels.astype("float"), indexing="ij", sparse=True
        )
        # In the order of the parent: cluster shade, a small difference, magnifies them.
        ux = np.sum(i[None, :, :, None] * self.P_glcm, (1, 2), keepdims=True)
        uy = np.sum(j[None, :, :, None] * self.P_glcm, (1, 2), keepdims=True)
        # In memory, the parent's matrix lies as deletions left it, and sums follow that order.
        self._axes = np.argsort([-stride for stride in self.P_glcm.strides], kind="stable")
        # Angles first in memory: sums over i and j then run along contiguous rows.
        matrix = np.moveaxis(np.ascontiguousarray(np.moveaxis(self.P_glcm, 3, 1)), 1, 3)
        self.P_glcm = matrix
        px, py = matrix.sum(2, keepdims=True), matrix.sum(1, keepdims=True)
        sums = levels[:, None] + levels[None, :] - 2
        differences = np.abs(levels[:, None] - levels[None, :])
        self.coefficients.update(
            eps=eps,
            i=i,
            j=j,
            kValuesSum=np.arange(2, count * 2 + 1, dtype="float"),
            kValuesDiff=np.arange(0, count, dtype="float"),
            px=px,
            py=py,
            ux=ux,
            uy=uy,
            pxAddy=_sum_by(sums, 2 * count - 1, matrix),
            pxSuby=_sum_by(differences, count, matrix),
            HXY=-np.sum(matrix * np.log2(matrix + eps), (1, 2)),
        )

    def _cluster(self: Any, power: int) -> NDArray[np.float64]:
        centred = (
            self.coefficients["kValuesSum"][None, :, None]
            - self.coefficients["ux"][:, 0]
            - self.coefficients["uy"][:, 0]
        )
        return np.nanmean(np.sum(self.coefficients["pxAddy"] * centred**power, 1), 1)

    def getClusterProminenceFeatureValue(self: Any) -> NDArray[np.float64]:
        return self._cluster(4)

    def getClusterShadeFeatureValue(self: Any) -> NDArray[np.float64]:
        shade = self._cluster(3)
        # Of equal bulges to both sides nothing is left but rounding.
        if (np.abs(shade) <= _UNSURE * self._cluster(2) ** 1.5).any():
            return self._in_parents_order("getClusterShadeFeatureValue")
        return shade

    def getClusterTendencyFeatureValue(self: Any) -> NDArray[np.float64]:
        return self._cluster(2)

    def getMCCFeatureValue(self: Any) -> Any:
        matrix = np.moveaxis(self.P_glcm, 3, 1)  # shape (1, angles, i, j)
        if matrix.shape[-1] < 2:
            return self._in_parents_order("getMCCFeatureValue")  # a flat region, or no neighbours
        px = np.moveaxis(self.coefficients["px"], 3, 1)
        py = np.moveaxis(self.coefficients["py"], 3, 1)
        scaled = matrix / (px * py + self.coefficients["eps"])
        eigenvalues = np.linalg.eigvals(scaled @ matrix.swapaxes(-1, -2))
        # From numpy 2.5 on they are of a complex type, also where all of them are real.
        if np.iscomplexobj(eigenvalues) and eigenvalues.imag.any():
            return self._in_parents_order("getMCCFeatureValue")
        second = np.sort(eigenvalues.real)[..., -2]
        if (second < _UNSURE).any():
            return self._in_parents_order("getMCCFeatureValue")
        return np.nanmean(np.sqrt(second), 1)

    def getImc2FeatureValue(self: Any) -> NDArray[np.float64]:
        both = self.coefficients["px"] * self.coefficients["py"]
        information = -np.sum(both * np.log2(both + self.coefficients["eps"]), (1, 2))
        squared = 1 - np.exp(-2 * (information - self.coefficients["HXY"]))
        if (np.abs(squared) < _UNSURE).any():
            return self._in_parents_order("getImc2FeatureValue")
        return np.nanmean(np.sqrt(squared), 1)

    def _in_parents_order(self: Any, feature: str) -> Any:
        """Compute a feature bit for bit as the parent does.

        A number that is zero but for rounding is an angle that counts, one that counts as zero or
        one that does not count, by what the last digit happens to be.
        """
        fast = self.P_glcm, self.coefficients
        parent: Any = super(type(self), self)
        try:
            matrix = np.ascontiguousarray(self.P_glcm.transpose(self._axes))
            self.P_glcm = matrix.transpose(np.argsort(self._axes))
            self.coefficients = dict(self.coefficients)
            parent._calculateCoefficients()
            return getattr(parent, feature)()
        finally:
            self.P_glcm, self.coefficients = fast


def _sum_by(
    groups: NDArray[np.int64], count: int, matrix: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum a matrix of shape (1, i, j, angles) over the cells of each group of pairs (i, j)."""
    angles = matrix.shape[3]
    cells = np.arange(angles)[:, None, None] * count + groups
    weights = np.moveaxis(matrix[0], 2, 0)
    sums = np.bincount(cells.ravel(), weights=weights.ravel(), minlength=count * angles)
    by_angle: NDArray[np.float64] = sums.astype(np.float64).reshape(1, angles, count)
    return np.moveaxis(by_angle, 1, 2)


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


_FASTER = {"firstorder": _FastFirstOrder, "glcm": _FastGLCM}


@lru_cache(maxsize=1)
def feature_classes() -> SimpleNamespace:
    """Choose for each of pyradiomics' classes between the faster one and its own.

    Returns
    -------
    chosen : namespace
        ``classes``, a dict of str to type, and ``slow``, the names of classes whose faster
        version does not give the installed version's numbers.
    """
    classes: dict[str, type] = {}
    slow: list[str] = []
    for name, parent in import_radiomics().getFeatureClasses().items():
        classes[name] = parent
        if name != "shape" and name not in LOCAL_CLASSES:
            continue
        try:
            members = _fast_shape(parent) if name == "shape" else _members(_SharedBins)
            if name in _FASTER:
                members = _members(_FASTER[name])
            members["getFeatureNames"] = classmethod(_names_of(parent))
            # The parent's module names the logger that its messages go to.
            faster = type(parent.__name__, (parent,), {**members, "__module__": parent.__module__})
            if _agree(parent, faster):
                classes[name] = faster
                continue
        except Exception:  # another version may lack anything that is relied on here
            pass
        slow.append(name)
    return SimpleNamespace(classes=classes, slow=slow)


def _agree(parent: type, faster: type) -> bool:
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(scale=9, size=(6, 9, 8)), axis=2)
    z, y, x = np.indices(values.shape)
    region: Any = ((z - 2.2) / 2.6) ** 2 + ((y - 4) / 4.1) ** 2 + ((x - 3.6) / 3.4) ** 2 < 1
    image = sitk.GetImageFromArray(values)
    mask = sitk.GetImageFromArray(region.astype(np.uint32) * 2)
    for each in (image, mask):
        each.SetSpacing((0.7, 0.9, 2.5))
    for settings in ({"binWidth": 2.0}, {"binCount": 7, "force2D": True, "symmetricalGLCM": False}):
        shared = share_bins(values, region, settings)
        with private_runtime():
            expected = _all_values(parent(image, mask, label=2, **settings))
            # Twice, as classes that share their bins must not change them.
            for _ in range(2):
                found = _all_values(faster(image, mask, label=2, **{SHARED: shared}, **settings))
                if found.keys() != expected.keys() or not np.allclose(
                    list(found.values()),
                    list(expected.values()),
                    rtol=_TOLERANCE,
                    atol=0,
                    equal_nan=True,
                ):
                    return False
    return True


def _all_values(calculator: Any) -> dict[str, float]:
    for name, deprecated in calculator.getFeatureNames().items():
        if not deprecated:
            calculator.enableFeatureByName(name)
    return {name: to_float(value) for name, value in calculator.execute().items()}
