"""One case from its files to its values: what runs in each process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

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
    values : dict of int to ndarray
        Values of each label, in the order of the schema.
    notes : dict of int to list of str
        Remarks about them.
    problems : list of (int or None, str)
        Label, or None for the whole case, and what is wrong. Such a label may have its shape.
    missing : dict of int to str
        Labels that are not in the mask, and what is there instead.
    """

    values: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    notes: dict[int, list[str]] = field(default_factory=dict)
    problems: list[tuple[int | None, str]] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)

    def update(self, other: CaseResult) -> None:
        """Add what came of other labels of the same case."""
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


def run_case(case: Case, labels: list[int], task: Task, *, check_only: bool = False) -> CaseResult:
    """Extract the given labels of one case.

    Parameters
    ----------
    case : Case
    labels : list of int
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
            _run(case, labels, task, result, check_only)
        except ScanProblem as problem:
            result.problems.append((problem.label, problem.reason))
        except MemoryError:
            reason = "not enough memory; fewer processes (n_jobs) or a larger binWidth need less"
            result.problems.append((None, reason))
        except Exception as error:  # one case's surprise must not lose the others
            reason = f"{type(error).__name__}: {error}"
            result.problems.append((None, f"extraction stopped with {reason}"))
    return result


def _run(
    case: Case,
    labels: list[int],
    task: Task,
    result: CaseResult,
    check_only: bool,
) -> None:
    import SimpleITK as sitk

    settings, schema = task.settings, task.schema
    image, mask = read_case(case, settings.setting.get("label_channel"), schema.ndim)
    check_dimensions(image, mask, schema.ndim, len(schema.channels))
    present = present_labels(sitk.GetArrayViewFromImage(mask))
    result.missing = {label: missing_reason(present) for label in labels if label not in present}
    labels = [label for label in labels if label in present]
    found: dict[int, dict[tuple[str, str], float]] = {label: {} for label in labels}
    messages: dict[int, list[str]] = {label: [] for label in labels}
    if len(schema.channels) > 1 and _changes_shape(settings):
        raise ScanProblem(
            "resegmentShape=True would give each channel of a colour image a shape of its own: set "
            "it to False, or pass the channels one by one"
        )
    for number, channel in enumerate(schema.channels):
        plane = sitk.VectorIndexSelectionCast(image, number) if channel else image
        check_finite(plane, everywhere=_spreads(settings))
        regions, problems = prepare(plane, mask, labels, settings)
        if not check_only:
            extract(regions, settings, shape=number == 0, whole=task.whole)
            problems += [region.problem for region in regions if region.problem is not None]
        for problem in problems:
            where = f" in the {channel} channel" if channel else ""
            result.problems.append((problem.label, problem.reason + where))
            labels = [label for label in labels if label != problem.label]
        if check_only:
            continue
        for region in regions:
            _collect(region, channel, found[region.label], result)
            messages[region.label] += region.messages
    if check_only:
        return
    for label, values in found.items():
        if label in labels:
            result.values[label] = _vector(label, values, schema, result, messages[label])
        elif shape := {name: value for name, value in values.items() if _is_shape(name[1])}:
            result.values[label] = _fill(shape, schema)


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
        result.notes.setdefault(region.label, []).append(f"{channel}: {note}" if channel else note)


def _is_shape(name: str) -> bool:
    return name.startswith(("original_shape_", "original_shape2D_"))


def _fill(found: dict[tuple[str, str], float], schema: Schema) -> NDArray[np.float64]:
    """Put values in the order of the columns, with NaN for those that are not there."""
    names = [(each.channel, each.radiomics_name) for each in schema.features]
    return np.array([found.get(name, np.nan) for name in names], dtype=np.float64)


def _vector(
    label: int,
    found: dict[tuple[str, str], float],
    schema: Schema,
    result: CaseResult,
    messages: list[str],
) -> NDArray[np.float64]:
    values = _fill(found, schema)
    notes = result.notes.setdefault(label, [])
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
        del result.notes[label]
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
