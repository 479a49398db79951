"""The table of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skcyto.model_selection._results._data import ComparisonData, check_metrics
from skcyto.model_selection._results._intervals import score_interval
from skcyto.model_selection._results._one_set import one_set_table
from skcyto.model_selection._results._rounds import pooled_scores

_COLUMNS = ("mean", "std", "ci_low", "ci_high")


def score_table(
    comparison: ComparisonData,
    metrics: str | Sequence[str] | None = None,
    *,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """See :meth:`ModelComparison.table`.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    metrics : str, list of str or None, default=None
        Scores; None for all.
    confidence_level : float, default=0.95
        Coverage.
    """
    names = check_metrics(comparison, metrics)
    if comparison.splits.one_test_set:
        return one_set_table(comparison, names, confidence_level)[0]
    columns: dict[tuple[str, str], list[float]] = {}
    for metric in names:
        for model in comparison.models:
            row = _row(comparison, model, metric, confidence_level)
            for label, value in zip(_COLUMNS, row, strict=True):
                columns.setdefault((metric, label), []).append(value)
    return pd.DataFrame(columns, index=pd.Index(comparison.models, name="model"))


def _row(
    comparison: ComparisonData, model: str, metric: str, confidence_level: float
) -> tuple[float, float, float, float]:
    if comparison.is_pooled(metric):
        rounds = pooled_scores(comparison, model, metric)
        # Rounds score the same cases: their spread says nothing of other cases.
        return _mean(rounds[~np.isnan(rounds)]), np.nan, np.nan, np.nan
    values = comparison.fold_scores(model, metric)
    known = values[~np.isnan(values)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    return _mean(known), spread, *score_interval(comparison, model, metric, confidence_level)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
