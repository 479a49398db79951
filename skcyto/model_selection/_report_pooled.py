"""Tables of the HTML page: tests on pooled predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skcyto.model_selection._report_tables import format_number, format_pvalue

if TYPE_CHECKING:
    from skcyto.model_selection._comparison_result import ModelComparison


def pooled_tables(
    comparison: ModelComparison, reference: str, confidence: float, n_resamples: int
) -> list[dict[str, Any]]:
    """Return the tables of the page that test pooled predictions.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str
        Model that the others are tested against.
    confidence : float
        Coverage of the intervals.
    n_resamples : int
        Draws of the bootstrap; 0 for none.

    Returns
    -------
    tables : list of dict
        With `heading`, `columns`, `rows`, `note`, and `left`: columns to align left.
    """
    tables = []
    if comparison.gives_scores(reference):
        delong = comparison.delong(reference=reference, confidence=confidence)
        rows = [
            [
                model,
                str(label),
                format_number(row["auc"]),
                format_number(row["auc_reference"]),
                _with_interval(row, "difference", "ci_low", "ci_high"),
                format_number(row["z"], 2),
                format_pvalue(row["p_value"]),
                format_pvalue(row["p_holm"]),
            ]
            for (model, _, label), row in delong.iterrows()
        ]
        if rows:
            tables.append(
                {
                    "heading": f"Areas under ROC curves against {reference} (DeLong)",
                    "columns": [
                        *("model", "class", "AUC", "AUC of reference", "difference"),
                        *("z", "p", "p (Holm)"),
                    ],
                    "left": [0, 1],
                    "rows": rows,
                    "note": "Each class against the rest; areas and their covariance averaged "
                    "over rounds.",
                }
            )
    mcnemar = comparison.mcnemar(reference=reference)
    tables.append(
        {
            "heading": f"Cases that one model alone gets right, against {reference} (McNemar)",
            "columns": ["model", "only the model", "only the reference", "p", "p (Holm)"],
            "left": [0],
            "rows": [
                [
                    model,
                    f"{row['only_model']:g}",
                    f"{row['only_reference']:g}",
                    format_pvalue(row["p_value"]),
                    format_pvalue(row["p_holm"]),
                ]
                for (model, _), row in mcnemar.iterrows()
            ],
            "note": "Counts are means over rounds; with several rounds p is twice the median of "
            "theirs.",
        }
    )
    primary = comparison.measures[comparison.primary_metric]
    if n_resamples and primary.from_predictions is not None:
        boot = comparison.bootstrap(
            reference=reference, n_resamples=n_resamples, confidence=confidence
        )
        unit = "groups" if comparison.groups is not None else "cases"
        tables.append(
            {
                "heading": f"Bootstrap of {primary.title}",
                "columns": ["model", "pooled score", f"difference from {reference}"],
                "left": [0],
                "rows": [
                    [
                        model,
                        _with_interval(row, "estimate", "ci_low", "ci_high"),
                        _with_interval(row, "difference", "difference_low", "difference_high"),
                    ]
                    for model, row in boot.iterrows()
                ],
                "note": f"{n_resamples} draws of whole {unit}; {confidence:.0%} percentile "
                "intervals.",
            }
        )
    return tables


def _with_interval(row: pd.Series, value: str, low: str, high: str) -> str:
    if np.isnan(row[value]):
        return format_number(np.nan)
    return f"{format_number(row[value])} ({format_number(row[low])} to {format_number(row[high])})"
