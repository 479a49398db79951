"""Everything that was wrong in a batch, in one error or one warning of each kind."""

from __future__ import annotations

from typing import NoReturn

from skcyto.exceptions import InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction._radiomics._cases import Case
from skcyto.utils._warnings import warn

_MAX_LISTED = 20


class Report:
    """Collects problems, missing labels and notes over a batch.

    Parameters
    ----------
    n_cases : int
    on_error : {"raise", "nan"}
    on_missing_label : {"nan", "raise"}
    """

    def __init__(self, n_cases: int, on_error: str, on_missing_label: str) -> None:
        self.n_cases = n_cases
        self.on_error = on_error
        self.on_missing_label = on_missing_label
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self._cases: dict[str, set[str]] = {"problems": set(), "missing": set()}

    def add_problem(
        self, case: Case, structure: str | None, label: int | None, reason: str
    ) -> None:
        """Note why a case, or one label of it, gives no features."""
        self._cases["problems"].add(case.name)
        self.problems.append(f"{_where(case, structure, label)}: {reason}")

    def add_missing(self, case: Case, structure: str, label: int, reason: str) -> None:
        """Note that a label is not in a case's mask."""
        self._cases["missing"].add(case.name)
        self.missing.append(f"{_where(case, structure, label)}: {reason}")

    def add_note(self, case: Case, structure: str, label: int, note: str) -> None:
        """Note something about values that were computed."""
        self.notes.append(f"{_where(case, structure, label)}: {note}")

    def finish(self, *, what: str) -> None:
        """Raise the error or give the warnings.

        Raises
        ------
        InvalidScanError
        """
        errors: list[str] = []
        cases: set[str] = set()
        if self.on_error == "raise":
            errors += self.problems
            cases |= self._cases["problems"]
        if self.on_missing_label == "raise":
            errors += self.missing
            cases |= self._cases["missing"]
        if errors:
            parameter = "on_error" if self.problems else "on_missing_label"
            raise InvalidScanError(
                f"no {what} from {len(cases)} of {self.n_cases} case(s) "
                f'({parameter}="nan" gives NaN instead):' + _listed(errors)
            )
        for lines, sentence in (
            (self.problems, f"could not give {what} and are NaN or left out"),
            (self.missing, "are missing in the mask and are NaN"),
            (self.notes, "deserve a look"),
        ):
            if lines:
                warn(
                    f"{len(lines)} case(s) or label(s) {sentence}:" + _listed(lines),
                    InvalidInputWarning,
                )

    def raise_error(self, sentence: str) -> NoReturn:
        """Raise whatever was collected as an error.

        Raises
        ------
        InvalidScanError
        """
        raise InvalidScanError(f"{sentence}:" + _listed(self.problems))


def _where(case: Case, structure: str | None, label: int | None) -> str:
    if label is None:
        return case.name
    named = "" if structure in (None, f"label_{label}") else f" ({structure})"
    return f"{case.name}, label {label}{named}"


def _listed(lines: list[str]) -> str:
    shown = "".join(f"\n- {line}" for line in lines[:_MAX_LISTED])
    more = len(lines) - _MAX_LISTED
    return shown + (f"\n- and {more} more" if more > 0 else "")
