"""DICOM segmentations (SEG) and structure sets (RTSTRUCT) as masks on an image's grid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction._radiomics._cases import (
    Case,
    ScanProblem,
    check_columns,
    make_cases,
    with_masks,
)
from skcyto.feature_extraction._radiomics._dicom_series import frame_of_reference
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import read_image
from skcyto.feature_extraction._radiomics._runtime import import_sitk
from skcyto.utils._optional import import_optional
from skcyto.utils._validation import PATH, check_parameters
from skcyto.utils._warnings import warn

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_OFF_PLANE = 0.05  # of a slice's thickness that a contour may lie beside its plane
_OFF_GRID = 1e-3  # of a voxel


@check_parameters(
    path=PATH,
    segments=[Mapping],
    mask_column=[str],
    on_missing_segment=[StrOptions({"raise", "warn"})],
)
def masks_from_dicom(
    X: Any,
    path: str | os.PathLike[str],
    segments: Mapping[str, str | Sequence[str]],
    *,
    image_column: str | Sequence[str] = "image",
    mask_column: str = "mask",
    on_missing_segment: str = "raise",
) -> Any:
    """Turn DICOM segmentations and structure sets into masks for the extractor.

    SEG objects are read by highdicom, RTSTRUCT by pydicom; both come with ``pip install
    'skcyto[dicom]'``. A voxel belongs to a contour if its centre lies inside; contours of one
    structure within each other cut holes.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n_cases, n_images + 1), or sequence of pairs
        Images, as :class:`RadiomicsExtractor` takes them (a folder is a DICOM series), and in the
        place of masks the path of a SEG or RTSTRUCT file.
    path : str or path-like
        Folder for the masks (NRRD), made where it is missing; files there are replaced.
    segments : dict of str to str or list of str
        Structures and their names in the files, in any case; a list has the ways in which one
        structure is spelt. The first structure has label 1 in the masks, the next 2, and so on.
    image_column, mask_column : str (or list of str), default="image" and "mask"
        Columns of `X` where it is a DataFrame.
    on_missing_segment : {"raise", "warn"}, default="raise"
        What to do where a file lacks one of `segments`: an error that lists all such files, or a
        warning, and a mask without that label.

    Returns
    -------
    X : DataFrame or list
        With the masks that were written.

    Raises
    ------
    InvalidScanError
        If an image or a file cannot be used: contours or segments that lie beside the image, off
        its grid or in another frame of reference, names that two segments share, segments that
        overlap. Every such case is listed.
    ImportError
        If highdicom is not installed.

    Warns
    -----
    InvalidInputWarning
        If a segment is missing, with ``on_missing_segment="warn"``, or a structure is drawn on
        every second slice only.

    See Also
    --------
    RadiomicsExtractor : Measures them, with ``{name: label}`` for its labels.

    Examples
    --------
    >>> from skcyto.feature_extraction import masks_from_dicom
    >>> dicom = [("patient_1/ct", "patient_1/rtstruct.dcm"), ("patient_2/ct", "patient_2/seg.dcm")]
    >>> segments = {"tumour": ["GTV-1", "GTVp"], "node": "GTV-N"}
    >>> X = masks_from_dicom(dicom, "masks", segments)  # doctest: +SKIP
    """
    import_optional("highdicom", extra="dicom", purpose="masks_from_dicom")
    wanted = _check_segments(segments)
    columns = check_columns(image_column, mask_column, None)
    cases = make_cases(X, columns)
    folder = Path(path).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(len(cases), "raise", "raise")
    files, notes = [], []
    for case in cases:
        file = folder / f"{case.row:05d}_mask.nrrd"
        try:
            lacking, remarks = _convert(case, wanted, file)
        except ScanProblem as problem:
            report.add_problem(case, problem.reason)
            continue
        if lacking and on_missing_segment == "raise":
            report.add_problem(case, lacking)
        notes += [f"{case.name}: {remark}" for remark in [lacking, *remarks] if remark]
        files.append(str(file))
    report.finish(what="masks")
    if notes:
        warn(f"{len(notes)} remarks on masks:\n- " + "\n- ".join(notes[:20]), InvalidInputWarning)
    return with_masks(X, cases, columns, files)


def _check_segments(segments: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    wanted = {}
    for name, spellings in segments.items():
        its = [spellings] if isinstance(spellings, str) else list(spellings)
        if not isinstance(name, str) or not its or not all(isinstance(each, str) for each in its):
            raise ValueError(
                f"segments: {name!r} must be a name, with the name in the files or a list of its "
                f"spellings; got {spellings!r}"
            )
        wanted[name] = [_plain(each) for each in its]
    if not wanted:
        raise ValueError("segments is empty: give at least one structure and its name")
    return wanted


def _plain(name: str) -> str:
    return " ".join(str(name).split()).casefold()


def _convert(case: Case, wanted: dict[str, list[str]], file: Path) -> tuple[str, list[str]]:
    """Write a case's mask; say which segments it lacks, and what else is remarkable."""
    image = read_image(case.images[0])
    if image.GetDimension() != 3:
        raise ScanProblem("the image has 2 dimensions: SEG and RTSTRUCT are read for volumes")
    source = case.mask
    if source.problem is not None or source.path is None:
        raise ScanProblem(source.problem or "the mask is no path of a SEG or RTSTRUCT file")
    dataset = _read_dataset(source.path)
    try:
        _check_frame(dataset, case)
        lacking, remarks = _write_mask(dataset, image, wanted, file)
    finally:
        # highdicom leaves its table in memory to the garbage collector, of which Python warns.
        if (table := getattr(dataset, "_db_con", None)) is not None:
            table.close()
    return (f"{source.path} {lacking}" if lacking else ""), remarks


def _write_mask(
    dataset: Any, image: Any, wanted: dict[str, list[str]], file: Path
) -> tuple[str, list[str]]:
    sitk = import_sitk()
    is_contours = dataset.SOPClassUID == _STRUCTURE_SET
    found = _contour_names(dataset) if is_contours else _segment_names(dataset)
    values = np.zeros(image.GetSize()[::-1], dtype=np.uint32)
    taken: dict[int, str] = {}
    lacking, remarks = [], []
    for label, (name, spellings) in enumerate(wanted.items(), 1):
        numbers = [number for number, its in found.items() if _plain(its) in spellings]
        if len(numbers) > 1:
            names = ", ".join(repr(found[number]) for number in numbers)
            raise ScanProblem(f"several segments are called {name!r}: {names}")
        if not numbers:
            lacking.append(name)
            continue
        if is_contours:
            inside, remark = _rasterise(dataset, numbers[0], image, found[numbers[0]])
            remarks += [remark] if remark else []
        else:
            inside = _place(dataset, numbers[0], image)
        overlap = np.unique(values[inside & (values > 0)])
        if overlap.size:
            raise ScanProblem(
                f"the segments {name!r} and {taken[int(overlap[0])]!r} overlap, and a mask holds "
                "one label a voxel: convert them one by one, each into a folder of its own"
            )
        values[inside], taken[label] = label, name
    mask = sitk.GetImageFromArray(values)
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(file), useCompression=True)
    there = ", ".join(map(repr, found.values())) or "none"
    what = f"lacks {', '.join(map(repr, lacking))}; it holds {there}" if lacking else ""
    return what, remarks


def _read_dataset(path: str) -> Any:
    import highdicom
    import pydicom

    if not os.path.isfile(path):
        raise ScanProblem(f"the mask file {path} does not exist")
    try:
        dataset = pydicom.dcmread(path)
        kind = str(dataset.SOPClassUID)
        if kind in _SEGMENTATIONS:
            return highdicom.seg.segread(path)
    except Exception as error:  # pydicom and highdicom fail in many ways on damaged files
        raise ScanProblem(f"the mask file {path} is no readable DICOM file: {error}") from error
    if kind != _STRUCTURE_SET:
        raise ScanProblem(
            f"the mask file {path} is a DICOM file of another kind, {dataset.SOPClassUID.name}: "
            "give a SEG or RTSTRUCT file"
        )
    return dataset


def _check_frame(dataset: Any, case: Case) -> None:
    """Compare the patient space of a mask with that of its image, where both name one."""
    path = case.images[0].path
    if path is None or not os.path.isdir(path):
        return
    own = frame_of_reference(path)
    theirs = {str(dataset.FrameOfReferenceUID)} if "FrameOfReferenceUID" in dataset else set()
    for item in dataset.get("StructureSetROISequence", []):
        if item.get("ReferencedFrameOfReferenceUID"):
            theirs.add(str(item.ReferencedFrameOfReferenceUID))
    if own and theirs and own not in theirs:
        raise ScanProblem(
            f"{case.mask.path} lies in another frame of reference than the image: is it of another "
            "scan? Register them, and save the mask on the image's grid"
        )


def _contour_names(dataset: Any) -> dict[int, str]:
    items = dataset.get("StructureSetROISequence", [])
    return {int(item.ROINumber): str(item.get("ROIName", "")) for item in items}


def _segment_names(dataset: Any) -> dict[int, str]:
    items = dataset.SegmentSequence
    return {int(item.SegmentNumber): str(item.SegmentLabel) for item in items}


def _rasterise(
    dataset: Any, number: int, image: Any, name: str
) -> tuple[NDArray[np.bool_], str | None]:
    """Find the voxels whose centres lie inside the contours of a structure."""
    size = image.GetSize()
    inside = np.zeros(size[::-1], dtype=bool)
    rows, columns = np.mgrid[: size[1], : size[0]]
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    planes = set()
    for points in _contours(dataset, number, image, name):
        plane = round(float(points[0, 2]))
        if np.abs(points[:, 2] - plane).max() > _OFF_PLANE:
            raise ScanProblem(
                f"a contour of {name!r} lies beside the planes of the slices (at slice "
                f"{points[0, 2]:.2f}): it was drawn on another series, or in another plane"
            )
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        if (
            not 0 <= plane < size[2]
            or (low < -0.5).any()
            or (high > np.array(size[:2]) - 0.5).any()
        ):
            raise ScanProblem(f"a contour of {name!r} lies outside the image")
        near = (centres >= low).all(axis=1) & (centres <= high).all(axis=1)
        there = np.zeros(len(centres), dtype=bool)
        there[near] = Polygon(points[:, :2], closed=False).contains_points(centres[near])
        inside[plane] ^= there.reshape(rows.shape)
        planes.add(plane)
    if not inside.any():
        raise ScanProblem(f"the contours of {name!r} hold no voxel's centre")
    steps = np.diff(sorted(planes))
    if len(steps) > 1 and steps.min() > 1:
        return inside, f"{name!r} is drawn on every {steps.min()} slices, with empty ones between"
    return inside, None


def _contours(dataset: Any, number: int, image: Any, name: str) -> list[NDArray[np.float64]]:
    """List a structure's contours as voxel coordinates: column, row, slice."""
    items = [
        item
        for item in dataset.get("ROIContourSequence", [])
        if int(item.ReferencedROINumber) == number
    ]
    origin, spacing = np.array(image.GetOrigin()), np.array(image.GetSpacing())
    axes = np.array(image.GetDirection()).reshape(3, 3)
    found = []
    for contour in (each for item in items for each in item.get("ContourSequence", [])):
        if contour.ContourGeometricType not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
            raise ScanProblem(
                f"{name!r} has a contour of the type {contour.ContourGeometricType}, which has no "
                "inside"
            )
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        found.append(((points - origin) @ axes) / spacing)
    if not found:
        raise ScanProblem(f"{name!r} has no contours")
    return found


def _place(dataset: Any, number: int, image: Any) -> NDArray[np.bool_]:
    """Find the voxels of a segment on the image's grid, of which it may cover a part."""
    if str(dataset.SegmentationType) == "FRACTIONAL":
        raise ScanProblem("the segmentation holds fractions: save it as a binary one")
    try:
        volume = dataset.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)
    except (RuntimeError, ValueError) as error:
        raise ScanProblem(f"the segmentation is no regular volume: {error}") from error
    part = np.asarray(volume.array) > 0
    steps = np.asarray(volume.affine)[:3, 2::-1]  # a column each for columns, rows and slices
    spacing = np.linalg.norm(steps, axis=0)
    turned = np.array(image.GetDirection()).reshape(3, 3).T @ (steps / spacing)
    gaps = {
        "direction": np.abs(np.abs(turned) - np.eye(3)).max(),
        "spacing": np.abs(spacing / image.GetSpacing() - 1).max(),
    }
    origin = np.asarray(volume.affine)[:3, 3]
    for axis in np.flatnonzero(
        np.diag(turned) < 0
    ).tolist():  # the same grid, counted from the other end
        origin = origin + steps[:, axis] * (part.shape[2 - axis] - 1)
        part = np.flip(part, 2 - axis)
    corner = np.array(image.TransformPhysicalPointToContinuousIndex(origin.tolist()))
    start = np.round(corner).astype(int)
    gaps["a shift by parts of a voxel"] = np.abs(corner - start).max()
    off = [name for name, gap in gaps.items() if gap > _OFF_GRID]
    if off:
        raise ScanProblem(
            f"the segmentation lies on another grid than the image, by {off[0]}: resample it to "
            "the image"
        )
    stop = start + part.shape[::-1]
    low, high = np.maximum(start, 0), np.minimum(stop, image.GetSize())
    target = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
    source = tuple(
        slice(a - s, b - s) for a, b, s in zip(low[::-1], high[::-1], start[::-1], strict=True)
    )
    if (high <= low).any() or part.sum() > part[source].sum():
        raise ScanProblem("the segment lies outside the image")
    result = np.zeros(image.GetSize()[::-1], dtype=bool)
    result[target] = part[source]
    return result
