"""Load the list of cases that pyradiomics' own command takes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

from skcyto.datasets._files import as_labels, read_list
from skcyto.datasets._problems import Findings, OnError, check_on_error
from skcyto.exceptions import InvalidDatasetError
from skcyto.utils._validation import PATH, check_parameters

_PATHS = {"Image": "image", "Mask": "mask"}


@check_parameters(path=PATH, target_column=[str, None], group_column=[str, None])
def load_pyradiomics_csv(
    path: str | os.PathLike[str],
    *,
    target_column: str | None = None,
    group_column: str | None = None,
    on_error: OnError = "raise",
) -> Bunch:
    """Load the CSV file of cases that pyradiomics' batch command takes.

    It has the columns Image and Mask, paths that count from the file's own folder, and may have
    Label and Label_channel; any others, such as a patient's name, are kept.

    Parameters
    ----------
    path : str or path-like
        The CSV file.
    target_column : str, default=None
        Column with the class of each row.
    group_column : str, default=None
        Column with the unit to split by (patient).
    on_error : {"raise", "warn"}, default="raise"
        What to do about rows without image, mask, label or class, files that are missing, and
        labels that are no whole number above 0: "raise" one error that lists them all, or "warn",
        leave them out and load the rest.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame of shape (n_rows, 2 or 3)
            Columns image and mask, and label where the file has Label: then pass
            ``label_column="label"`` to :class:`~skcyto.feature_extraction.RadiomicsExtractor`.
            The index holds the numbers of the lines.
        label_channel : int or None
            The channel of masks with several, for pyradiomics' setting of that name.
        target : ndarray of shape (n_rows,), dtype str or int64, or None
            Class of each row.
        groups : ndarray of shape (n_rows,), dtype str, or None
            Unit to split by of each row.
        frame : DataFrame
            The rows with all their columns.
        report : DataFrame of shape (n_problems, 3)
            What was not sound: problem, item and detail.

    Raises
    ------
    InvalidDatasetError
        If the file is missing, is no CSV file or lacks a column, if it names several label
        channels, if there is a problem and `on_error` is "raise", or if no row is left.

    See Also
    --------
    load_image_mask_folder : Finds images and masks by their names.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skcyto.datasets import load_pyradiomics_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("brain.nrrd", "regions.nrrd"):
    ...         _ = Path(folder, name).write_bytes(b"...")
    ...     lines = "Image,Mask,Label", "brain.nrrd,regions.nrrd,1", "brain.nrrd,regions.nrrd,2"
    ...     _ = Path(folder, "cases.csv").write_text(chr(10).join(lines))
    ...     cases = load_pyradiomics_csv(Path(folder, "cases.csv"))
    >>> cases.data["label"].tolist()
    [1, 2]
    """
    check_on_error(on_error)
    file = Path(path).expanduser()
    extra = [column for column in (target_column, group_column) if column is not None]
    required = [*_PATHS, *extra]
    frame = read_list(file, [*required, "Label", "Label_channel"], required=required)
    findings = Findings(f"load_pyradiomics_csv({str(file)!r})")
    has_labels = "Label" in frame.columns
    for column in [*required, *(["Label"] if has_labels else [])]:
        empty = frame[column].isna()
        findings.add(
            "missing value", [f"line {n}" for n in frame.index[empty]], f"no {column}; left out"
        )
        frame = frame[~empty]
    if has_labels:
        wrong = ~frame["Label"].map(lambda text: bool(re.fullmatch(r"0*[1-9]\d*", text)))
        findings.add(
            "no label",
            [f"line {n} ({text})" for n, text in frame.loc[wrong, "Label"].items()],
            "Label is no whole number above 0; left out",
        )
        frame = frame[~wrong]
    paths = {
        name: frame[column].map(lambda text: os.path.abspath(file.parent / text))
        for column, name in _PATHS.items()
    }
    for name, its in paths.items():
        missing = ~its.map(os.path.exists)
        findings.add(
            f"missing {name}",
            [f"line {n} ({frame.loc[n, name.capitalize()]})" for n in frame.index[missing]],
            "no such file; left out",
        )
    there = paths["image"].map(os.path.exists) & paths["mask"].map(os.path.exists)
    frame = frame[there]
    channel = _one_channel(frame, findings)
    report = findings.settle(on_error, len(frame))
    data = pd.DataFrame({name: its[there] for name, its in paths.items()}, dtype=object)
    if has_labels:
        data["label"] = frame["Label"].astype("int64")
    return Bunch(
        data=data,
        label_channel=channel,
        target=None if target_column is None else as_labels(frame[target_column]),
        groups=None if group_column is None else frame[group_column].to_numpy(dtype=str),
        frame=frame,
        report=report,
    )


def _one_channel(frame: pd.DataFrame, findings: Findings) -> int | None:
    """Take the label channel that all rows share; one extractor has one."""
    if "Label_channel" not in frame.columns or frame.empty:
        return None
    channels = frame["Label_channel"].fillna("0").unique().tolist()
    if len(channels) == 1 and channels[0].isdigit():
        return int(channels[0])
    raise InvalidDatasetError(
        f"{findings.source}: Label_channel holds {channels}, but an extractor takes one channel, a "
        "whole number from 0: make a file for each"
    )
