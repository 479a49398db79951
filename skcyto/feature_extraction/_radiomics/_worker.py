"""One case from its files to its values: what runs in each process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
from skcyto.feature_extraction._radiomics._engine import Region, extract, prepare
from skcyto.feature_extraction._radiomics._reading import read_case, read_mask
from skcyto.feature_extraction._radiomics._runtime import private_runtime
from skcyto.feature_extraction._radiomics._schema import Schema
from skcyto.feature_extraction._radiomics._settings import Settings
from skcyto.feature_extraction._radiomics._structures import Structure, region_masks
from skcyto.utils._wording import list_some

_MAX_NOTES = 3
# What pyradiomics says of features that it computes all the same.
_NO_REASON = re.compile(
    "symmetrical|is deprecated|Use with caution|rounding to 0|bin Count enabled"
)


@dataclass
class CaseResult:
    """What came of one case.

    Attributes
    ----------
    values : dict of str to ndarray
        Values of each structure, by its key, in the order of the schema.
    notes : dict of str to list of str
        Remarks about them.
    problems : list of (str or None, str)
        Key, or None for the whole case, and what is wrong. Such a structure may have its shape.
    missing : dict of str to str
        Structures of which nothing is in the mask, and what is there instead.
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    problems: list[tuple[str | None, str]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def update(self, other: CaseResult) -> None:
        """Add what came of other structures of the same case."""
        self.values.update(other.values)
        self.notes.update(other.notes)
        self.problems += other.problems
        self.missing.update(other.missing)


@dataclass(frozen=True)
class Task:
    """What is the same for all cases."""

    settings: Settings
    schema: Schema
    whole: bool


def run_case(
    case: Case, structures: list[Structure], task: Task, *, check_only: bool = False
) -> CaseResult:
    """Extract the given structures of one case.

    Parameters
    ----------
    case : Case
    structures : list of Structure
        With different keys.
    task : Task
    check_only : bool, default=False
        Look for problems and compute nothing.

    Returns
    -------
    result : CaseResult
    """
    result = CaseResult()
    with private_runtime():
        try:
            _run(case, structures, task, result, check_only)
        except ScanProblem as problem:
            result.problems.append((problem.key, problem.reason))
        except MemoryError:
            reason = "not enough memory; fewer processes (n_jobs) or a larger binWidth need less"
            result.problems.append((None, reason))
        except Exception as error:  # one case's surprise must not lose the others
            reason = f"{type(error).__name__}: {error}"
            result.problems.append((None, f"extraction stopped with {reason}"))
    return result


def _run(
    case: Case,
    structures: list[Structure],
    task: Task,
    result: CaseResult,
    check_only: bool,
) -> None:
    import SimpleITK as sitk

    settings, schema = task.settings, task.schema
    images, mask = read_case(case, settings.setting.get("label_channel"), schema.ndim)
    planes = planes_of(images, mask, schema)
    present = present_labels(sitk.GetArrayViewFromImage(mask))
    there = [each for each in structures if set(each.labels) & set(present)]
    result.missing = {each.key: missing_reason(present) for each in structures if each not in there}
    masks = region_masks(mask, there)
    found: dict[str, dict[tuple[str, str], float]] = {key: {} for key in masks}
    messages: dict[str, list[str]] = {key: [] for key in masks}
    if len(schema.channels) > 1 and _changes_shape(settings):
        raise ScanProblem(
            "resegmentShape=True would give each channel of a colour image, or each sequence, a "
            "shape of its own: set it to False, or pass them one by one"
        )
    for number, (channel, where, plane) in enumerate(planes):
        try:
            check_finite(plane, everywhere=_spreads(settings))
            regions, problems = prepare(plane, mask, masks, settings)
        except ScanProblem as problem:
            raise ScanProblem(problem.reason + where) from problem
        if not check_only:
            extract(regions, settings, shape=number == 0, whole=task.whole)
            problems += [region.problem for region in regions if region.problem is not None]
        for problem in problems:
            result.problems.append((problem.key, problem.reason + where))
            masks = {key: own for key, own in masks.items() if key != problem.key}
        if check_only:
            continue
        for region in regions:
            _collect(region, channel, found[region.key], result)
            messages[region.key] += region.messages
    if check_only:
        return
    for key, values in found.items():
        if key in masks:
            result.values[key] = _vector(key, values, schema, result, messages[key])
        elif shape := {name: value for name, value in values.items() if _is_shape(name[1])}:
            result.values[key] = _fill(shape, schema)


def planes_of(images: list[Any], mask: Any, schema: Schema) -> list[tuple[str, str, Any]]:
    """List what textures are computed on: channel, how a problem names it, image.

    Raises
    ------
    ScanProblem
        If dimensions or channels are not those of the schema.
    """
    import SimpleITK as sitk

    is_colour = len(schema.channels) > len(images)
    for image in images:
        check_dimensions(image, mask, schema.ndim, len(schema.channels) if is_colour else 1)
    if is_colour:
        return [
            (name, f" in the {name} channel", sitk.VectorIndexSelectionCast(images[0], number))
            for number, name in enumerate(schema.channels)
        ]
    names = schema.channels
    return [(n, f" in {n}" if n else "", image) for n, image in zip(names, images, strict=True)]


def _spreads(settings: Settings) -> bool:
    """Tell whether one NaN anywhere in the image reaches the labels."""
    if not settings.has_intensities:
        return False
    return bool(settings.setting.get("normalize")) or set(settings.image_types) != {"Original"}


def _changes_shape(settings: Settings) -> bool:
    """Tell whether shape depends on intensities."""
    setting = settings.setting
    resegments = setting.get("resegmentRange") and setting.get("resegmentShape")
    return bool(settings.has_shape and resegments)


def _collect(
    region: Region, channel: str, found: dict[tuple[str, str], float], result: CaseResult
) -> None:
    for name, value in region.values.items():
        found["" if _is_shape(name) else channel, name] = value
    if region.problem is not None:
        return
    for note in region.notes:
        result.notes.setdefault(region.key, []).append(f"{channel}: {note}" if channel else note)


def _is_shape(name: str) -> bool:
    return name.startswith(("original_shape_", "original_shape2D_"))


def _fill(found: dict[tuple[str, str], float], schema: Schema) -> NDArray[np.float64]:
    """Put values in the order of the columns, with NaN for those that are not there."""
    names = [(each.channel, each.radiomics_name) for each in schema.features]
    return np.array([found.get(name, np.nan) for name in names], dtype=np.float64)


def _vector(
    key: str,
    found: dict[tuple[str, str], float],
    schema: Schema,
    result: CaseResult,
    messages: list[str],
) -> NDArray[np.float64]:
    values = _fill(found, schema)
    notes = result.notes.setdefault(key, [])
    bad = np.flatnonzero(np.isnan(values))
    if bad.size:
        names = (schema.features[index].radiomics_name for index in bad)
        shown = list_some(names, _MAX_NOTES)
        telling = dict.fromkeys(
            _last_line(message) for message in messages if not _NO_REASON.search(message)
        )
        reasons = "; ".join(list(telling)[:_MAX_NOTES])
        notes.append(f"no value of {shown}" + (f" ({reasons})" if reasons else ""))
    if not notes:
        del result.notes[key]
    return values


def _last_line(message: str) -> str:
    return message.splitlines()[-1] if message else message


def labels_of(case: Case, label_channel: int | None) -> tuple[list[int], str | None]:
    """List the labels of a case's mask, or say why there are none."""
    import SimpleITK as sitk

    try:
        mask = read_mask(case.mask, label_channel)
        return present_labels(sitk.GetArrayViewFromImage(mask)), None
    except ScanProblem as problem:
        return [], problem.reason
