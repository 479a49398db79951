"""Tables of the HTML page: tests on pooled predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._results._data import ComparisonData, gives_scores
from skcyto.model_selection._results._pooled_tests import (
    bootstrap_intervals,
    delong_tests,
    mcnemar_tests,
)
from skcyto.model_selection._results._rounds import rarest_units
from skcyto.model_selection._results._wording import format_number, format_pvalue


def pooled_tables(
    comparison: ComparisonData, reference: str, confidence_level: float, n_resamples: int
) -> list[dict[str, Any]]:
    """Return the tables of the page that test pooled predictions.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    reference : str
        Model that the others are tested against.
    confidence_level : float
        Coverage of the intervals.
    n_resamples : int
        Draws of the bootstrap; 0 for none.

    Returns
    -------
    tables : list of dict
        With `heading`, `columns`, `rows`, `note`, `left` (columns to align left), and `reason`:
        why there is no such table, empty where there is one.
    """
    primary = comparison.measures[comparison.primary_metric]
    scoring = [name for name in comparison.models if gives_scores(comparison, name)]
    wanted: list[tuple[bool, str, Callable[[], dict[str, Any]]]] = [
        (
            bool(set(scoring) - {reference}),
            f"Areas under ROC curves against {reference} (DeLong)",
            lambda: _areas(comparison, reference, confidence_level),
        ),
        (
            True,
            f"Cases that one model alone gets right, against {reference} (McNemar)",
            lambda: _disagreements(comparison, reference),
        ),
        (
            n_resamples > 0 and primary.from_predictions is not None,
            f"Bootstrap of {primary.title}",
            lambda: _bootstrap(comparison, reference, confidence_level, n_resamples),
        ),
    ]
    tables = []
    for present, heading, make in wanted:
        if not present:
            continue
        try:
            tables.append({"heading": heading, "reason": "", **make()})
        except ValueError as error:
            # Such as too few patients with the rarest class: the rest of the page is worth having.
            tables.append({"heading": heading, "reason": str(error)})
    return tables


def _areas(comparison: ComparisonData, reference: str, confidence_level: float) -> dict[str, Any]:
    table, untested, doubts = delong_tests(comparison, reference, confidence_level)
    note = (
        "Each class against the rest; only cases of the same fold are compared, since every fold "
        "has its own model. Areas and their covariance are averaged over rounds; Student's t with "
        "the cases (or groups) of the rarer side less one degrees of freedom."
    )
    if comparison.splits.one_test_set:
        note = (
            "Each class against the rest; Student's t with the cases (or groups) of the rarer side "
            "less one degrees of freedom."
        )
    for label, reason in untested.items():
        note += f" Class {label} can't be tested: {reason}."
    note = " ".join([note, *doubts])
    return {
        "columns": [
            *("model", "class", "AUC", "AUC of reference", "difference"),
            *("t", "p", "p (Holm)"),
        ],
        "left": [0, 1],
        "rows": [
            [
                model,
                str(label),
                format_number(row["auc"]),
                format_number(row["auc_reference"]),
                _with_interval(row, "difference", "ci_low", "ci_high"),
                format_number(row["t"], 2),
                format_pvalue(row["pvalue"]),
                format_pvalue(row["p_holm"]),
            ]
            for (model, _, label), row in table.iterrows()
        ],
        "note": note,
    }


def _disagreements(comparison: ComparisonData, reference: str) -> dict[str, Any]:
    return {
        "columns": ["model", "only the model", "only the reference", "p", "p (Holm)"],
        "left": [0],
        "rows": [
            [
                model,
                f"{row['only_model']:g}",
                f"{row['only_reference']:g}",
                format_pvalue(row["pvalue"]),
                format_pvalue(row["p_holm"]),
            ]
            for (model, _), row in mcnemar_tests(comparison, reference).iterrows()
        ],
        "note": ""
        if comparison.splits.one_test_set
        else "Counts are means over rounds; with several rounds p is twice the median of theirs. "
        "Differing cases count less than independent ones would, since every case trains the "
        "models that test the others.",
    }


def _bootstrap(
    comparison: ComparisonData, reference: str, confidence_level: float, n_resamples: int
) -> dict[str, Any]:
    metric = comparison.primary_metric
    table = bootstrap_intervals(
        comparison, reference, metric, n_resamples, confidence_level, comparison.seed
    )
    unit = "groups" if comparison.groups is not None else "cases"
    return {
        "columns": ["model", "pooled score", f"difference from {reference}"],
        "left": [0],
        "rows": [
            [
                model,
                _with_interval(row, "estimate", "ci_low", "ci_high"),
                _with_interval(row, "difference", "difference_low", "difference_high"),
            ]
            for model, row in table.iterrows()
        ],
        "note": f"{n_resamples} draws of whole {unit}; {confidence_level:.0%} intervals by "
        f"Student's t with the {rarest_units(comparison)} {unit} of the rarest class less one "
        "degrees of freedom, which end where the score does. Scores that order cases are worked "
        "out within folds, as every fold has its own model.",
    }


def _with_interval(row: pd.Series, value: str, low: str, high: str) -> str:
    if np.isnan(row[value]):
        return format_number(np.nan)
    if np.isnan(row[low]):
        return format_number(row[value])
    return f"{format_number(row[value])} ({format_number(row[low])} to {format_number(row[high])})"
