"""Load folders of images that come with a mask."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skcyto.datasets._files import (
    SCAN_EXTENSIONS,
    as_folder,
    as_labels,
    clean_rows,
    has_extension,
    keep_sound_files,
    read_list,
    walk_files,
)
from skcyto.datasets._image_folder import note_contradicting_copies
from skcyto.datasets._problems import Findings, OnError, check_on_error
from skcyto.utils._validation import OPTIONAL_PATH, PATH, check_parameters


@check_parameters(
    path=PATH,
    image=[str, Mapping],
    mask=[str],
    index=OPTIONAL_PATH,
    case_column=[str],
    target_column=[str, None],
    group_column=[str, None],
)
def load_image_mask_folder(
    path: str | os.PathLike[str],
    *,
    image: str | Mapping[str, str] = "images/{case}{extension}",
    mask: str = "masks/{case}{extension}",
    index: str | os.PathLike[str] | None = None,
    case_column: str = "case",
    target_column: str | None = None,
    group_column: str | None = None,
    on_error: OnError = "raise",
) -> Bunch:
    """Load the paths of images and their masks, and labels where there is a list of cases.

    Images and masks are paired by the name of the case, which two patterns find in the paths. No
    image is decoded: :class:`~skcyto.feature_extraction.RadiomicsExtractor` reads a case when it
    needs it and checks that image and mask fit each other.

    Parameters
    ----------
    path : str or path-like
        Folder of the data set.

    image : str or dict of str to str, default="images/{case}{extension}"
        Where the images lie below `path`. ``{case}`` stands for the name of the case, the same
        wherever it stands, and ``{extension}`` for the ending of an image or scan (.nii.gz, .nii,
        .nrrd, .mha, .mhd, .png, .tif, ...); ``*`` stands for anything within a name and ``**/``
        for any folders; the rest is taken literally. Further examples: ``"{case}_flair.nii.gz"``,
        ``"{case}/{case}_flair.nii.gz"`` (BraTS), ``"sub-{case}/**/*_T1w.nii.gz"`` (BIDS). A dict
        has a pattern for each of several images a case, such as MR sequences, under the name of
        its column.

    mask : str, default="masks/{case}{extension}"
        Where the masks lie below `path`.

    index : str or path-like, default=None
        CSV file with one row a case; a relative path counts from `path`. None takes every case
        that has an image and a mask.

    case_column : str, default="case"
        Column of `index` with the name of the case.

    target_column : str, default=None
        Column of `index` with the label.

    group_column : str, default=None
        Column of `index` with the unit to split by (patient).

    on_error : {"raise", "warn"}, default="raise"
        What to do about images without a mask, masks without (one of) their images, rows without
        files, cases without a row, missing values, duplicates, empty files, links to folders that
        are listed anyway, and cases whose files are byte for byte those of a case with another
        label: "raise" one error that lists them all, or "warn", leave them out and load the rest.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : :class:`~pandas.DataFrame` of shape (n_samples, n_images + 1)
            Paths, in the columns image (or those of the dict) and mask; the index holds the names
            of the cases. In the order of the rows of `index`, or sorted by case.
        cases : ndarray of shape (n_samples,), dtype str
            Name of each case.
        target : ndarray of shape (n_samples,), dtype str or int64, or None
            Labels (integers where all are written as integers), where `target_column` is given.
        target_names : ndarray of shape (n_classes,), or None
            The distinct labels, sorted.
        groups : ndarray of shape (n_samples,), dtype str, or None
            Unit to split by, where `group_column` is given.
        frame : :class:`~pandas.DataFrame` of shape (n_samples, n_columns)
            The rows of `index` that belong to the cases, with all their columns.
        report : :class:`~pandas.DataFrame` of shape (n_problems, 3)
            What was not sound: problem, item and detail.
        DESCR : str
            Where the data came from, in words.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` is not a folder.
    ValueError
        If a pattern lacks ``{case}``, two are the same, or a column is asked for without `index`.
    InvalidDatasetError
        If `index` cannot be read, if there is a problem and `on_error` is "raise", or if no case
        is left.

    See Also
    --------
    load_ted : Loader for orbital MRI with eight structures.
    write_image_mask_folder : Write images and masks in this layout.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import (
    ...     load_image_mask_folder, make_cell_images, write_image_mask_folder
    ... )
    >>> cells = make_cell_images(4, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     index = write_image_mask_folder(root, cells.images, cells.masks, cells.target)
    ...     data = load_image_mask_folder(root, index="index.csv", target_column="label")
    >>> list(data.data.columns), list(data.data.index)[0], len(data.target)
    (['image', 'mask'], 'synthetic_cell_0001', 4)
    """
    check_on_error(on_error)
    if index is None and (target_column is not None or group_column is not None):
        raise ValueError("target_column and group_column are columns of the index; pass index")
    texts = _name_patterns(image, mask)
    patterns = {kind: _compile(text, kind) for kind, text in texts.items()}
    folder = as_folder(path, "load_image_mask_folder")
    findings = Findings(f"load_image_mask_folder({str(folder)!r})")

    found = _find_cases(folder, patterns, findings)
    both = _report_lonely_files(folder, texts, found, findings)
    columns = [column for column in (target_column, group_column) if column is not None]
    list_file = None if index is None else folder / Path(index).expanduser()
    frame = pd.DataFrame({case_column: both}, dtype=object)
    if list_file is not None:
        frame = _read_cases(list_file, case_column, columns, found, findings)
    if target_column is not None:
        copies = note_contradicting_copies(
            folder,
            dict(zip(frame[case_column], frame[target_column], strict=True)),
            findings,
            {case: [its[case] for its in found.values()] for case in frame[case_column]},
        )
        frame = frame[~frame[case_column].isin(list(copies))]
    cases = list(frame[case_column])
    report = findings.settle(on_error, len(cases))
    data = pd.DataFrame(
        {kind: [str(folder / its[case]) for case in cases] for kind, its in found.items()},
        index=pd.Index(cases, name="case"),
        dtype=object,
    )
    target = as_labels(frame[target_column]) if target_column is not None else None
    return Bunch(
        data=data,
        cases=np.array(cases, dtype=np.str_),
        target=target,
        target_names=None if target is None else np.unique(target),
        groups=None if group_column is None else frame[group_column].to_numpy(dtype=np.str_),
        frame=frame.reset_index(drop=True),
        report=report,
        DESCR=f"{len(cases)} images with masks from {folder}"
        + (f", labelled by the column {target_column!r} of {list_file}." if target_column else "."),
    )


def _report_lonely_files(
    folder: Path, texts: dict[str, str], found: dict[str, dict[str, str]], findings: Findings
) -> list[str]:
    """Report what lacks its image or its mask, and return the cases that have all."""
    for kind, pattern in texts.items():
        _report_unknown_endings(folder, pattern, found[kind], findings)
        if not found[kind]:
            files = list(walk_files(folder))
            findings.add(
                f"no {kind}",
                files or ["nothing"],
                f"no file is {pattern!r}; below the folder lies",
            )
    known = set().union(*found.values())
    for there in reversed(found):
        lonely = [
            next(its[case] for its in found.values() if case in its)
            for case in sorted(known.difference(found[there]))
        ]
        if found[there]:
            findings.add(
                f"missing {there}", lonely, f"no {there} {texts[there]!r} for it; left out"
            )
    return sorted(known.intersection(*found.values()))


def _read_cases(
    path: Path,
    case_column: str,
    columns: list[str],
    found: dict[str, dict[str, str]],
    findings: Findings,
) -> pd.DataFrame:
    """Read the list of the cases, and report where it and the files differ."""
    frame = read_list(path, [case_column, *columns], required=[case_column, *columns])
    frame = clean_rows(frame, case_column, columns, findings, path.name)
    known = set().union(*found.values())
    both = known.intersection(*found.values())
    absent = [case for case in frame[case_column] if case not in known]
    findings.add("missing case", absent, f"listed in {path.name}, has no files; left out")
    findings.add(
        "unlisted case",
        sorted(both.difference(frame[case_column])),
        f"no row in {path.name}; left out",
    )
    return frame[frame[case_column].isin(both)]


def _name_patterns(image: str | Mapping[str, str], mask: str) -> dict[str, str]:
    """Give each pattern the name of its column, images first."""
    images = {"image": image} if isinstance(image, str) else dict(image)
    if not images or "mask" in images or not all(isinstance(name, str) for name in images):
        raise ValueError(
            f"image={image!r} must be a pattern, or a dict of names of columns other than 'mask' "
            "and patterns"
        )
    texts = {**images, "mask": mask}
    for name, text in texts.items():
        twin = next((other for other in texts if texts[other] == text and other != name), None)
        if twin is not None:
            raise ValueError(f"{name} and {twin} are the same pattern {text!r}; they must differ")
    return texts


def _compile(pattern: str, name: str) -> re.Pattern[str]:
    """Turn a pattern with placeholders into a regular expression."""
    if "{case}" not in pattern:
        raise ValueError(
            f"the pattern {name}={pattern!r} of image or mask must hold {{case}}, such as "
            "'scans/{case}.nii'"
        )
    extensions = "|".join(re.escape(extension) for extension in SCAN_EXTENSIONS)
    return _replace(pattern, f"(?i:{extensions})")


def _replace(pattern: str, extension: str) -> re.Pattern[str]:
    # str.format would stumble over other braces, which a path may hold.
    text = re.escape(pattern)
    text = text.replace(re.escape("**/"), "(?:[^/]+/)*").replace(re.escape("*"), "[^/]*")
    text = text.replace(re.escape("{case}"), r"(?P<case>[^/]+?)", 1)
    text = text.replace(re.escape("{case}"), "(?P=case)")
    return re.compile(text.replace(re.escape("{extension}"), extension))


def _report_unknown_endings(
    folder: Path, pattern: str, found: dict[str, str], findings: Findings
) -> None:
    """Report files that only their ending keeps out, save those that go with a file that is in."""
    if "{extension}" not in pattern:
        return
    loose = _replace(pattern, r"\.[^./]+")
    matches = {name: match for name in walk_files(folder) if (match := loose.fullmatch(name))}
    known = set(found.values())
    unknown = [
        name
        for name, match in matches.items()
        if name not in known
        and match.group("case") not in found
        and not has_extension(name, SCAN_EXTENSIONS)
    ]
    findings.add("unknown ending", unknown, "no image or scan by its ending; left out")


def _find_cases(
    folder: Path, patterns: dict[str, re.Pattern[str]], findings: Findings
) -> dict[str, dict[str, str]]:
    """Map each case to its image and its mask."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in patterns}
    links: dict[str, str] = {}
    sizes = walk_files(folder, links)
    findings.add(
        "link to another folder",
        # One to a folder above it adds nothing.
        [f"{n} -> {o}" for n, o in links.items() if o and not n.startswith(f"{o}/")],
        "what it leads to is looked for where it lies",
    )
    matches: dict[tuple[str, str], str] = {}
    for name in sizes:
        fitting = {k: m for k, p in patterns.items() if (m := p.fullmatch(name))}
        if fitting:
            # "{case}.nii" also fits "a_mask.nii": the pattern that leaves less to the case wins.
            kind = min(fitting, key=lambda k: len(fitting[k].group("case")))
            matches[kind, name] = fitting[kind].group("case")
    sound = keep_sound_files({name: sizes[name] for _, name in matches}, findings)
    for (kind, name), case in matches.items():
        if name not in sound:
            continue
        if case in found[kind]:
            findings.add(
                f"duplicate {kind}", name, f"{found[kind][case]} is of the same case and was taken"
            )
            continue
        found[kind][case] = name
    return {kind: dict(sorted(cases.items())) for kind, cases in found.items()}
