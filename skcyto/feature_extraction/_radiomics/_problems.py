"""Everything that was wrong in a batch, in one error or one warning of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from skcyto.exceptions import InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction._radiomics._cases import Case
from skcyto.feature_extraction._radiomics._structures import Structure
from skcyto.utils._warnings import warn

_MAX_LISTED = 20


@dataclass(frozen=True)
class Entry:
    """One thing that was wrong.

    Attributes
    ----------
    case : Case
    reason : str
        With the label before it, where it concerns one label alone.
    """

    case: Case
    reason: str

    def __str__(self) -> str:
        separator = ", " if self.reason.startswith(("label ", "labels ")) else ": "
        return f"{self.case.name}{separator}{self.reason}"


class Report:
    """Collects problems, missing labels and notes over a batch.

    Parameters
    ----------
    n_cases : int
    on_error : {"raise", "nan"}
    on_missing_label : {"nan", "raise"}

    Attributes
    ----------
    problems, missing, notes : list of Entry
    lost : set of int
        Rows without any value.
    """

    def __init__(self, n_cases: int, on_error: str, on_missing_label: str) -> None:
        self.n_cases = n_cases
        self.on_error = on_error
        self.on_missing_label = on_missing_label
        self.problems: list[Entry] = []
        self.missing: list[Entry] = []
        self.notes: list[Entry] = []
        self.lost: set[int] = set()

    def add_problem(self, case: Case, reason: str, structure: Structure | None = None) -> None:
        """Note why a case, or one structure of it, gives no features."""
        self.problems.append(Entry(case, _with_label(structure, reason)))

    def add_missing(self, case: Case, reason: str, structure: Structure) -> None:
        """Note that a structure is not in a case's mask."""
        self.missing.append(Entry(case, _with_label(structure, reason)))

    def add_note(self, case: Case, note: str, structure: Structure) -> None:
        """Note something about values that were computed."""
        self.notes.append(Entry(case, _with_label(structure, note)))

    def finish(self, *, what: str) -> None:
        """Raise the error or give the warnings.

        Raises
        ------
        InvalidScanError
        """
        errors: list[Entry] = []
        if self.on_error == "raise":
            errors += self.problems
        if self.on_missing_label == "raise":
            errors += self.missing
        if errors:
            parameter = "on_error" if self.problems else "on_missing_label"
            bad = _by_row(errors)
            raise InvalidScanError(
                f"no {what} from {len(bad)} of {self.n_cases} case(s) "
                f'({parameter}="nan" gives NaN instead):' + _listed(errors),
                bad,
            )
        for entries, sentence in (
            (self.problems, f"could not give {what} and are NaN or left out"),
            (self.missing, "are missing in the mask and are NaN"),
            (self.notes, "deserve a look"),
        ):
            if entries:
                message = f"{len(entries)} case(s) or label(s) {sentence}:" + _listed(entries)
                rows = _by_row(entries)
                lost = frozenset(self.lost & set(rows))
                warn(InvalidInputWarning(message, rows, lost))

    def raise_error(self, sentence: str) -> NoReturn:
        """Raise whatever was collected as an error.

        Raises
        ------
        InvalidScanError
        """
        raise InvalidScanError(f"{sentence}:" + _listed(self.problems), _by_row(self.problems))


def _with_label(structure: Structure | None, reason: str) -> str:
    return reason if structure is None else f"{structure.title}: {reason}"


def _by_row(entries: list[Entry]) -> dict[int, list[str]]:
    rows: dict[int, list[str]] = {}
    for entry in entries:
        rows.setdefault(entry.case.row, []).append(entry.reason)
    return rows


def _listed(entries: list[Entry]) -> str:
    shown = "".join(f"\n- {entry}" for entry in entries[:_MAX_LISTED])
    more = len(entries) - _MAX_LISTED
    return shown + (f"\n- and {more} more" if more > 0 else "")
