"""Extract all labels of a case together: each filtered image is made once and shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem
from skcyto.feature_extraction._radiomics._checks import (
    check_intensities,
    geometry_difference,
    geometry_problem,
    region_box,
)
from skcyto.feature_extraction._radiomics._classes import (
    BINNED_CLASSES,
    SHARED,
    feature_classes,
    share_bins,
    to_float,
)
from skcyto.feature_extraction._radiomics._filters import (
    Box,
    Filtered,
    crop,
    depends_on_label,
    filtered_images,
    union,
)
from skcyto.feature_extraction._radiomics._reasons import one_sentence
from skcyto.feature_extraction._radiomics._runtime import collect_messages, geometry_tolerance
from skcyto.feature_extraction._radiomics._settings import Settings
from skcyto.feature_extraction._radiomics._textures import BinnedRegion, compute, trusted_classes
from skcyto.feature_extraction._radiomics._voxels import Voxels

# More than any unfiltered region has with a sensible binWidth. Filters stretch intensities, so that
# the same binWidth gives some of their images several times as many.
_MANY_LEVELS = 256
_MANY_FILTERED_LEVELS = 1000
# So few that textures tell hardly more than first-order features do. Filters leave some of their
# images nearly empty whatever the binWidth, so that one of them alone says nothing of it.
_FEW_LEVELS = 2
_FEW_FILTERED_LEVELS = 1
_MAX_NAMED = 3
_MAX_MATRIX_LEVELS = 10_000  # a co-occurrence matrix of 10 GB
_MAX_LEVELS = 10_000_000
_NO_MATRIX = ("firstorder", "shape", "shape2D")


@dataclass
class Region:
    """One label of a case, ready for features.

    Attributes
    ----------
    key : str
        Of the structure.
    label : int
        Its value in `mask`.
    image : SimpleITK.Image
        What is filtered; the same object for labels that can share.
    mask, shape_mask : SimpleITK.Image
        The mask for textures and the one for shape, which resegmentation may leave as it was.
    box : Box
    values : dict of str to float
        Features so far, under pyradiomics' names.
    notes : list of str
        What the user should know about them.
    many_levels : dict of str to int
        Image types with so many gray levels that textures are slow, and how many.
    few_levels : dict of str to int
        Image types with so few gray levels that textures are void, and how many.
    n_binned : int
        Number of image types with textures.
    messages : list of str
        What pyradiomics says of this label.
    problem : ScanProblem or None
        Why there are no features of this label but its shape. The other labels do not suffer.
    """

    key: str
    label: int
    image: Any
    mask: Any
    shape_mask: Any
    box: Box
    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    many_levels: dict[str, int] = field(default_factory=dict)
    few_levels: dict[str, int] = field(default_factory=dict)
    n_binned: int = 0
    messages: list[str] = field(default_factory=list)
    problem: ScanProblem | None = None


def prepare(
    image: Any, mask: Any, masks: Mapping[str, tuple[Any, int]], settings: Settings
) -> tuple[list[Region], list[ScanProblem]]:
    """Bring image and mask to the point where filters and features start.

    Normalises, resamples, crops and resegments as pyradiomics does, with its own functions.

    Parameters
    ----------
    image, mask : SimpleITK.Image
        As they were read.
    masks : mapping of str to (SimpleITK.Image of 32-bit unsigned integers, int)
        Mask of each structure, by its key, on the grid of `mask`, and a label that is in it.
    settings : Settings

    Returns
    -------
    regions : list of Region
    problems : list of ScanProblem
        Of the structures that are no region.

    Raises
    ------
    ScanProblem
        If no label can be prepared.
    """
    from radiomics import imageoperations

    setting = dict(settings.setting)
    with geometry_tolerance(setting.get("geometryTolerance")):
        difference = geometry_difference(image, mask, setting.get("geometryTolerance"))
        resampled = settings.per_label_reason is not None
        if difference is not None and not (setting.get("correctMask") or resampled):
            raise geometry_problem(difference)
        if setting.get("normalize"):
            image = imageoperations.normalizeImage(image, **setting)
            setting["normalize"] = False
        regions, problems = [], []
        for key, (own, label) in masks.items():
            kwargs = {**setting, "label": label}
            try:
                regions.append(_region(key, image, own, kwargs, settings, resampled, difference))
            except ScanProblem as problem:
                problems.append(problem)
            except MemoryError:
                raise
            except Exception as error:  # what one label makes pyradiomics do costs that label
                reason = f"pyradiomics refuses it: {_reason(error)}"
                problems.append(ScanProblem(reason, key))
    return regions, problems


def _region(
    key: str,
    image: Any,
    mask: Any,
    kwargs: dict[str, Any],
    settings: Settings,
    resampled: bool,
    difference: str | None,
) -> Region:
    import SimpleITK as sitk
    from radiomics import featureextractor, imageoperations

    label = kwargs["label"]
    if resampled:
        load = featureextractor.RadiomicsFeatureExtractor.loadImage
        image, mask = load(image, mask, None, **kwargs)
        difference = geometry_difference(image, mask, kwargs.get("geometryTolerance"))
        if difference is not None and not kwargs.get("correctMask"):
            raise geometry_problem(difference)
    if difference is not None:
        _, corrected = imageoperations.checkMask(image, mask, **kwargs)
        mask = mask if corrected is None else corrected
    region = sitk.GetArrayViewFromImage(mask) == label
    box = region_box(region, kwargs, key)
    if not settings.has_intensities and kwargs.get("resegmentRange") is None:
        return Region(key, label, image, mask, mask, box)
    changes_shape = kwargs.get("resegmentRange") is not None and kwargs.get("resegmentShape")
    try:
        check_intensities(sitk.GetArrayViewFromImage(image)[region], key)
    except ScanProblem as problem:
        if changes_shape or not settings.has_shape:
            raise
        return Region(key, label, image, mask, mask, box, problem=problem)
    shape_mask = mask
    if kwargs.get("resegmentRange") is not None:
        mask = imageoperations.resegmentMask(image, mask, **kwargs)
        region = sitk.GetArrayViewFromImage(mask) == label
        box = region_box(region, kwargs, key)
        check_intensities(sitk.GetArrayViewFromImage(image)[region], key)
        if kwargs.get("resegmentShape"):
            shape_mask = mask
    return Region(key, label, image, mask, shape_mask, box)


def _reason(error: Exception) -> str:
    reason = one_sentence(error)
    known = isinstance(error, ValueError | RuntimeError)
    return reason if known else f"{type(error).__name__}: {reason}"


def extract(
    regions: list[Region], settings: Settings, *, shape: bool = True, whole: bool = False
) -> None:
    """Compute the features of prepared regions into their `values`.

    Parameters
    ----------
    regions : list of Region
        Of one case. Those that have the same image object share its filtered images. One that
        pyradiomics cannot measure gets a `problem`.
    settings : Settings
    shape : bool, default=True
        Whether to compute shape, which is the same for all channels of a picture.
    whole : bool, default=False
        Filter whole images instead of crops.
    """
    groups: dict[int, list[Region]] = {}
    for region in regions:
        groups.setdefault(id(region.image), []).append(region)
    if shape and settings.has_shape:
        for region in regions:
            with _failing_alone(region):
                _compute_shape(region, settings)
    if settings.has_intensities:
        for group in groups.values():
            sound = [region for region in group if region.problem is None]
            if sound:
                with _failing_alone(*sound):
                    _compute_group(sound, settings, whole=whole)
    for region in regions:
        if region.many_levels:
            region.notes.append(_many_levels_note(region.many_levels))
        if "original" in region.few_levels or 0 < len(region.few_levels) == region.n_binned:
            region.notes.append(_few_levels_note(region.few_levels))


def _compute_group(group: list[Region], settings: Settings, *, whole: bool) -> None:
    """Compute all but shape of regions that share an image."""
    distance = _largest_distance(settings)
    places = {region.key: _voxels_of(region, distance) for region in group}
    box = union([region.box for region in group])
    for image_type, custom in settings.image_types.items():
        kwargs = {**settings.setting, **custom}
        if depends_on_label(image_type):
            for region in group:
                own = {**kwargs, "label": region.label}
                with _failing_alone(region):
                    for filtered in filtered_images(
                        region.image, region.mask, image_type, own, region.box, whole=True
                    ):
                        _compute_textures(region, filtered, places[region.key], settings)
            continue
        for filtered in filtered_images(
            group[0].image, group[0].mask, image_type, kwargs, box, whole=whole
        ):
            for region in group:
                with _failing_alone(region):
                    _compute_textures(region, filtered, places[region.key], settings)


@contextmanager
def _failing_alone(*regions: Region) -> Iterator[None]:
    """Keep what pyradiomics cannot do with some labels, and says of them, from the others."""
    messages: list[str] = []
    try:
        with collect_messages() as messages:
            yield
    except MemoryError:
        raise
    except Exception as error:
        reason = _reason(error)
        if "angle count" in reason:
            reason += " The region is smaller than the setting 'distances' reaches"
        for region in regions:
            region.problem = region.problem or ScanProblem(
                f"pyradiomics cannot measure it: {reason}", region.key
            )
    finally:
        for region in regions:
            region.messages += [each for each in messages if each not in region.messages]


def _many_levels_note(many: dict[str, int]) -> str:
    """Say it once for all image types of a label, the worst first."""
    worst = sorted(many, key=lambda name: -many[name])
    return (
        f"{_count_levels(many, worst, 'many')}: texture matrices grow with their square, slow and "
        "hungry for memory; a larger binWidth, or binCount, would do"
    )


def _few_levels_note(few: dict[str, int]) -> str:
    """Say it once for all image types of a label, the worst first."""
    worst = sorted(few, key=lambda name: few[name])
    return (
        f"{_count_levels(few, worst, 'few')}: bins so wide leave textures nothing to measure; a "
        "smaller binWidth, or binCount, would do"
    )


def _count_levels(levels: dict[str, int], order: list[str], kind: str) -> str:
    named: list[str] = []
    for name in order[:_MAX_NAMED]:
        unit = "" if named else "gray level " if levels[name] == 1 else "gray levels "
        named.append(f"{levels[name]} {unit}in {name}")
    more = f" and {kind} in {len(order) - _MAX_NAMED} more" if len(order) > _MAX_NAMED else ""
    return ", ".join(named) + more


def _compute_shape(region: Region, settings: Settings) -> None:
    """Compute shape as ``RadiomicsFeatureExtractor.computeShape`` does."""
    from radiomics import featureextractor

    kwargs = {**settings.setting, "label": region.label}
    ndim = region.shape_mask.GetDimension()
    names = settings.feature_classes.get("shape")
    if names is not None and ndim == 3:
        image, mask = crop(region.image, region.box), crop(region.shape_mask, region.box)
        _run_class(region, "shape", names, "original", image, mask, kwargs)
    names = settings.feature_classes.get("shape2D")
    if names is not None and (ndim == 2 or kwargs.get("force2D")):
        # In 3-D it depends on the mask whether there are any: pyradiomics' own code decides.
        extractor = featureextractor.RadiomicsFeatureExtractor()
        extractor.enabledFeatures = {"shape2D": names}
        bounds = np.ravel([region.box.start, np.array(region.box.stop) - 1], order="F")
        try:
            values = extractor.computeShape(region.image, region.shape_mask, bounds, **kwargs)
        except ValueError as error:
            region.notes.append(f"no shape2D: {one_sentence(error)}")
            return
        region.values.update({name: to_float(value) for name, value in values.items()})


def _voxels_of(region: Region, distance: int) -> Voxels:
    import SimpleITK as sitk

    mask = crop(region.mask, region.box)  # a view does not keep its image alive
    inside = sitk.GetArrayViewFromImage(mask) == region.label
    return Voxels(inside, region.box, distance)


def _largest_distance(settings: Settings) -> int:
    """Voxels between neighbours, at most, in any image type."""
    everywhere = [settings.setting, *settings.image_types.values()]
    return max(max(setting.get("distances") or [1]) for setting in everywhere)


def _compute_textures(
    region: Region, filtered: Filtered, voxels: Voxels, settings: Settings
) -> None:
    kwargs = {**filtered.kwargs, "label": region.label}
    values = voxels.values(filtered.image, filtered.frame)
    shared = share_bins(values, kwargs, max_levels=_MAX_LEVELS)
    levels = shared["levels"]
    region.n_binned += 1
    classes = [name for name in settings.feature_classes if not name.startswith("shape")]
    matrices = any(name not in _NO_MATRIX for name in classes)
    if levels > _MAX_LEVELS or (matrices and levels > _MAX_MATRIX_LEVELS):
        few = "" if levels > _MAX_LEVELS else "texture "
        classes = [name for name in classes if few and name in _NO_MATRIX]
        region.notes.append(
            f"no {few}features of {filtered.name}: binWidth={kwargs.get('binWidth', 25):g} makes "
            f"{levels} gray levels, too many; choose a larger binWidth, or binCount"
        )
    elif matrices and levels > (
        _MANY_LEVELS if filtered.name == "original" else _MANY_FILTERED_LEVELS
    ):
        region.many_levels[filtered.name] = levels
    elif matrices and _are_too_few(shared, values, filtered.name):
        region.few_levels[filtered.name] = len(shared["present"])
    if not classes:
        return
    wanted = settings.feature_classes
    binned = BinnedRegion(
        voxels,
        values,
        shared["ranks"],
        shared["present"],
        filtered.image.GetSpacing()[::-1],
        kwargs,
        wanted,
    )
    found = compute(binned, trusted_classes().intersection(classes))
    for name in classes:
        features, unsure = found.get(name, ({}, set()))
        left = [each for each in wanted[name] if each not in features or each in unsure]
        for each in wanted[name]:
            if each not in left:
                region.values[f"{filtered.name}_{name}_{each}"] = features[each]
        if left:
            _compute_by_radiomics(region, filtered, shared, name, left)
    if (
        "glcm" in classes
        and "glcm" not in found
        and not voxels.has_neighbours(binned.distances, binned.flat)
    ):
        region.messages.append("no two of its voxels are neighbours, which the GLCM counts")


def _compute_by_radiomics(
    region: Region,
    filtered: Filtered,
    shared: dict[str, Any],
    class_name: str,
    names: list[str],
) -> None:
    """Compute by pyradiomics' own class what no kernel computes, or not surely enough."""
    kwargs = {**filtered.kwargs, "label": region.label}
    if class_name in BINNED_CLASSES:
        kwargs[SHARED] = shared
    # The whole box, as pyradiomics has it: digits that rounding makes depend on its shape.
    image = crop(filtered.image, region.box.within(filtered.frame))
    _run_class(
        region, class_name, names, filtered.name, image, crop(region.mask, region.box), kwargs
    )


def _are_too_few(shared: dict[str, Any], values: NDArray[Any], image_type: str) -> bool:
    """Say whether bins leave hardly any of a region's different intensities apart."""
    n_levels = len(shared["present"])
    if n_levels > (_FEW_LEVELS if image_type == "original" else _FEW_FILTERED_LEVELS):
        return False
    return len(np.unique(values)) > 2 * n_levels


def _run_class(
    region: Region,
    class_name: str,
    names: list[str],
    image_type: str,
    image: Any,
    mask: Any,
    kwargs: dict[str, Any],
) -> None:
    calculator = feature_classes().classes[class_name](image, mask, **kwargs)
    for name in names:
        calculator.enableFeatureByName(name)
    for name, value in calculator.execute().items():
        region.values[f"{image_type}_{class_name}_{name}"] = to_float(value)
