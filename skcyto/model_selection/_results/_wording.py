"""Numbers and titles as pictures and pages write them."""

from __future__ import annotations

import numpy as np

from skcyto.model_selection._results._data import ComparisonData

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def format_number(value: float, digits: int = 3) -> str:
    """Write a score; a dash where there is none."""
    if np.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
    # No minus before a zero, and a real minus sign elsewhere.
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def format_pvalue(value: float) -> str:
    """Write a p-value or probability to three decimals, "<0.001" below."""
    if np.isnan(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def heading(comparison: ComparisonData, metric: str) -> str:
    """Return the title of a score, with an arrow where less is better."""
    measure = comparison.measures[metric]
    return measure.title if measure.greater_is_better else f"{measure.title} ↓"
