"""Tables of tests between the models of a comparison."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._results._data import ComparisonData, check_reference
from skcyto.model_selection._results._rounds import count_independent, error_of_areas
from skcyto.model_selection._statistics._folds import (
    bayesian_correlated_ttest,
    corrected_resampled_ttest,
)
from skcyto.utils._pvalues import correct_pvalues

ALL_PAIRS = "all"


def model_pairs(
    comparison: ComparisonData, reference: str | None, models: list[str] | None = None
) -> list[tuple[str, str]]:
    """List which models are compared with which.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    reference : str or None
        Name of a model, "all", or None for the first candidate.
    models : list of str or None
        Models that can be compared; None for all that succeeded.

    Raises
    ------
    ValueError
        If the reference failed or can't be compared.
    """
    models = comparison.models if models is None else models
    if reference == ALL_PAIRS and ALL_PAIRS not in comparison.models:
        return [(second, first) for first, second in combinations(models, 2)]
    reference = check_reference(comparison, reference)
    if reference not in models:
        others = f"name one of {models}" if models else "nor does any other model"
        raise ValueError(
            f"the reference, {reference!r}, gives no scores of classes to compare; {others}"
        )
    return [(name, reference) for name in models if name != reference]


def fold_tests(
    comparison: ComparisonData, reference: str | None, metric: str, confidence_level: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.ttest`."""
    _refuse_one_set(comparison, "ttest")
    pairs = model_pairs(comparison, reference)
    refuse_pooled(comparison, metric)
    rows = []
    for model, other in pairs:
        result = corrected_resampled_ttest(
            comparison.fold_scores(model, metric) - comparison.fold_scores(other, metric),
            comparison.splits.test_train_ratio,
            df=count_independent(comparison) - 1,
            least_error=error_of_areas(comparison, model, other, metric),
            confidence_level=confidence_level,
        )
        rows.append(
            {
                "difference": result.mean,
                "ci_low": result.ci_low,
                "ci_high": result.ci_high,
                "t": result.statistic,
                "df": result.df,
                "pvalue": result.pvalue,
                "p_holm": np.nan,
                "effect_size": result.effect_size,
                "n_folds": result.n_folds,
            }
        )
    columns = [*("difference", "ci_low", "ci_high", "t", "df", "pvalue", "p_holm")]
    return with_holm(rows, pairs, [*columns, "effect_size", "n_folds"])


def refuse_pooled(comparison: ComparisonData, metric: str) -> None:
    """Refuse a test over folds of a score that folds do not have.

    Rounds of pooled predictions are no way out: all score the same cases, so that what varies
    between them is how cases were dealt to folds, not the cases.

    Raises
    ------
    ValueError
        If the score is pooled.
    """
    if comparison.is_pooled(metric):
        raise ValueError(
            f"{metric!r} is undefined on folds that lack a class and was taken from the pooled "
            "predictions of each round, so that no test over folds can be had: use mcnemar() or "
            "bootstrap(), which test pooled predictions"
        )


def _refuse_one_set(comparison: ComparisonData, method: str) -> None:
    if comparison.splits.one_test_set:
        raise ValueError(
            f"{method}() learns from folds how scores vary, and there is one test set: use "
            "permutation(), bootstrap(), mcnemar() or delong()"
        )


def bayesian_tests(
    comparison: ComparisonData, reference: str | None, metric: str, rope: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.bayesian`.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    reference : str or None
        Model to compare with.
    metric : str
        Score.
    rope : float
        Half-width of the region of practical equivalence.
    """
    _refuse_one_set(comparison, "bayesian")
    pairs = model_pairs(comparison, reference)
    refuse_pooled(comparison, metric)
    better = comparison.measures[metric].greater_is_better
    rows = []
    for model, other in pairs:
        result = bayesian_correlated_ttest(
            comparison.fold_scores(model, metric) - comparison.fold_scores(other, metric),
            comparison.splits.test_train_ratio,
            df=count_independent(comparison) - 1,
            least_error=error_of_areas(comparison, model, other, metric),
            rope=rope,
        )
        rows.append(
            {
                "p_better": result.p_better if better else result.p_worse,
                "p_equivalent": result.p_equivalent,
                "p_worse": result.p_worse if better else result.p_better,
                "difference": result.mean,
                "hdi_low": result.hdi_low,
                "hdi_high": result.hdi_high,
                "n_folds": result.n_folds,
            }
        )
    columns = [
        "p_better",
        "p_equivalent",
        "p_worse",
        "difference",
        "hdi_low",
        "hdi_high",
        "n_folds",
    ]
    return _frame(rows, pairs, columns)


def without_variance(tests: pd.DataFrame) -> dict[tuple[str, str], float]:
    """List the differences that are the same in all folds, of which nothing more can be said."""
    if "n_folds" not in tests:
        return {}
    same = tests["pvalue"].isna() & tests["difference"].notna() & (tests["n_folds"] > 1)
    return {
        (str(pair[0]), str(pair[1])): float(value)
        for pair, value in tests.loc[same, "difference"].items()
    }


def _frame(
    rows: list[dict[str, Any]],
    keys: list[Any],
    columns: list[str],
    names: list[str] | None = None,
) -> pd.DataFrame:
    names = names or ["model", "reference"]
    index = pd.MultiIndex.from_frame(pd.DataFrame(keys, columns=names))
    return pd.DataFrame(rows, index=index, columns=columns)


def with_holm(
    rows: list[dict[str, Any]],
    keys: list[Any],
    columns: list[str],
    names: list[str] | None = None,
) -> pd.DataFrame:
    """Make a table of tests and fill `p_holm`; rows without a p-value do not count."""
    table = _frame(rows, keys, columns, names)
    table["p_holm"] = correct_pvalues(table["pvalue"].to_numpy(dtype=float), "holm")
    return table
