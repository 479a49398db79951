"""The Pap Smear Cell Classification Challenge (PS3C) of ISBI 2025: its data and submissions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_consistent_length, column_or_1d

from skcyto.datasets._files import (
    IMAGE_EXTENSIONS,
    as_folder,
    clean_rows,
    has_extension,
    keep_sound_files,
    match_files,
    read_list,
    walk_files,
)
from skcyto.datasets._image_folder import (
    bunch_of_images,
    note_contradicting_copies,
    note_links_between_classes,
)
from skcyto.datasets._problems import Findings, OnError, check_on_error
from skcyto.exceptions import InvalidDatasetError
from skcyto.utils._validation import PATH, check_parameters

PS3C_CLASSES = ("bothcells", "healthy", "rubbish", "unhealthy")
PS3C_SPLITS = ("train", "test", "eval")
SUBMISSION_CLASSES = ("healthy", "rubbish", "unhealthy")

_KEY = "image_name"


@check_parameters(path=PATH, merge_bothcells=["boolean"])
def load_ps3c(
    path: str | os.PathLike[str],
    *,
    split: Literal["train", "test", "eval"] = "train",
    merge_bothcells: bool = True,
    on_error: OnError = "raise",
) -> Bunch:
    """Load the paths and labels of the PS3C challenge.

    The Pap Smear Cell Classification Challenge asks for three classes: healthy, unhealthy and
    rubbish (not fit for diagnosis). Its training set has a fourth, bothcells (healthy and
    unhealthy cells in one image), which counts as unhealthy by default.

    Parameters
    ----------
    path : str or path-like
        Folder that holds, for each split that is wanted, the images and a list::

            isbi2025-ps3c-train-dataset/{healthy,unhealthy,bothcells,rubbish}/*.png
            isbi2025-ps3c-train-dataset.csv      image_name,label
            isbi2025-ps3c-test-dataset/*.png
            isbi2025-ps3c-test-dataset.csv       image_name
            isbi2025-ps3c-eval-dataset/*.png
            isbi2025-ps3c-eval-dataset.csv       image_name

        The lists may also lie in one subfolder of `path`, as the challenge's own download has it.

    split : {"train", "test", "eval"}, default="train"
        Which part to load. Test and eval images lie in one folder without classes.

    merge_bothcells : bool, default=True
        Count bothcells as unhealthy.

    on_error : {"raise", "warn"}, default="raise"
        What to do about rows without a name, label or file, images without a row, duplicates,
        unknown labels, labels that differ from the folder and empty files: "raise" one error that
        lists them all, or "warn", leave them out and load the rest. So for links to another class
        and for pictures, byte for byte the same, that have two labels.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data, paths : ndarray of shape (n_samples,), dtype str
            Paths of the images in the order of the list, one array under both names.
        image_names : ndarray of shape (n_samples,), dtype str
            Names of the images, as a submission wants them.
        target : ndarray of shape (n_samples,), dtype str, or None
            Labels in lower case. None where the list of a test or eval split has none.
        target_names : ndarray of shape (n_classes,), dtype str
            The classes of the challenge, sorted, whether they occur or not.
        groups : None
            The challenge does not say which slide or patient an image came from, so folds cannot
            keep patients apart and scores may flatter.
        frame : :class:`~pandas.DataFrame` of shape (n_samples, n_columns)
            The rows of the list; its labels are those before `merge_bothcells`.
        report : :class:`~pandas.DataFrame` of shape (n_problems, 3)
            What was not sound: problem, item and detail.
        DESCR : str
            The data set in words.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` or the split's folder is not there.
    InvalidDatasetError
        If the list is missing or cannot be read, if there is a problem and `on_error` is "raise",
        or if no image is left.

    See Also
    --------
    write_ps3c_submission : Write predictions in the challenge's format.
    make_cell_images : Synthetic cells of the same classes.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import load_ps3c, make_cell_images, write_ps3c_folder
    >>> cells = make_cell_images(6, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     folder = write_ps3c_folder(root, cells.images, cells.target, split="train")
    ...     train = load_ps3c(root)
    >>> train.target_names.tolist()
    ['healthy', 'rubbish', 'unhealthy']
    >>> len(train.paths), len(train.report)
    (6, 0)
    """
    check_on_error(on_error)
    if split not in PS3C_SPLITS:
        raise ValueError(f"split={split!r} must be one of {list(PS3C_SPLITS)}")
    base = as_folder(path, "load_ps3c")
    name = f"isbi2025-ps3c-{split}-dataset"
    folder = as_folder(base / name, f"load_ps3c, split={split!r}")
    table = _find_list(base, f"{name}.csv")
    findings = Findings(f"load_ps3c({str(base)!r}, split={split!r})")

    frame = read_list(
        table, [_KEY, "label"], required=[_KEY, "label"] if split == "train" else [_KEY]
    )
    labelled = "label" in frame and bool(split == "train" or frame["label"].notna().any())
    if labelled:
        frame["label"] = frame["label"].str.lower()
    frame = clean_rows(frame, _KEY, ["label"] if labelled else [], findings, table.name)
    places = _list_images(folder, split == "train", findings)
    both = match_files(frame[_KEY], places, findings, table.name)
    frame = frame[frame[_KEY].isin(both)]
    if labelled:
        unknown = ~frame["label"].isin(PS3C_CLASSES)
        findings.add(
            "unknown label",
            [f"{row[_KEY]} ({row['label']})" for _, row in frame[unknown].iterrows()],
            f"not one of {', '.join(PS3C_CLASSES)}; left out",
        )
        frame = frame[~unknown]
    labels = frame["label"] if labelled else pd.Series(None, index=frame.index, dtype=object)
    chosen = {
        image: _choose(places[image], label if split == "train" else None, findings)
        for image, label in zip(frame[_KEY], labels, strict=True)
    }
    sound = keep_sound_files({p: size for p, size in chosen.values() if p}, findings)
    frame = frame[[chosen[image][0] in sound for image in frame[_KEY]]]
    classes = frame["label"] if labelled else None
    if classes is not None and merge_bothcells:
        classes = classes.replace("bothcells", "unhealthy")
    if classes is not None:
        frame, classes = _drop_contradicting_copies(frame, classes, chosen, folder, findings)
    report = findings.settle(on_error, len(frame))

    target = None if classes is None else classes.to_numpy(dtype=np.str_)
    names = SUBMISSION_CLASSES if merge_bothcells else PS3C_CLASSES
    return bunch_of_images(
        paths=[str(folder / chosen[image][0]) for image in frame[_KEY]],
        target=target,
        target_names=np.array(names),
        groups=None,
        frame=frame.reset_index(drop=True),
        report=report,
        image_names=frame[_KEY].to_numpy(dtype=np.str_),
        description=f"Pap Smear Cell Classification Challenge (PS3C, ISBI 2025), {split} split: "
        f"{len(frame)} images from {folder}. The slide or patient of an image is not known.",
    )


@check_parameters(path=PATH)
def write_ps3c_submission(
    path: str | os.PathLike[str],
    image_names: Iterable[str | os.PathLike[str]],
    y: Sequence[str] | np.ndarray,
    *,
    expected_names: Iterable[str | os.PathLike[str]] | None = None,
) -> Path:
    """Write predictions as the PS3C challenge wants them.

    Parameters
    ----------
    path : str or path-like
        CSV file to write; its folder is made where it is missing, an existing file replaced.

    image_names : iterable of str or path-like of length n_samples
        Name or path of each image; the file name is what is written.

    y : array-like of str of shape (n_samples,)
        Predicted class of each image: healthy, unhealthy or rubbish, in any case.

    expected_names : iterable of str or path-like, default=None
        Names or paths of the images that the challenge wants predictions for, such as the
        `image_names` of the loaded split. None does not check for missing and surplus images.

    Returns
    -------
    path : Path
        The file: `image_name,label`, lower-case labels, rows in the order given.

    Raises
    ------
    ValueError
        If the numbers of names and labels differ or are zero, if a label is none of the three
        classes, if an image is named twice, or if the names are not those expected. Nothing is
        written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skcyto.datasets import write_ps3c_submission
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_ps3c_submission(
    ...         Path(folder) / "submission.csv", ["test/a.png", "b.png"], ["healthy", "Rubbish"]
    ...     )
    ...     print(file.read_text())
    image_name,label
    a.png,healthy
    b.png,rubbish
    """
    names = [PurePath(name).name for name in image_names]
    values = column_or_1d(np.asarray(y, dtype=object))
    check_consistent_length(names, values)
    if not names:
        raise ValueError("write_ps3c_submission: there is no prediction to write")
    text = [str(value).strip().lower() for value in values]
    wrong = Counter(
        str(v) for v, t in zip(values, text, strict=True) if t not in SUBMISSION_CLASSES
    )
    if wrong:
        found = ", ".join(f"{value!r} ({count} times)" for value, count in wrong.most_common(10))
        advice = " Count bothcells as unhealthy before you submit." if "bothcells" in text else ""
        raise ValueError(f"y must be in {list(SUBMISSION_CLASSES)}, found {found}.{advice}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} images are named more than once: {_some(twice)}")
    if expected_names is not None:
        wanted = {PurePath(name).name for name in expected_names}
        missing = sorted(wanted - set(names))
        surplus = sorted(set(names) - wanted)
        if missing or surplus:
            raise ValueError(
                f"{len(names)} predictions for {len(wanted)} expected images: "
                f"{len(missing)} missing ({_some(missing)}), {len(surplus)} surplus "
                f"({_some(surplus)})"
            )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({_KEY: names, "label": text})
    table.to_csv(file, index=False, lineterminator="\n", encoding="utf-8")
    return file


def _some(names: Sequence[str]) -> str:
    """Show the first names of a list."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none"


def _find_list(base: Path, name: str) -> Path:
    """Find a list in the root or in one of its subfolders."""
    if (base / name).is_file():
        return base / name
    found = sorted(base.glob(f"*/{name}"))
    if len(found) == 1:
        return found[0]
    where = f"{[str(path) for path in found]}" if found else "neither there nor in a subfolder"
    raise InvalidDatasetError(
        f"load_ps3c: the list {name!r} should lie in {str(base)!r}; found: {where}. Folders "
        "without a list can be loaded with load_image_folder."
    )


def _drop_contradicting_copies(
    frame: pd.DataFrame,
    classes: pd.Series,
    chosen: Mapping[str, tuple[str, int]],
    folder: Path,
    findings: Findings,
) -> tuple[pd.DataFrame, pd.Series]:
    """Drop images of the same content under two labels, noting them."""
    paths = [chosen[image][0] for image in frame[_KEY]]
    labels = dict(zip(paths, classes, strict=True))
    copies = note_contradicting_copies(folder, labels, findings)
    sound = [path not in copies for path in paths]
    return frame[sound], classes[sound]


def _list_images(
    folder: Path, has_classes: bool, findings: Findings
) -> dict[str, list[tuple[str, int]]]:
    """Map the name of each image to its relative paths and sizes, noting everything else."""
    places: dict[str, list[tuple[str, int]]] = {}
    links: dict[str, str] = {}
    files = walk_files(folder, links)
    if has_classes:
        note_links_between_classes(links, findings)
    for relative, size in files.items():
        if has_extension(relative, IMAGE_EXTENSIONS):
            places.setdefault(relative.rsplit("/", 1)[-1], []).append((relative, size))
        else:
            findings.add("not an image", relative, "no image file by its extension; left out")
    return places


def _choose(found: list[tuple[str, int]], label: str | None, findings: Findings) -> tuple[str, int]:
    """Choose the file of a row among those of its name: the one in the label's folder."""
    fitting = found
    if label is not None:
        fitting = [f for f in found if PurePath(f[0]).parent.name.lower() == label]
        if not fitting:
            findings.add(
                "conflicting label",
                f"{found[0][0]} (listed as {label})",
                "the folder is not that of the listed label; left out",
            )
            return "", 0
    others = [relative for relative, _ in found if relative != fitting[0][0]]
    findings.add("duplicate file", others, f"{fitting[0][0]} has the same name and was taken")
    return fitting[0]
