"""The table of a command, and whether one that is there is what it would make."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.command_line._inputs import CommandError, Inputs
from skcyto.utils._atomic import clear_parts, write_atomically, written_whole
from skcyto.utils._damage import hash_file
from skcyto.utils._file_names import as_utf8

if TYPE_CHECKING:
    import pandas as pd

_IDENTITY_LENGTH = 12
_SHOWN_ERRORS = 5
# With these a spreadsheet takes a cell for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """A table to write.

    Attributes
    ----------
    path : Path
    inputs : Inputs
        Its rows.
    model : str
        Identity of the model, or whatever else its rows were made by.
    quote_formulas : bool
        Whether cells that a spreadsheet would take for formulas get an apostrophe in front.
    made_by : str
        Name of the column that holds the identity.
    """

    path: Path
    inputs: Inputs
    model: str
    quote_formulas: bool = False
    made_by: str = "model"

    def write(
        self, results: Mapping[tuple[str, ...], dict[str, Any]], classes: list[Any] | None
    ) -> None:
        """Write a table of predictions, whole or not at all.

        Parameters
        ----------
        results : mapping of tuple of str to dict
            Of every input.
        classes : list or None
            Labels that have probabilities.
        """
        import pandas as pd

        found = [results[paths] for paths in self.inputs.rows]
        columns: dict[str, Any] = {}
        labels = [self._quote(result["prediction"]) for result in found]
        # Whole numbers stay whole where a row has no prediction.
        columns["prediction"] = pd.Series(labels, dtype=object).convert_dtypes()
        for i, label in enumerate(classes or []):
            columns[f"probability_{label}"] = [
                float("nan") if r["probabilities"] is None else r["probabilities"][i] for r in found
            ]
        self.write_columns(
            pd.DataFrame(columns),
            [result.get("error") for result in found],
            [result.get("note") for result in found],
        )

    def write_columns(
        self, columns: pd.DataFrame, errors: Sequence[str | None], notes: Sequence[str | None]
    ) -> None:
        """Write columns between the inputs and what is to be said about them.

        Parameters
        ----------
        columns : pandas.DataFrame
            One row an input.
        errors, notes : sequence of str or None
        """
        import pandas as pd

        remarks: dict[str, Any] = {
            name: pd.Series([self._quote(as_utf8(text)) for text in texts], dtype="string")
            for name, texts in (("error", errors), ("note", notes))
        }
        remarks[self.made_by] = self.model[:_IDENTITY_LENGTH]
        index = columns.index
        table = pd.concat(
            [
                pd.DataFrame(self._input_columns(), index=index),
                columns,
                pd.DataFrame(remarks, index=index),
            ],
            axis=1,
        )
        with written_whole(self.path) as part:
            if _is_csv(self.path):
                table.to_csv(part, index=False)
            else:
                table.to_parquet(part, index=False)
            # First: a table that is there has its checksum beside it, whenever a kill comes.
            write_atomically(self._checksum_file, f"{hash_file(part)}\n".encode())

    @property
    def _checksum_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.sha256")

    def is_changed(self) -> bool:
        """Tell whether the table that is there is not what was written."""
        try:
            expected = self._checksum_file.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return False  # written elsewhere, or its checksum was taken away
        return expected.strip() != hash_file(self.path)

    def find_finished(self) -> pd.DataFrame | None:
        """Read the table that is there, if it is of the same model and inputs.

        Returns
        -------
        table : pandas.DataFrame or None
            None also where an input was changed after the table was written.
        """
        import pandas as pd

        try:
            if _is_csv(self.path):
                table = pd.read_csv(self.path, dtype=str, keep_default_na=False)
            else:
                table = pd.read_parquet(self.path).astype({self.made_by: str})
            written = self.path.stat().st_mtime_ns
            expected = self._input_columns()
            same = list(table.columns[: len(expected)]) == list(expected) and all(
                table[name].tolist() == cells for name, cells in expected.items()
            )
            if not same or set(table[self.made_by]) != {self.model[:_IDENTITY_LENGTH]}:
                return None
            table["error"] = table["error"].fillna("")
        except (OSError, ValueError, KeyError):
            return None  # no such table, or none of this command
        newest = max(_last_change(path) for paths in self.inputs.rows for path in paths)
        return table if newest <= written else None

    def clear_parts(self) -> None:
        """Remove what commands left that were killed while they wrote this table."""
        clear_parts(self.path.parent, self.path.name)
        clear_parts(self.path.parent, self._checksum_file.name)

    def _input_columns(self) -> dict[str, Any]:
        return {
            name: [self._quote(as_utf8(paths[i])) for paths in self.inputs.rows]
            for i, name in enumerate(self.inputs.columns)
        }

    def _quote(self, cell: Any) -> Any:
        risky = isinstance(cell, str) and cell.startswith(_FORMULA)
        return f"'{cell}" if self.quote_formulas and risky else cell


def resolve_output(word: str) -> Path:
    """Return the path of an output that the command line names.

    Parameters
    ----------
    word : str

    Returns
    -------
    path : Path
    """
    return Path(os.path.abspath(os.path.expanduser(word)))


def check_output(output: Path) -> None:
    """Refuse a table that could not be written in the end.

    Parameters
    ----------
    output : Path

    Raises
    ------
    CommandError
    """
    if output.suffix.lower() not in (".csv", ".parquet"):
        raise CommandError(f"--output {output.name} must end with .csv or .parquet")
    if output.suffix.lower() == ".parquet":
        from skcyto.utils._optional import import_optional

        try:
            import_optional("pyarrow", extra="parquet", purpose="a table in .parquet")
        except ImportError as error:
            raise CommandError(f"{error}, or write a .csv") from error
    if not output.parent.is_dir():
        raise CommandError(f"there is no folder {output.parent} to write {output.name} to")


def sum_up(inputs: Inputs, errors: Sequence[str | None], where: str) -> int:
    """Say on standard error what came out, and return the exit status.

    Parameters
    ----------
    inputs : Inputs
    errors : sequence of str or None
        One an input.
    where : str
        The table.

    Returns
    -------
    status : int
    """
    failed = [(paths, error) for paths, error in zip(inputs.rows, errors, strict=True) if error]
    left_out = f", {len(inputs.ignored)} files left out" if inputs.ignored else ""
    print(
        f"{len(errors)} rows, {len(failed)} of them with an error{left_out}: {where}",
        file=sys.stderr,
    )
    for paths, error in failed[:_SHOWN_ERRORS]:
        print(as_utf8(f"  {', '.join(paths)}: {error}"), file=sys.stderr)
    if len(failed) > _SHOWN_ERRORS:
        print(f"  and {len(failed) - _SHOWN_ERRORS} more", file=sys.stderr)
    return 1 if failed else 0


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _last_change(path: str) -> int:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return 0
    return max(stat.st_mtime_ns, stat.st_ctime_ns)
