"""List the files of a data set and read its lists."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from skcyto.datasets._problems import Findings
from skcyto.exceptions import InvalidDatasetError

IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SCAN_EXTENSIONS = (
    *(".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".gipl.gz", ".gipl", ".hdr", ".mrc", ".vtk"),
    *IMAGE_EXTENSIONS,
)

# What file managers leave behind; it belongs to no data set and is worth no error.
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}

# "None" and "null" are left out on purpose: they are possible class names.
_MISSING = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>")


_SAMPLE_BYTES = 4096


def as_folder(path: str | os.PathLike[str], what: str) -> Path:
    """Return an existing folder as a path, or say what is there instead."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise NotADirectoryError(f"{what}: {str(folder)!r} is a file, not a folder")
    parent = next((p for p in folder.parents if p.is_dir()), None)
    beside = sorted(p.name for p in parent.iterdir())[:10] if parent else []
    raise FileNotFoundError(
        f"{what}: the folder {str(folder)!r} does not exist"
        + (f"; {str(parent)!r} holds {beside}" if parent else "")
    )


def is_system_file(name: str) -> bool:
    """Tell whether a file or folder is hidden or left behind by a file manager."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES or name == "__MACOSX"


def walk_files(folder: Path, copies: dict[str, str] | None = None) -> dict[str, int]:
    """List a folder's files, subfolders included.

    Parameters
    ----------
    folder : Path
        Where to begin. Each folder is visited once, under its own name where it lies below; links
        to folders that lie elsewhere are followed.
    copies : dict or None, default=None
        Takes the links to folders that are listed under another name: both relative to `folder`.

    Returns
    -------
    sizes : dict of str to int
        Path relative to `folder` (with forward slashes) and size in bytes, sorted by path; -1 is
        the size of a link that leads nowhere, and of a folder that cannot be read. Hidden and
        system files are left out.
    """
    sizes: dict[str, int] = {}
    seen: dict[str, str] = {}
    stack, links = [(str(folder), "")], deque[tuple[str, str]]()
    while stack or links:
        where, prefix = stack.pop() if stack else links.popleft()
        real = os.path.realpath(where)
        if real in seen:
            if copies is not None:
                copies[prefix.rstrip("/")] = seen[real].rstrip("/")
            continue
        seen[real] = prefix
        try:
            entries = sorted(os.scandir(where), key=lambda entry: entry.name)
        except PermissionError:
            if not prefix:
                raise
            sizes[prefix.rstrip("/")] = -1
            continue
        for entry in entries:
            if is_system_file(entry.name):
                continue
            try:
                if entry.is_dir():
                    later = links if entry.is_symlink() else stack
                    later.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    sizes[prefix + entry.name] = entry.stat().st_size
            except OSError:  # A link that leads nowhere, or to itself.
                sizes[prefix + entry.name] = -1
    return dict(sorted(sizes.items()))


def has_extension(name: str, extensions: Collection[str]) -> bool:
    """Tell whether a file name ends in one of the extensions, whatever its case."""
    return name.lower().endswith(tuple(extensions))


def keep_sound_files(sizes: dict[str, int], findings: Findings) -> dict[str, int]:
    """Drop empty files and broken links, noting them."""
    findings.add("empty file", [n for n, size in sizes.items() if size == 0], "0 bytes; left out")
    findings.add(
        "unreadable file",
        [n for n, size in sizes.items() if size < 0],
        "broken link, or a folder that may not be read; left out",
    )
    return {name: size for name, size in sizes.items() if size > 0}


def read_list(path: Path, columns: Iterable[str], *, required: Iterable[str]) -> pd.DataFrame:
    """Read a CSV file that lists samples.

    Parameters
    ----------
    path : Path
        The file, UTF-8 with or without a byte-order mark.
    columns : iterable of str
        Columns read as stripped text, so that an identifier "007" stays what it is.
    required : iterable of str
        Columns that have to be there.

    Returns
    -------
    frame : pandas.DataFrame
        The index holds the line numbers of the file (header: 1).

    Raises
    ------
    InvalidDatasetError
        If the file is missing, is no CSV file, or lacks a required column.
    """
    if not path.is_file():
        raise InvalidDatasetError(f"the list {str(path)!r} does not exist")
    try:
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(columns, str),
            keep_default_na=False,
            na_values=list(_MISSING),
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,
        )
    except (ValueError, OSError) as error:
        # pandas' ParserError and EmptyDataError and Python's UnicodeDecodeError are ValueErrors.
        raise InvalidDatasetError(
            f"the list {str(path)!r} could not be read as comma-separated UTF-8 text: {error}"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    lacking = [column for column in required if column not in frame.columns]
    if lacking:
        raise InvalidDatasetError(
            f"the list {str(path)!r} has no column {lacking[0]!r}; "
            f"its first line names {list(frame.columns)}"
        )
    for column in columns:
        if column in frame.columns:
            text = frame[column].str.strip()
            frame[column] = text.mask(text.isin(_MISSING))
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")
    # A blank last line is how some spreadsheets end a file; it holds no sample.
    while len(frame) and frame.iloc[-1].isna().all():
        frame = frame.iloc[:-1]
    return frame


def clean_rows(
    frame: pd.DataFrame, key: str, values: list[str], findings: Findings, source: str
) -> pd.DataFrame:
    """Drop rows with missing values and rows that name the same sample again, noting them.

    Parameters
    ----------
    frame : pandas.DataFrame
        As :func:`read_list` returns it.
    key : str
        Column that names the sample.
    values : list of str
        Columns that must hold a value and agree where a sample is named twice.
    findings : Findings
        Where the problems are noted.
    source : str
        Name of the list.

    Returns
    -------
    frame : pandas.DataFrame
        The sound rows in their order.
    """
    for column in [key, *values]:
        empty = frame[column].isna()
        findings.add(
            "missing value",
            [
                f"line {line}" + ("" if column == key else f" ({name})")
                for line, name in frame.loc[empty, key].items()
            ],
            f"no {column} in {source}; left out",
        )
        frame = frame[~empty]
    again = frame.duplicated(key, keep=False)
    if not again.any():
        return frame
    different = frame[again].groupby(key, sort=False)[values].nunique().gt(1).any(axis=1)
    conflicting = [str(name) for name in different.index[different]]
    findings.add(
        "conflicting rows",
        conflicting,
        f"listed several times in {source} with different values; all left out",
    )
    frame = frame[~frame[key].isin(conflicting)]
    repeated = frame.duplicated(key)
    findings.add(
        "duplicate row",
        [f"line {line} ({name})" for line, name in frame.loc[repeated, key].items()],
        f"listed before in {source}; the first row was kept",
    )
    return frame[~repeated]


def match_files(
    listed: Iterable[str], present: Iterable[str], findings: Findings, source: str
) -> set[str]:
    """Compare a list with the files, noting what only one of them has.

    Parameters
    ----------
    listed : iterable of str
        Names in the list.
    present : iterable of str
        Names of the files.
    findings : Findings
        Where the problems are noted.
    source : str
        Name of the list.

    Returns
    -------
    both : set of str
        Names that are listed and present.
    """
    listed, present = list(listed), list(present)
    files, names = set(present), set(listed)
    missing = [name for name in listed if name not in files]
    unlisted = [name for name in present if name not in names]
    folded = {name.casefold() for name in unlisted}
    case = [name for name in missing if name.casefold() in folded]
    findings.add(
        "missing file", case, f"listed in {source}; the file's name differs in upper and lower case"
    )
    findings.add(
        "missing file",
        [name for name in missing if name.casefold() not in folded],
        f"listed in {source}, no such file; left out",
    )
    findings.add("unlisted file", unlisted, f"no row in {source}; left out")
    return files & names


def name_as_on_disk(listed: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Find files whose names are written in another Unicode form than in a list.

    Parameters
    ----------
    listed : iterable of str
        Names in the list.
    present : iterable of str
        Names of the files.

    Returns
    -------
    names : dict of str to str
        Name in the list to name of the file, where they differ in form alone, as after a copy by
        way of macOS.
    """
    files = set(present)
    composed: defaultdict[str, list[str]] = defaultdict(list)
    for name in files:
        composed[unicodedata.normalize("NFC", name)].append(name)
    found = {}
    for name in listed:
        alike = composed.get(unicodedata.normalize("NFC", name), [])
        if name not in files and len(alike) == 1:
            found[name] = alike[0]
    return found


def find_contradicting_copies(
    folder: Path, labels: Mapping[str, str], files: Mapping[str, Sequence[str]] | None = None
) -> dict[str, str]:
    """Find files of the same content under different labels.

    Files are read where their size and some bytes in their middle are alike, and nothing else.

    Parameters
    ----------
    folder : Path
        Where they lie.
    labels : mapping of str to str
        Path below `folder`, or absolute, and label.
    files : mapping of str to sequence of str, default=None
        Where the names in `labels` are no paths: the paths of each, which must all be alike.

    Returns
    -------
    copies : dict of str to str
        Name, and name of one of the same content with another label.
    """

    def split(group: list[str], key: Callable[[Path], object]) -> Iterator[list[str]]:
        parts: defaultdict[object, list[str]] = defaultdict(list)
        for name in group:
            paths = [name] if files is None else files[name]
            try:
                parts[tuple(key(folder / path) for path in paths)].append(name)
            except OSError:
                continue  # Who decodes it says why it cannot be read.
        for part in parts.values():
            if len({labels[name] for name in part}) > 1:
                yield part

    copies = {}
    for by_size in split(list(labels), lambda path: path.stat().st_size):
        for by_sample in split(by_size, _sample):
            for alike in split(by_sample, lambda path: hashlib.blake2b(path.read_bytes()).digest()):
                for name in alike:
                    other = next(o for o in alike if labels[o] != labels[name])
                    copies[name] = other
    return copies


def _sample(path: Path) -> bytes:
    """Read bytes from the middle, since files begin alike: with headers, and scans with air."""
    with open(path, "rb") as file:
        file.seek(path.stat().st_size // 2)
        return file.read(_SAMPLE_BYTES)


def as_labels(values: Iterable[str]) -> np.ndarray:
    """Turn text into class labels: integers where every one is written as such, else text."""
    values = list(values)
    if values and all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) for value in values):
        return np.array(values).astype(np.int64)
    return np.array(values, dtype=np.str_)
