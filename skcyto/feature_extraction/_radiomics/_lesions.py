"""One row a lesion: the connected parts of masks, numbered."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction._radiomics._cases import (
    Case,
    Columns,
    ScanProblem,
    check_columns,
    make_cases,
)
from skcyto.feature_extraction._radiomics._checks import present_labels
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import peek, read_case
from skcyto.feature_extraction._radiomics._runtime import import_sitk
from skcyto.feature_extraction._radiomics._structures import check_mask_labels, connected_parts
from skcyto.utils._progress import progress_bar
from skcyto.utils._validation import PATH, check_parameters
from skcyto.utils._warnings import warn

LESION = "lesion"
_MAX_NAMED = 10


@check_parameters(
    path=PATH,
    mask_labels=[None, Integral, "array-like"],
    min_volume=[Interval(Real, 0, None, closed="left")],
    mask_column=[str],
    label_channel=[None, Integral],
    verbose=["verbose"],
)
def split_lesions(
    X: Any,
    path: str | os.PathLike[str],
    mask_labels: int | Sequence[int] | None = None,
    *,
    y: Sequence[Any] | np.ndarray | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    min_volume: float = 0.0,
    image_column: str | Sequence[str] = "image",
    mask_column: str = "mask",
    label_channel: int | None = None,
    verbose: int = 0,
) -> Bunch:
    """Make one row a lesion of one row a case: the connected parts of each mask.

    Voxels of the given labels that share a face, an edge or a corner are one lesion. Each case
    gets a mask in which its lesions are numbered, the largest first; the rows that are returned
    name image, mask and number, for ``RadiomicsExtractor(label_column="lesion")``.

    Lesions of a patient are no independent cases: split by `groups`.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n_cases, n_images + 1), or sequence of pairs
        Images and masks, as :class:`RadiomicsExtractor` takes them.
    path : str or path-like
        Folder for the numbered masks (NRRD), and for ``lesions.csv``, a list of the rows, where
        images are given by their paths. Made where it is missing; files of the same names are
        replaced.
    mask_labels : int, list of int or None, default=None
        Labels whose union holds the lesions. None takes whatever is not 0.
    y : array-like of shape (n_cases,), default=None
        Class of each case, repeated for its lesions.
    groups : array-like of shape (n_cases,), default=None
        Patient of each case, repeated for its lesions. None takes every case for a patient.
    min_volume : float, default=0.0
        Smallest volume of a lesion in mm³ (in an image without spacing, in voxels). Smaller parts
        are left out.
    image_column, mask_column : str (or list of str), default="image" and "mask"
        Columns of `X` where it is a DataFrame.
    label_channel : int or None, default=None
        Which channel of a mask with several to take.
    verbose : int, default=0
        Above 0, a progress bar.

    Returns
    -------
    lesions : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame of shape (n_lesions, n_images + 2)
            Images, mask and `lesion`, a number from 1. Indexed by case.
        target : ndarray of shape (n_lesions,), or None
            Class of each lesion's case.
        groups : ndarray of shape (n_lesions,)
            Patient of each lesion.
        frame : DataFrame of shape (n_lesions, 4)
            `case`, `lesion`, `n_voxels` and `volume` in mm³.

    Raises
    ------
    InvalidScanError
        If an image or a mask cannot be used; every such case is listed.
    ValueError
        If `y` or `groups` has another length than `X`, or no lesion is found.

    Warns
    -----
    InvalidInputWarning
        If a case has no lesion: it has no row.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skcyto.feature_extraction import split_lesions
    >>> image = np.random.default_rng(0).normal(size=(8, 20, 20))
    >>> mask = np.zeros((8, 20, 20), dtype=np.uint8)
    >>> mask[2:5, 2:5, 2:5] = 1
    >>> mask[2:6, 10:16, 10:16] = 2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lesions = split_lesions([(image, mask)], folder, [1, 2], groups=["patient 7"])
    >>> lesions.frame[["lesion", "n_voxels"]]
       lesion  n_voxels
    0       1       144
    1       2        27
    >>> lesions.groups.tolist()
    ['patient 7', 'patient 7']
    """
    columns = check_columns(image_column, mask_column, None)
    if LESION in (*columns.images, columns.mask):
        raise ValueError(f"the column {LESION!r} is made here: rename the one that X has")
    if isinstance(mask_labels, Integral):
        mask_labels = [mask_labels]
    named = check_mask_labels(None if mask_labels is None else {LESION: mask_labels})
    wanted = None if named is None else np.atleast_1d(named[LESION])
    cases = make_cases(X, columns)
    values = {"y": y, "groups": groups}
    for name, given in values.items():
        if given is not None and len(given) != len(cases):
            raise ValueError(f"{name} has {len(given)} values for {len(cases)} cases")
    folder = Path(path).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    names = _case_names(X, len(cases))
    report = Report(len(cases), "raise", "raise")
    rows: list[dict[str, Any]] = []
    with progress_bar(cases, desc="Lesions", unit="case", verbose=verbose) as bar:
        for case in bar:
            file = folder / f"{_file_name(names[case.row], case.row)}.nrrd"
            try:
                found = _number_lesions(case, wanted, min_volume, label_channel, file)
            except ScanProblem as problem:
                report.add_problem(case, problem.reason)
                continue
            rows += [{"row": case.row, "file": str(file), **lesion} for lesion in found]
    report.finish(what="lesions")
    return _as_bunch(cases, rows, names, columns, values, folder)


def _number_lesions(
    case: Case,
    wanted: np.ndarray | None,
    min_volume: float,
    label_channel: int | None,
    file: Path,
) -> list[dict[str, Any]]:
    """Write a case's numbered mask, and describe its lesions."""
    sitk = import_sitk()
    _, mask = read_case(case, label_channel, peek(case)[0])
    values = sitk.GetArrayViewFromImage(mask)
    present_labels(values)
    parts, sizes = connected_parts(values != 0 if wanted is None else np.isin(values, wanted))
    volume = float(np.prod(mask.GetSpacing()))
    kept = int(np.count_nonzero(sizes * volume >= min_volume))
    parts[parts > kept] = 0
    numbered = sitk.GetImageFromArray(parts.astype(np.uint32))
    numbered.CopyInformation(mask)
    sitk.WriteImage(numbered, str(file), useCompression=True)
    return [
        {
            LESION: number + 1,
            "n_voxels": int(sizes[number]),
            "volume": float(sizes[number] * volume),
        }
        for number in range(kept)
    ]


def _case_names(X: Any, n_cases: int) -> list[Any]:
    index = getattr(X, "index", None)
    return list(range(n_cases)) if index is None or callable(index) else list(index)


def _file_name(name: Any, row: int) -> str:
    """Name a case's file after it, and number it, since names may be the same on disk."""
    plain = re.sub(r"[^\w.-]+", "_", str(name)) if isinstance(name, str) else "case"
    return f"{row:05d}_{plain[:80]}_lesions"


def _as_bunch(
    cases: list[Case],
    rows: list[dict[str, Any]],
    names: list[Any],
    columns: Columns,
    values: dict[str, Any],
    folder: Path,
) -> Bunch:
    if not rows:
        raise ValueError(f"none of the {len(cases)} masks holds a lesion of the labels and size")
    without = sorted(set(range(len(cases))) - {row["row"] for row in rows})
    if without:
        shown = ", ".join(cases[row].name for row in without[:_MAX_NAMED])
        more = f" and {len(without) - _MAX_NAMED} more" if len(without) > _MAX_NAMED else ""
        warn(
            f"{len(without)} of {len(cases)} cases have no lesion of the labels and size, and so "
            f"no row: {shown}{more}",
            InvalidInputWarning,
        )
    of = [row["row"] for row in rows]
    index = pd.Index([names[row] for row in of], name="case")
    images = {
        name: pd.Series([cases[row].images[place].given for row in of], dtype=object, index=index)
        for place, name in enumerate(columns.images)
    }
    masks = pd.Series([row["file"] for row in rows], dtype=object, index=index)
    data = pd.DataFrame({**images, columns.mask: masks})
    data[LESION] = [row[LESION] for row in rows]
    if all(source.path is not None for case in cases for source in case.images):
        absolute = data.copy()
        for name in (*columns.images, columns.mask):
            absolute[name] = absolute[name].map(os.path.abspath)
        absolute.to_csv(folder / "lesions.csv", index=False)
    y, groups = values["y"], values["groups"]
    patients = np.asarray(names if groups is None else groups)
    return Bunch(
        data=data,
        target=None if y is None else np.asarray(y)[of],
        groups=patients[of],
        frame=pd.DataFrame(
            {
                "case": [names[row] for row in of],
                **{name: [row[name] for row in rows] for name in (LESION, "n_voxels", "volume")},
            }
        ),
    )
