"""Find the images that a command line names."""

from __future__ import annotations

import glob
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skcyto.datasets._files import IMAGE_EXTENSIONS, walk_files
from skcyto.utils._file_names import as_utf8

_LISTS = (".csv",)
_SEPARATORS = (",", ";", "\t")  # spreadsheets write the second where a comma is the decimal point
_COLUMNS = ("image", "path", "file", "filename", "image_name", "image_path")


class CommandError(Exception):
    """What is wrong with a command; shown without a traceback."""


@dataclass(frozen=True)
class Inputs:
    """The inputs, each a row of the table.

    Attributes
    ----------
    columns : tuple of str
        Names of what an input consists of.
    rows : list of tuple of str
        Paths, as they were given.
    ignored : list of str
        Files in folders that are no images by their names.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    ignored: list[str]


def find_images(words: Sequence[str], column: str | None) -> Inputs:
    """Expand files, folders, patterns and lists to images.

    Parameters
    ----------
    words : sequence of str
        As given on the command line.
    column : str or None
        Column of lists that holds the paths.

    Returns
    -------
    inputs : Inputs
        A file that is named but not there is among them: its row says so.

    Raises
    ------
    CommandError
        If a folder or pattern holds no image, or a list cannot be read.
    """
    rows: list[tuple[str, ...]] = []
    ignored: list[str] = []
    for word in words:
        if os.path.isdir(word):
            names = list(walk_files(Path(word)))
            images = [name for name in names if name.lower().endswith(IMAGE_EXTENSIONS)]
            if not images:
                raise CommandError(
                    f"the folder {word} holds no image: none of its {len(names)} files ends with "
                    f"{', '.join(IMAGE_EXTENSIONS)}"
                )
            rows += [(os.path.join(word, name),) for name in images]
            known = set(images)
            ignored += [os.path.join(word, name) for name in names if name not in known]
        elif word.lower().endswith(_LISTS):
            rows += list(_read_list(word, None if column is None else (column,)))
        elif glob.has_magic(word) and not os.path.exists(word):
            fitting = sorted(glob.glob(word, recursive=True))
            found = [path for path in fitting if not os.path.isdir(path)]
            if not found:
                raise CommandError(f"no file fits the pattern {word}")
            rows += [(path,) for path in found]
        elif not (os.path.lexists(word) or word.lower().endswith(IMAGE_EXTENSIONS)):
            # A row for what was meant as a folder would look like a finished table.
            raise CommandError(f"there is no file or folder {word}")
        else:
            rows.append((word,))
    return Inputs(("input",), rows, ignored)


def find_scans(
    words: Sequence[str], columns: tuple[str, ...], n_paths: int | None = None
) -> Inputs:
    """Read lists of images and masks.

    Parameters
    ----------
    words : sequence of str
        As given on the command line.
    columns : tuple of str
        Columns of images and masks, and of labels.
    n_paths : int or None, default=None
        How many of the columns hold paths: the first ones; None for all.

    Returns
    -------
    inputs : Inputs

    Raises
    ------
    CommandError
        If something else than a list is named, or a list lacks a column.
    """
    rows: list[tuple[str, ...]] = []
    for word in words:
        if not word.lower().endswith(_LISTS):
            raise CommandError(
                f"the model takes images with masks: name .csv lists with the columns "
                f"{' and '.join(columns)}, not {word}"
            )
        rows += list(_read_list(word, columns, n_paths))
    return Inputs(columns, rows, [])


def tell_ignored(inputs: Inputs) -> None:
    """Say on standard error how many files of folders are left out.

    Parameters
    ----------
    inputs : Inputs
    """
    if inputs.ignored:
        print(
            f"left out {len(inputs.ignored)} files that are no images by their names, such as "
            f"{as_utf8(inputs.ignored[0])}",
            file=sys.stderr,
        )


def _read_list(
    path: str, columns: tuple[str, ...] | None, n_paths: int | None = None
) -> Iterator[tuple[str, ...]]:
    import pandas as pd

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # of rows longer than the header
            table = pd.read_csv(
                path,
                sep=max(_SEPARATORS, key=header.count),
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
            )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise CommandError(f"the list {path} cannot be read: {reason}") from error
    if columns is None:
        columns = (_choose_column(path, list(table.columns)),)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise CommandError(
            f"the list {path} has no column {' and '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    if not len(table):
        raise CommandError(f"the list {path} is empty")
    folder = os.path.dirname(path)
    # Paths in a list are relative to it; os.path.join leaves absolute ones alone.
    for values in table[list(columns)].itertuples(index=False):
        paths = (os.path.join(folder, value) if value else "" for value in values[:n_paths])
        yield (*paths, *(values[n_paths:] if n_paths else ()))


def _choose_column(path: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    known = [name for name in names if str(name).lower() in _COLUMNS]
    if len(known) == 1:
        return known[0]
    raise CommandError(
        f"which column of {path} holds the paths? Say so with --column; it has "
        f"{', '.join(map(str, names))}"
    )
