"""Load folders of single images."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skcyto.datasets._files import (
    IMAGE_EXTENSIONS,
    as_folder,
    as_labels,
    clean_rows,
    find_contradicting_copies,
    has_extension,
    keep_sound_files,
    match_files,
    name_as_on_disk,
    read_list,
    walk_files,
)
from skcyto.datasets._problems import Findings, OnError, check_on_error
from skcyto.exceptions import InvalidDatasetError
from skcyto.utils._validation import OPTIONAL_PATH, PATH, check_parameters

_SPLITS = {"test", "testing", "train", "training", "val", "valid", "validation"}


@check_parameters(
    path=PATH,
    index=OPTIONAL_PATH,
    file_column=[str],
    target_column=[str],
    group_column=[str, None],
    group_pattern=[str, re.Pattern, None],
)
def load_image_folder(
    path: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    file_column: str = "file",
    target_column: str = "label",
    group_column: str | None = None,
    group_pattern: str | None = None,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    on_error: OnError = "raise",
) -> Bunch:
    """Load the paths and labels of a folder of images.

    Without `index`, each subfolder of `path` is a class and holds its images, in further
    subfolders or not. With `index`, a CSV file lists images and labels, wherever the images lie
    below `path`. No image is decoded: the estimators read the files when they need them.

    Nothing is lost silently. A file that is not an image, an image without a class or without a
    row, a row without a file or with a missing value, a duplicate: each is reported by name, and
    by default the call fails.

    Parameters
    ----------
    path : str or path-like
        Folder of the data set.

    index : str or path-like, default=None
        CSV file with one row an image; a relative path counts from `path`. None takes the labels
        from the subfolders.

    file_column : str, default="file"
        Column of `index` with the path of the image, relative to `path` or absolute.

    target_column : str, default="label"
        Column of `index` with the label.

    group_column : str, default=None
        Column of `index` with the unit to split by (patient, slide, acquisition).

    group_pattern : str, default=None
        Regular expression searched in the path of each image below its class folder (or in
        `file_column`); what its first parenthesis matches is the group. For example
        ``r"^([^-]+)-"`` takes what stands before the first hyphen. Not together with
        `group_column`.

    extensions : sequence of str, default=IMAGE_EXTENSIONS
        Endings of image files, in lower case and with the dot. The default holds BMP, GIF, JPEG,
        PNG, TIFF and WebP.

    on_error : {"raise", "warn"}, default="raise"
        "raise" fails with one error that lists every problem; "warn" leaves out what is not
        sound, warns once and loads the rest. Either way the whole list is a table, `report`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data, paths : ndarray of shape (n_samples,), dtype str
            Paths of the images, one array under both names. Sorted by path without `index`, in
            the order of the rows with it.
        target : ndarray of shape (n_samples,), dtype str or int64
            Label of each image: the subfolder's name, or the value in `target_column` (integers
            where all are written as integers).
        target_names : ndarray of shape (n_classes,)
            The distinct labels, sorted: the `classes_` of any classifier fitted to them.
        groups : ndarray of shape (n_samples,), dtype str, or None
            Unit to split by, where known.
        frame : :class:`~pandas.DataFrame` of shape (n_samples, n_columns)
            The rows of `index` that belong to the images, with all their columns. Without
            `index`: file, label and, where known, group.
        report : :class:`~pandas.DataFrame` of shape (n_problems, 3)
            What was not sound: problem, item and detail.
        DESCR : str
            Where the data came from, in words.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` is not a folder.
    InvalidDatasetError
        If `index` cannot be read, if there is a problem and `on_error` is "raise", or if no
        image is left.

    See Also
    --------
    load_ps3c : Loader for the layout of the PS3C challenge.
    load_image_mask_folder : Loader for images that come with a mask.
    write_image_folder : Write images in this layout.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import load_image_folder, make_cell_images, write_image_folder
    >>> cells = make_cell_images(6, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     index = write_image_folder(root, cells.images, cells.target, groups=cells.groups)
    ...     by_folder = load_image_folder(root)
    ...     by_index = load_image_folder(root, index="index.csv", group_column="group")
    >>> by_folder.target_names.tolist()
    ['healthy', 'rubbish', 'unhealthy']
    >>> by_index.groups.tolist()[:2]
    ['slide_0001', 'slide_0001']
    """
    check_on_error(on_error)
    extensions = _check_extensions(extensions)
    if group_pattern is not None and group_column is not None:
        raise ValueError("give group_column or group_pattern, not both")
    if group_column is not None and index is None:
        raise ValueError("group_column is a column of the index; pass index as well")
    pattern = _compile(group_pattern)
    folder = as_folder(path, "load_image_folder")
    findings = Findings(f"load_image_folder({str(folder)!r})")

    if index is None:
        frame, target_column = _list_class_folders(folder, extensions, findings), "label"
        file_column = "file"
    else:
        path = folder / Path(index).expanduser()
        columns = [target_column] + ([group_column] if group_column is not None else [])
        frame = read_list(path, [file_column, *columns], required=[file_column, *columns])
        frame[file_column] = frame[file_column].str.replace("\\", "/").str.removeprefix("./")
        files = walk_files(folder)
        frame[file_column] = _name_files(frame[file_column], folder, files)
        frame = clean_rows(frame, file_column, columns, findings, path.name)
        listed = set(frame[file_column])
        images = {
            name: size
            for name, size in files.items()
            if name in listed or has_extension(name, extensions)
        }
        both = match_files(frame[file_column], images, findings, path.name)
        sound = keep_sound_files({name: images[name] for name in images if name in both}, findings)
        frame = frame[frame[file_column].isin(sound)]
    frame = _drop_contradicting_copies(frame, file_column, target_column, folder, findings)

    groups = None
    if group_column is not None:
        groups = frame[group_column].to_numpy(dtype=np.str_)
    elif pattern is not None:
        names = frame[file_column].astype(str)
        below = names.str.split("/", n=1).str[-1] if index is None else names
        found = [(m.group(1) or None) if (m := pattern.search(name)) else None for name in below]
        lost = pd.Series([group is None for group in found], index=frame.index, dtype=bool)
        findings.add("no group", names[lost], f"{group_pattern!r} does not match; left out")
        frame = frame[~lost]
        groups = np.array([group for group in found if group is not None], dtype=np.str_)
        frame = frame.assign(group=groups) if index is None else frame

    report = findings.settle(on_error, len(frame))
    target = as_labels(frame[target_column])
    return bunch_of_images(
        paths=[str(folder / name) for name in frame[file_column]],
        target=target,
        groups=groups,
        frame=frame.reset_index(drop=True),
        report=report,
        description=f"{len(frame)} images of {len(np.unique(target))} classes, labelled by "
        + (
            f"the subfolders of {folder}."
            if index is None
            else f"the column {target_column!r} of {path}."
        ),
    )


def bunch_of_images(
    *,
    paths: Sequence[str],
    target: np.ndarray | None,
    groups: np.ndarray | None,
    frame: pd.DataFrame,
    report: pd.DataFrame,
    description: str,
    target_names: np.ndarray | None = None,
    **more: Any,
) -> Bunch:
    """Put together what every loader of single images returns."""
    data = np.array(paths, dtype=np.str_)
    if target_names is None and target is not None:
        target_names = np.unique(target)
    return Bunch(
        data=data,
        paths=data,
        target=target,
        target_names=target_names,
        groups=groups,
        frame=frame,
        report=report,
        DESCR=description,
        **more,
    )


def _check_extensions(extensions: Sequence[str]) -> tuple[str, ...]:
    """Refuse endings that could never match."""
    if isinstance(extensions, str) or not isinstance(extensions, Collection) or not extensions:
        raise ValueError(
            f"extensions={extensions!r} must be a non-empty sequence such as ['.png', '.bmp']"
        )
    wrong = [e for e in extensions if not (isinstance(e, str) and e.startswith(".") and len(e) > 1)]
    if wrong:
        raise ValueError(f"extensions: {wrong[0]!r} must be text that begins with a dot")
    return tuple(extension.lower() for extension in extensions)


def _compile(group_pattern: str | None) -> re.Pattern[str] | None:
    """Compile `group_pattern`, or say what is wrong with it."""
    if group_pattern is None:
        return None
    try:
        pattern = re.compile(group_pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern={group_pattern!r} is no regular expression: {error}"
        ) from (error)
    if pattern.groups < 1:
        raise ValueError(
            f"group_pattern={group_pattern!r} needs a parenthesis around what names the group"
        )
    return pattern


def _name_files(listed: pd.Series, folder: Path, files: dict[str, int]) -> pd.Series:
    """Name listed files as `files` does; absolute paths outside of the folder join them."""
    names: dict[str, str] = {}
    for name in listed.dropna().unique():
        if os.path.isabs(name):
            for root in (os.path.abspath(folder), os.path.realpath(folder)):
                if Path(name).is_relative_to(root):
                    names[name] = Path(name).relative_to(root).as_posix()
            if name not in names and os.path.isfile(name):
                files[name] = os.path.getsize(name)
    listed = listed.replace(names)
    return listed.replace(name_as_on_disk(listed.dropna(), files))


def _drop_contradicting_copies(
    frame: pd.DataFrame, file_column: str, target_column: str, folder: Path, findings: Findings
) -> pd.DataFrame:
    """Drop pictures that have two labels, noting them."""
    labels = dict(zip(frame[file_column], frame[target_column], strict=True))
    copies = note_contradicting_copies(folder, labels, findings)
    return frame[~frame[file_column].isin(list(copies))]


def note_contradicting_copies(
    folder: Path,
    labels: Mapping[str, str],
    findings: Findings,
    files: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Find pictures that have two labels, and note them.

    Parameters
    ----------
    folder, labels, files : object
        As of :func:`~skcyto.datasets._files.find_contradicting_copies`.
    findings : Findings
        Where they are noted.

    Returns
    -------
    copies : dict of str to str
        Name, and name of the same picture with another label.
    """
    copies = find_contradicting_copies(folder, labels, files)
    findings.add(
        "same picture, different labels",
        [f"{name} ({labels[name]}) = {other} ({labels[other]})" for name, other in copies.items()],
        "files of the same content; all left out",
    )
    return copies


def note_links_between_classes(links: Mapping[str, str], findings: Findings) -> None:
    """Note links from one class folder into another.

    Parameters
    ----------
    links : mapping of str to str
        As :func:`~skcyto.datasets._files.walk_files` fills it.
    findings : Findings
        Where they are noted.
    """
    findings.add(
        "link to another class",
        [f"{n} -> {o}" for n, o in links.items() if n.split("/")[0] != o.split("/")[0]],
        "what it leads to is loaded where it lies",
    )


def _refuse_splits(folder: Path, labels: Iterable[str]) -> None:
    """Refuse a folder whose subfolders are the parts of a split, not classes."""
    names = sorted(set(labels))
    if names and all(name.lower() in _SPLITS for name in names):
        raise InvalidDatasetError(
            f"load_image_folder({str(folder)!r}): its subfolders {', '.join(names)} are the parts "
            f"of a split by their names, not classes: load each by itself, as in "
            f"load_image_folder({str(folder / names[-1])!r})"
        )


def _list_class_folders(
    folder: Path, extensions: tuple[str, ...], findings: Findings
) -> pd.DataFrame:
    """List the images of each class folder, noting everything else."""
    links: dict[str, str] = {}
    files = walk_files(folder, links)
    note_links_between_classes(links, findings)
    inside = {name: size for name, size in files.items() if "/" in name}
    findings.add(
        "no class folder",
        [name for name in files if "/" not in name and has_extension(name, extensions)],
        "directly in the root, in no class folder; left out",
    )
    findings.add(
        "not an image",
        [name for name in inside if not has_extension(name, extensions)],
        "the extension is not in `extensions`; left out",
    )
    images = {name: size for name, size in inside.items() if has_extension(name, extensions)}
    names = list(keep_sound_files(images, findings))
    labels = [name.split("/", 1)[0] for name in names]
    _refuse_splits(folder, labels)
    classes = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    findings.add(
        "empty class folder",
        sorted(c for c in classes - set(labels) if not c.startswith((".", "__MACOSX"))),
        "holds no image that can be loaded",
    )
    return pd.DataFrame({"file": names, "label": labels}, dtype=object)
