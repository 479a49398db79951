"""Tables of a comparison as text: Markdown, LaTeX and the cells of the HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._results._data import ComparisonData
from skcyto.model_selection._results._one_set import describe_set, unit
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._results._wording import MINUS, MISSING, format_number, heading
from skcyto.utils._markdown import escape_markdown

# Columns of a table of the page.
_COLUMNS = 6


def formatted_scores(
    comparison: ComparisonData, metrics: Sequence[str], confidence_level: float, digits: int = 3
) -> pd.DataFrame:
    """Return the cells "mean ± std [low, high]" of every model and score, as far as known.

    Returns
    -------
    cells : DataFrame of str
        Models by scores.
    """
    table = score_table(comparison, metrics, confidence_level=confidence_level)
    cells = {}
    for metric in metrics:
        column = []
        for model in comparison.models:
            values = table.loc[model, metric]
            mean, std, low, high = (
                format_number(values[key], digits) for key in ("mean", "std", "ci_low", "ci_high")
            )
            column.append(_cell(mean, std, low, high))
        cells[metric] = column
    return pd.DataFrame(cells, index=pd.Index(comparison.models, name="model"))


def _cell(mean: str, std: str, low: str, high: str) -> str:
    """Write what is known: no interval where nothing is known of how the score varies."""
    if mean == MISSING:
        return MISSING
    spread = "" if std == MISSING else f" ± {std}"
    return f"{mean}{spread}" if low == MISSING else f"{mean}{spread} [{low}, {high}]"


def best_models(comparison: ComparisonData, metric: str) -> set[str]:
    """Return the models with the best mean."""
    means = score_table(comparison, metric)[metric]["mean"]
    if not comparison.measures[metric].greater_is_better:
        means = -means
    return set(means.index[means >= means.max() - 1e-12])


def scores_to_markdown(
    comparison: ComparisonData, metrics: Sequence[str], confidence_level: float
) -> str:
    """Write the table of scores as a Markdown pipe table."""
    cells = formatted_scores(comparison, metrics, confidence_level)
    lines = [
        ["model", *(escape_markdown(heading(comparison, metric)) for metric in metrics)],
        ["---", *("---:" for _ in metrics)],
    ]
    best = {metric: best_models(comparison, metric) for metric in metrics}
    for model in comparison.models:
        row = [escape_markdown(model)]
        for metric in metrics:
            cell = str(cells.loc[model, metric])
            row.append(f"**{cell}**" if model in best[metric] else cell)
        lines.append(row)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{body}\n\n{caption(comparison, confidence_level)}\n"


def scores_to_latex(
    comparison: ComparisonData, metrics: Sequence[str], confidence_level: float
) -> str:
    """Write the table of scores as a LaTeX table for the package booktabs."""
    cells = formatted_scores(comparison, metrics, confidence_level)
    cells = cells.map(
        lambda cell: cell.replace("±", r"$\pm$").replace(MINUS, "$-$").replace(MISSING, "--")
    )
    best = {metric: best_models(comparison, metric) for metric in metrics}
    for metric in metrics:
        for model in best[metric]:
            cells.loc[model, metric] = rf"\textbf{{{cells.loc[model, metric]}}}"
    cells.index = pd.Index([_escape(name) for name in cells.index])
    cells.columns = pd.Index(
        [_escape(heading(comparison, metric)).replace("↓", r"$\downarrow$") for metric in metrics]
    )
    return cells.style.to_latex(
        hrules=True,
        column_format="l" + "r" * len(metrics),
        caption=_escape(caption(comparison, confidence_level)).replace("±", r"$\pm$"),
        position="htbp",
        position_float="centering",
    )


def score_tables(comparison: ComparisonData, confidence_level: float) -> list[tuple[str, Any, Any]]:
    """Return the tables of scores of the page.

    Returns
    -------
    tables : list of (subject, headings, rows)
        Each narrow enough for a page.
    """
    if not comparison.models:
        return []
    table = score_table(comparison, confidence_level=confidence_level)
    recalls = [name for name in comparison.metrics if name.startswith("recall[")]
    rest = [name for name in comparison.metrics if name not in recalls]
    chunks = [("", chunk) for chunk in _chunks(rest)]
    chunks += [("Recall by class" if i == 0 else "", c) for i, c in enumerate(_chunks(recalls))]
    tables = []
    for subject, chunk in chunks:
        best = {metric: best_models(comparison, metric) for metric in chunk}
        rows = []
        for model in comparison.models:
            cells = []
            for metric in chunk:
                values = table.loc[model, metric]
                low, high = format_number(values["ci_low"]), format_number(values["ci_high"])
                cells.append(
                    {
                        "mean": format_number(values["mean"]),
                        "std": format_number(values["std"]) if np.isfinite(values["std"]) else "",
                        "interval": f"{low} to {high}" if np.isfinite(values["ci_low"]) else "",
                        "best": model in best[metric],
                    }
                )
            rows.append((model, cells))
        headings = [
            metric.removeprefix("recall[").removesuffix("]")
            if metric in recalls
            else heading(comparison, metric)
            for metric in chunk
        ]
        tables.append((subject, headings, rows))
    return tables


def _chunks(names: list[str]) -> list[list[str]]:
    """Deal columns into tables that are narrow enough, each about as wide as the others."""
    if not names:
        return []
    n_tables = -(-len(names) // _COLUMNS)
    return [part.tolist() for part in np.array_split(np.asarray(names, dtype=object), n_tables)]


def list_failures(comparison: ComparisonData) -> list[tuple[str, str, str]]:
    """List the candidates that failed."""
    n_folds = len(comparison.splits.splits)
    return [
        (
            name,
            failed[0].error + (f" (on {len(failed)} of {n_folds} folds)" if n_folds > 1 else ""),
            failed[0].traceback,
        )
        for name, failed in comparison.failures.items()
    ]


def caption(comparison: ComparisonData, confidence_level: float) -> str:
    """Say what the cells of the table of scores are."""
    if comparison.splits.one_test_set:
        return (
            f"{describe_set(comparison)}. Score with {confidence_level:.0%} confidence interval by "
            f"{unit(comparison)}, which takes the fitted models as given."
        )
    rounds = int(comparison.splits.repeat.max()) + 1
    grouped = "" if comparison.groups is None else " that keep groups whole"
    by = "case" if comparison.groups is None else "group"
    folds = (
        f"Mean ± standard deviation over {len(comparison.splits.splits)} folds{grouped} "
        f"({rounds} round{'s' if rounds > 1 else ''}), with {confidence_level:.0%} confidence "
        f"interval: of recalls and accuracy by {by} (binomial, mid-P), of areas under ROC curves "
        "by DeLong and Newcombe, of other scores from folds, all widened for the training data "
        "that folds share (Nadeau and Bengio). No interval: nothing is known of how the score "
        "varies."
    )
    areas = [
        heading(comparison, name)
        for name in comparison.metrics
        if comparison.measures[name].needs and not comparison.measures[name].of_labels
    ]
    n_whole = comparison.n_whole_folds()
    if areas and n_whole < len(comparison.splits.splits):
        folds += (
            f" {', '.join(areas)}: over the {n_whole} folds that hold every class."
            if n_whole
            else f" {', '.join(areas)}: undefined, since no fold holds every class."
        )
    pooled = [
        heading(comparison, name) for name in comparison.metrics if comparison.is_pooled(name)
    ]
    if not pooled:
        return folds
    whose = "the round" if rounds == 1 else "each round"
    return (
        f"{folds} Folds lack classes, so that {', '.join(pooled)} can't be had of each: taken from "
        f"the pooled predictions of {whose}{', mean over rounds' if rounds > 1 else ''}, without "
        "spread or interval over folds."
    )


def _escape(text: str) -> str:
    text = " ".join(text.split())  # an empty line would end the cell, and the table with it
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        # At the start of a row it would be taken for an argument of the end of the one before.
        "[": "{[}",
        "]": "{]}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
    return "".join(special.get(character, character) for character in text)


def scores_to_html(comparison: ComparisonData, summary: str) -> str:
    """Return a small table for notebooks: the first scores over all classes.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    summary : str
        What stands above it.

    Returns
    -------
    text : str
    """
    shown = [metric for metric in comparison.metrics if "[" not in metric][:_COLUMNS]
    cells = formatted_scores(comparison, shown or comparison.metrics[:_COLUMNS], 0.95)
    named = cells.rename(columns=lambda metric: heading(comparison, metric))
    table = named.rename_axis(None).to_html()
    more = len(comparison.metrics) - len(cells.columns)
    left = f"; {more} more in <code>table()</code> and <code>to_html(path)</code>" if more else ""
    note = f"mean ± standard deviation [95 % interval]{left}"
    return f"<p>{html.escape(summary)}</p>{table}<p><small>{note}</small></p>"
