"""Collect what is wrong with a data set on disk, and say it once and in full."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pandas as pd

from skcyto.exceptions import InvalidDatasetError, InvalidInputWarning
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some

OnError = Literal["raise", "warn"]

_SHOWN = 20
_COLUMNS = ("problem", "item", "detail")


class Findings:
    """Problems found while loading a data set.

    Parameters
    ----------
    source : str
        What is being loaded, for the first words of the message.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._rows: list[tuple[str, str, str]] = []

    def add(self, problem: str, items: str | Iterable[str], detail: str) -> None:
        """Note one problem of one or several items (files, rows, cases)."""
        for item in [items] if isinstance(items, str) else items:
            self._rows.append((problem, item, detail))

    def report(self) -> pd.DataFrame:
        """Return one row a problem, in the order in which they were found."""
        return pd.DataFrame(self._rows, columns=list(_COLUMNS), dtype=object)

    def message(self) -> str:
        """Summarise the problems: kind, count and the first names of each."""
        kinds: dict[tuple[str, str], list[str]] = {}
        for problem, item, detail in self._rows:
            kinds.setdefault((problem, detail), []).append(item)
        lines = []
        for (problem, detail), items in kinds.items():
            lines.append(f"- {problem} ({len(items)}; {detail}): {list_some(items, _SHOWN)}")
        return "\n".join(lines)

    def settle(self, on_error: OnError, n_loaded: int) -> pd.DataFrame:
        """Raise or warn about what was found.

        Parameters
        ----------
        on_error : {"raise", "warn"}
            What the caller asked for.
        n_loaded : int
            Number of samples that are left.

        Returns
        -------
        report : pandas.DataFrame of shape (n_problems, 3)

        Raises
        ------
        InvalidDatasetError
            If there is a problem and `on_error` is "raise", or if no sample is left.
        """
        report = self.report()
        count = f"{len(report)} problem{'s' if len(report) != 1 else ''}"
        if n_loaded == 0:
            found = f" {count}:\n{self.message()}" if self._rows else ""
            raise InvalidDatasetError(f"{self.source}: nothing to load.{found}", report)
        if report.empty:
            return report
        if on_error == "raise":
            raise InvalidDatasetError(
                f"{self.source}: {count}, so nothing was loaded.\n{self.message()}\n"
                f"Mend the folder, or pass on_error='warn' to go on with the {n_loaded} sound "
                "samples; the whole list is the attribute `report` of this error.",
                report,
            )
        warn(
            f"{self.source}: {count}; {n_loaded} sound samples were loaded.\n{self.message()}\n"
            "The whole list is the entry `report` of what was returned.",
            InvalidInputWarning,
        )
        return report


def check_on_error(on_error: str) -> None:
    """Refuse any other value than "raise" and "warn"."""
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error={on_error!r} must be 'raise' or 'warn'")
