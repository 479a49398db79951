"""The command ``skcyto extract``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.command_line._inputs import CommandError, Inputs, find_scans
from skcyto.command_line._table import Table, check_output, resolve_output, sum_up

if TYPE_CHECKING:
    import pandas as pd

    from skcyto.feature_extraction import RadiomicsExtractor


def extract(options: argparse.Namespace) -> int:
    """Extract radiomics of scans into a table.

    Parameters
    ----------
    options : argparse.Namespace
        As the parser gives them.

    Returns
    -------
    status : int
        Exit status.

    Raises
    ------
    CommandError
        If the command cannot be done.
    """
    from skcyto.exceptions import InvalidScanError

    output = resolve_output(options.output)
    partial = output.with_name(f"{output.name}.partial")
    check_output(output)
    inputs = _find(options)
    try:
        extractor = _fit(options, inputs, options.cache or partial)
        table = Table(
            output, inputs, _identify(extractor), options.quote_formulas, made_by="settings"
        )
        table.clear_parts()
        if options.overwrite:
            shutil.rmtree(partial, ignore_errors=True)
        elif output.exists():
            return _look_at(table)
        features, errors, notes = _transform(extractor, inputs)
    except KeyboardInterrupt:
        print(
            f"stopped: finished scans are kept in {options.cache or partial}. The same command "
            "goes on from there",
            file=sys.stderr,
        )
        return 130
    except (ImportError, InvalidScanError, OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    table.write_columns(features, errors, notes)
    shutil.rmtree(partial, ignore_errors=True)
    return sum_up(inputs, errors, str(output))


def _find(options: argparse.Namespace) -> Inputs:
    from skcyto.datasets import load_image_mask_folder

    word = options.inputs
    if not os.path.isdir(word):
        if not os.path.lexists(word):
            raise CommandError(f"there is no list or folder {word}")
        return find_scans([word], (options.image_column, options.mask_column))
    try:
        found = load_image_mask_folder(word, image=options.image, mask=options.mask)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    pairs = found.data[["image", "mask"]].to_numpy()
    rows: list[tuple[str, ...]] = [(str(image), str(mask)) for image, mask in pairs]
    return Inputs(("image", "mask"), rows, [])


def _fit(options: argparse.Namespace, inputs: Inputs, cache: Path | str) -> RadiomicsExtractor:
    from skcyto.feature_extraction import RadiomicsExtractor

    extractor = RadiomicsExtractor(
        _read_labels(options.label),
        options.settings,
        n_jobs=options.n_jobs,
        cache=cache,
        on_error="nan",
        verbose=not options.quiet,
    )
    return extractor.set_output(transform="pandas").fit(inputs.rows)


def _read_labels(words: list[str]) -> dict[str, int] | None:
    labels = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name or not value.strip().isdigit():
            raise CommandError(f"--label {word}: give a name and a value, as in nucleus=1")
        labels[name] = int(value)
    return labels or None


def _identify(extractor: RadiomicsExtractor) -> str:
    """Return what is the same if, and only if, settings, labels and pyradiomics are."""
    what = [extractor.settings_, extractor.mask_labels_, extractor.radiomics_version_]
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _look_at(table: Table) -> int:
    """Say that a table is finished, if it is."""
    found = table.find_finished()
    if found is None:
        raise CommandError(
            f"{table.path} exists: replace it with --overwrite, or choose another name. It is of "
            "other scans, of other settings, or older than one of the scans"
        )
    return sum_up(table.inputs, found["error"].tolist(), f"finished before, {table.path}")


def _transform(
    extractor: RadiomicsExtractor, inputs: Inputs
) -> tuple[pd.DataFrame, list[str | None], list[str | None]]:
    """Return features, and what is to be said about each row: errors and notes."""
    from skcyto.exceptions import InvalidInputWarning

    reasons: dict[int, list[str]] = {}
    lost: set[int] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features: Any = extractor.transform(inputs.rows)
    for warning in caught:
        message = warning.message
        if not isinstance(message, InvalidInputWarning) or not message.rows:
            warnings.warn_explicit(message, warning.category, warning.filename, warning.lineno)
            continue
        lost |= message.lost
        for row, texts in message.rows.items():
            reasons.setdefault(row, []).extend(" ".join(text.split()) for text in texts)
    said = ["; ".join(reasons.get(row, [])) or None for row in range(len(features))]
    errors = [text if row in lost else None for row, text in enumerate(said)]
    notes = [None if row in lost else text for row, text in enumerate(said)]
    return features.reset_index(drop=True), errors, notes
