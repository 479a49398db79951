"""A folder of DICOM slices as one volume, with what ITK reads without a word said.

ITK stacks whatever slices a series has: where one is missing, or two lie at one place, spacing and
volume are wrong from there on.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem
from skcyto.feature_extraction._radiomics._reasons import itk_reason

_POSITION, _ORIENTATION, _SERIES = "0020|0032", "0020|0037", "0008|103e"
FRAME_OF_REFERENCE = "0020|0052"
_TOLERANCE = 0.01  # of the distance between slices
_MAX_NAMED = 5


def read_series(path: str, role: str) -> Any:
    """Read the DICOM series in a folder.

    Parameters
    ----------
    path : str
        Folder.
    role : str
        "image" or "mask", for messages.

    Returns
    -------
    image : SimpleITK.Image

    Raises
    ------
    ScanProblem
    """
    import SimpleITK as sitk

    names = slice_files(path, role)
    check_slices(names, path, role)
    try:
        if len(names) == 1:
            return sitk.ReadImage(names[0])
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(names)
        return reader.Execute()
    except RuntimeError as error:
        raise ScanProblem(
            f"the DICOM series in {path} is unreadable, perhaps truncated; copy or export it again "
            f"(ITK says: {itk_reason(error)})"
        ) from error


def slice_files(path: str, role: str) -> list[str]:
    """List the slices of the only series of images in a folder, in their order.

    Raises
    ------
    ScanProblem
        If there is none, or more than one.
    """
    import SimpleITK as sitk

    found = {
        series: list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(path, series))
        for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(path)
    }
    # A structure set or a report that lies beside the slices is a series of its own, without place.
    found = {
        series: names
        for series, names in found.items()
        if len(names) > 1 or "rows" in _tags(names[0])
    }
    if not found:
        raise ScanProblem(
            f"the {role} {path} is a folder without a DICOM series: give the file, or the folder "
            "that holds the slices themselves"
        )
    if len(found) > 1:
        shown = "; ".join(
            f"{_tags(names[0]).get(_SERIES, 'without a description')} ({len(names)} files)"
            for names in list(found.values())[:_MAX_NAMED]
        )
        raise ScanProblem(
            f"the {role} {path} is a folder with {len(found)} DICOM series: {shown}. Give each a "
            "folder of its own"
        )
    return next(iter(found.values()))


def check_slices(names: list[str], path: str, role: str) -> None:
    """Check that slices are parallel, in line, and evenly apart.

    Raises
    ------
    ScanProblem
    """
    tags = [_tags(name) for name in names]
    if len(names) < 2 or any(_POSITION not in each for each in tags):
        return  # a radiograph, or frames that have their positions elsewhere
    places = np.array([_numbers(each[_POSITION]) for each in tags])
    axes = np.array([_numbers(each.get(_ORIENTATION, "1\\0\\0\\0\\1\\0")) for each in tags])
    start = f"the {role} {path} is a DICOM series"
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise ScanProblem(f"{start} of slices that are not parallel: give one orientation a folder")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    usual = float(np.median(steps))
    if steps.min() < max(_TOLERANCE * usual, 1e-4):
        twice = os.path.basename(names[order[int(np.argmin(steps)) + 1]])
        raise ScanProblem(
            f"{start} with several slices at one place, such as {twice}: give one echo, phase or "
            "time a folder"
        )
    if steps.max() - usual > _TOLERANCE * usual:
        gap = int(np.argmax(steps))
        raise ScanProblem(
            f"{start} with a gap of {steps[gap]:g} mm after {os.path.basename(names[order[gap]])}, "
            f"where others are {usual:g} mm apart: is a slice missing?"
        )
    if usual - steps.min() > _TOLERANCE * usual:
        raise ScanProblem(
            f"{start} with slices {steps.min():g} to {steps.max():g} mm apart: resample it to an "
            "even spacing"
        )
    drift = np.diff(places[order], axis=0) - steps[:, None] * normal
    if np.abs(drift).max() > _TOLERANCE * usual:
        raise ScanProblem(
            f"{start} with a tilted gantry: its slices are shifted against each other; resample it "
            "to axes at right angles"
        )


def frame_of_reference(path: str) -> str | None:
    """Look up which patient space a series lies in; None where its header does not say."""
    return _tags(slice_files(path, "image")[0]).get(FRAME_OF_REFERENCE)


def _tags(name: str) -> dict[str, str]:
    """Read the tags of a file that are text, and ``rows`` where it has voxels."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}
    keys = set(reader.GetMetaDataKeys())
    wanted = keys & {_POSITION, _ORIENTATION, _SERIES, FRAME_OF_REFERENCE}
    found = {key: reader.GetMetaData(key).strip(" \0") for key in wanted}
    return found | ({"rows": ""} if "0028|0010" in keys else {})


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in text.split("\\")])
