"""The part of the HTML page that is about one test set, external or held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._report._figures import draw_figures
from skcyto.model_selection._report._pooled import pooled_tables
from skcyto.model_selection._report._tables import best_models, caption, list_failures, score_tables
from skcyto.model_selection._results._data import ComparisonData
from skcyto.model_selection._results._one_set import (
    describe_set,
    one_set_table,
    one_set_tests,
    unit,
)
from skcyto.model_selection._results._rounds import FEW, rarest_units
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._results._wording import format_number, format_pvalue


def one_set_part(
    comparison: ComparisonData,
    reference: str,
    confidence_level: float,
    internal: ComparisonData | None,
) -> dict[str, Any]:
    """Return what the template shows of a test set.

    Parameters
    ----------
    comparison : ComparisonData
        With one test set.
    reference : str
        Model that the others are tested against, as far as it succeeded here.
    confidence_level : float
        Coverage of the intervals.
    internal : ComparisonData or None
        The cross-validation of the same candidates, for an external set.
    """
    site = comparison.splits.site
    part = {
        "heading": f"External validation on {site}" if site else "Validation on one test set",
        "facts": f"{describe_set(comparison)}. {_classes(comparison)}",
        "external": bool(site),
        "failures": list_failures(comparison) if site else [],
        "models": comparison.models,
    }
    if not comparison.models:
        return part
    stands_in = reference not in comparison.models
    reference = comparison.models[0] if stands_in else reference
    test = one_set_tests(comparison, reference, comparison.primary_metric, confidence_level)
    _, reasons = one_set_table(comparison, comparison.metrics, confidence_level)
    sentences = _sentences(comparison, reference, test, confidence_level, reasons)
    if stands_in and len(comparison.models) > 1:
        sentences.append(
            f"The reference failed here. Differences on this set are from {reference}, the first "
            "that succeeded, which nobody chose for it."
        )
    primary = comparison.primary_metric
    several = len(comparison.models) > 1
    return part | {
        "sentences": sentences,
        "beside": [] if internal is None else _beside(comparison, internal, confidence_level),
        "note": caption(comparison, confidence_level),
        "score_tables": score_tables(comparison, confidence_level),
        "without_interval": _group_reasons(comparison, reasons),
        "reference": reference,
        "metric_title": comparison.measures[primary].title,
        "tests": _test_rows(test),
        "unit": unit(comparison),
        "confidence_level": f"{confidence_level:.0%}",
        "figures": draw_figures(comparison, reference, 0.0, confidence_level),
        "pooled": pooled_tables(comparison, reference, confidence_level, 0) if several else [],
    }


def _classes(comparison: ComparisonData) -> str:
    codes = comparison.y_codes[comparison.tested]
    counts = np.bincount(codes, minlength=len(comparison.classes))
    listed = (
        f"{label} {count} ({count / len(codes):.0%})"
        for label, count in zip(comparison.classes.tolist(), counts.tolist(), strict=True)
    )
    return f"Classes: {', '.join(listed)}."


def _sentences(
    comparison: ComparisonData,
    reference: str,
    test: pd.DataFrame,
    confidence_level: float,
    reasons: dict[str, str],
) -> list[str]:
    metric = comparison.primary_metric
    title = comparison.measures[metric].title
    table = score_table(comparison, metric, confidence_level=confidence_level)[metric]
    best = [name for name in comparison.models if name in best_models(comparison, metric)]
    if not best:
        return [f"No model has a {title} on this set: it is undefined there."]
    row = table.loc[best[0]]
    if np.isfinite(row["ci_low"]):
        low, high = format_number(row["ci_low"]), format_number(row["ci_high"])
        interval = f"{confidence_level:.0%} confidence interval {low} to {high}"
    else:
        interval = f"without an interval: {reasons.get(metric, 'it varies in no draw')}"
    which = f"Best {title}" if len(comparison.models) > 1 else title
    sentences = [f"{which}: {' and '.join(best)}, {format_number(row['mean'])} ({interval})."]
    tested = test[test["p_holm"].notna()]
    alpha = f"at the {1 - confidence_level:.0%} level"
    number = f"corrected for {len(tested)} comparison{'s' if len(tested) > 1 else ''}"
    found = tested.index[tested["p_holm"] < 1 - confidence_level].get_level_values("model").tolist()
    if found:
        sentences.append(
            f"Different from {reference} in {title} {alpha}, {number}: {', '.join(found)}."
        )
    elif len(tested):
        sentences.append(
            f"No model was found to differ from {reference} in {title} {alpha}, {number}, on these "
            f"{int(tested['n_independent'].max())} {unit(comparison)}s."
        )
    untested = test.index[test["p_holm"].isna()].get_level_values("model").tolist()
    if untested:
        sentences.append(f"Not tested in {title}: {', '.join(untested)}.")
    units = rarest_units(comparison)
    if units < FEW:
        sentences.append(
            f"The rarest class here has {units} {unit(comparison)}{'s' if units > 1 else ''}: "
            "intervals and p-values are rough."
        )
    return sentences


def _beside(
    comparison: ComparisonData, internal: ComparisonData, confidence_level: float
) -> list[tuple[str, str, str]]:
    """Return the primary score of every model in cross-validation and here."""
    metric = comparison.primary_metric
    rows = []
    for name in comparison.models:
        cells = []
        for each in (internal, comparison):
            if name not in each.models:
                cells.append("failed")
                continue
            row = score_table(each, metric, confidence_level=confidence_level)[metric].loc[name]
            cell = format_number(row["mean"])
            if np.isfinite(row["ci_low"]):
                limits = f"{format_number(row['ci_low'])} to {format_number(row['ci_high'])}"
                cell += f" ({limits})"
            cells.append(cell)
        rows.append((name, cells[0], cells[1]))
    return rows


def _group_reasons(comparison: ComparisonData, reasons: dict[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for metric, reason in reasons.items():
        by_reason.setdefault(reason, []).append(comparison.measures[metric].title)
    return [f"{', '.join(titles)}: {reason}" for reason, titles in by_reason.items()]


def _test_rows(test: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for (model, _), row in test.iterrows():
        known = np.isfinite(row["ci_low"])
        limits = f"{format_number(row['ci_low'])} to {format_number(row['ci_high'])}"
        rows.append(
            {
                "model": model,
                "difference": format_number(row["difference"]),
                "interval": limits if known else "",
                "p": format_pvalue(row["pvalue"]),
                "p_holm": format_pvalue(row["p_holm"]),
            }
        )
    return rows
