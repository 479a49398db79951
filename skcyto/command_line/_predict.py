"""The command ``skcyto predict``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skcyto.command_line._inputs import (
    CommandError,
    Inputs,
    find_images,
    find_scans,
    tell_ignored,
)
from skcyto.command_line._journal import Journal, remove_journal
from skcyto.command_line._table import Table, check_output, resolve_output, sum_up
from skcyto.utils._progress import progress_bar

_FIRST_PART = 8  # inputs that are predicted before anything is recorded
_PART_SECONDS = 5.0  # about how long a part shall take: no more than this is lost in a kill
_LARGEST_PART = 1024


def predict(options: argparse.Namespace) -> int:
    """Predict inputs, and write a table with a row for each.

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
    from skcyto.command_line._model import SavedModel

    output = resolve_output(options.output)
    partial = output.with_name(f"{output.name}.partial")
    check_output(output)
    model = SavedModel(
        options.model,
        device=options.device,
        n_jobs=options.n_jobs,
        cache=options.cache,
        trusted=options.trust,
        ignore_versions=options.ignore_versions,
    )
    inputs = (
        find_images(options.inputs, options.column)
        if model.columns is None
        else find_scans(options.inputs, model.columns, model.n_paths)
    )
    tell_ignored(inputs)
    table = Table(output, inputs, model.identity, options.quote_formulas)
    table.clear_parts()
    if options.overwrite:
        remove_journal(partial)
    elif output.exists():
        return _look_at(table, partial)
    with Journal(partial, model.identity) as journal:
        results = journal.look_up(inputs.rows)
        if results:
            print(
                f"going on: {len(results)} of {len(set(inputs.rows))} inputs are done",
                file=sys.stderr,
            )
        model.works = any(result["error"] is None for result in results.values())
        try:
            _predict_rest(model, inputs, results, journal, show=not options.quiet)
        except KeyboardInterrupt:
            print(
                f"stopped: {len(results)} inputs are done and kept in {partial}. The same command "
                "goes on from there",
                file=sys.stderr,
            )
            return 130
        _write_table(table, results, model.classes)
    remove_journal(partial)
    errors = [results[paths]["error"] for paths in inputs.rows]
    return sum_up(inputs, errors, str(output))


def _look_at(table: Table, partial: Path) -> int:
    """Say that a table is finished, if it is; a kill may have come after it was."""
    if table.is_changed():
        raise CommandError(
            f"{table.path} was changed since it was written, or is damaged: it does not have its "
            "checksum. Move it away to make it anew, replace it with --overwrite, or choose "
            "another name"
        )
    found = table.find_finished()
    if found is None:
        raise CommandError(
            f"{table.path} exists: replace it with --overwrite, or choose another name. It is of "
            "other inputs, of another model, or older than one of the inputs"
        )
    remove_journal(partial)
    return sum_up(table.inputs, found["error"].tolist(), f"finished before, {table.path}")


def _predict_rest(
    model: Any,
    inputs: Inputs,
    results: dict[tuple[str, ...], dict[str, Any]],
    journal: Journal,
    *,
    show: bool,
) -> None:
    """Predict in parts, each recorded as soon as it is done."""
    rest = [paths for paths in dict.fromkeys(inputs.rows) if paths not in results]
    n_inputs = len(rest) + len(results)
    size = _FIRST_PART
    with progress_bar(total=n_inputs, desc="Predicting", unit="input", verbose=show) as bar:
        bar.update(len(results))
        while rest:
            part, rest = rest[:size], rest[size:]
            start = time.monotonic()
            predicted = dict(zip(part, model.predict(part), strict=True))
            journal.record(predicted)
            results.update(predicted)
            bar.update(len(part))
            if time.monotonic() - start < _PART_SECONDS / 2:
                size = min(2 * size, _LARGEST_PART)


def _write_table(
    table: Table, results: Mapping[tuple[str, ...], dict[str, Any]], classes: list[Any] | None
) -> None:
    try:
        table.write(results, classes)
    except OSError as error:
        raise CommandError(
            f"the table {table.path} cannot be written: {error}. Its predictions are kept: the "
            "same command goes on"
        ) from error
