"""The command ``python -m skcyto predict``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skcyto.command_line._inputs import CommandError, Inputs, find_images, find_scans
from skcyto.command_line._journal import Journal
from skcyto.utils._progress import progress_bar

_FIRST_PART = 8  # inputs that are predicted before anything is recorded
_PART_SECONDS = 5.0  # about how long a part shall take: no more than this is lost in a kill
_LARGEST_PART = 1024
_SHOWN_ERRORS = 5


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

    output = Path(os.path.abspath(os.path.expanduser(options.output)))
    partial = output.with_name(f"{output.name}.partial")
    _check_output(output, partial, options.overwrite)
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
        else find_scans(options.inputs, model.columns)
    )
    if inputs.ignored:
        print(
            f"left out {len(inputs.ignored)} files that are no images by their names, such as "
            f"{inputs.ignored[0]}",
            file=sys.stderr,
        )
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
        _write_table(output, inputs, results, model.classes)
    partial.unlink()
    return _sum_up(output, inputs, results)


def _check_output(output: Path, partial: Path, overwrite: bool) -> None:
    if output.suffix not in (".csv", ".parquet"):
        raise CommandError(f"--output {output.name} must end with .csv or .parquet")
    if output.suffix == ".parquet":
        from skcyto.utils._optional import import_optional

        try:
            import_optional("pyarrow", extra="parquet", purpose="a table in .parquet")
        except ImportError as error:
            raise CommandError(f"{error}, or write a .csv") from error
    if not output.parent.is_dir():
        raise CommandError(f"there is no folder {output.parent} to write {output.name} to")
    if overwrite:
        partial.unlink(missing_ok=True)
    elif output.exists():
        raise CommandError(f"{output} exists: replace it with --overwrite, or choose another name")


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
    output: Path,
    inputs: Inputs,
    results: Mapping[tuple[str, ...], dict[str, Any]],
    classes: list[Any] | None,
) -> None:
    import pandas as pd

    found = [results[paths] for paths in inputs.rows]
    columns: dict[str, Any] = {
        name: [paths[i] for paths in inputs.rows] for i, name in enumerate(inputs.columns)
    }
    columns["prediction"] = pd.Series([r["prediction"] for r in found], dtype=object)
    for i, label in enumerate(classes or []):
        columns[f"probability_{label}"] = [
            float("nan") if r["probabilities"] is None else r["probabilities"][i] for r in found
        ]
    for name in ("error", "note"):
        columns[name] = pd.Series([r.get(name) for r in found], dtype="string")
    table = pd.DataFrame(columns)
    # Whole numbers stay whole where a row has no prediction.
    table["prediction"] = table["prediction"].convert_dtypes()
    part = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        if output.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)


def _sum_up(output: Path, inputs: Inputs, results: Mapping[tuple[str, ...], dict[str, Any]]) -> int:
    failed = [(paths, results[paths]["error"]) for paths in inputs.rows if results[paths]["error"]]
    n_inputs = len(inputs.rows)
    print(f"{n_inputs} rows, {len(failed)} of them with an error: {output}", file=sys.stderr)
    for paths, error in failed[:_SHOWN_ERRORS]:
        print(f"  {', '.join(paths)}: {error}", file=sys.stderr)
    if len(failed) > _SHOWN_ERRORS:
        print(f"  and {len(failed) - _SHOWN_ERRORS} more", file=sys.stderr)
    return 1 if failed else 0
