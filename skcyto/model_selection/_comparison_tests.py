"""Tables of tests between the models of a comparison."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skcyto.model_selection._comparison_scoring import Predictions
from skcyto.model_selection._statistics_delong import compare_areas, delong_covariance
from skcyto.model_selection._statistics_folds import (
    bayesian_correlated_ttest,
    corrected_resampled_ttest,
)
from skcyto.model_selection._statistics_pooled import bootstrap_by_group, mcnemar_test

if TYPE_CHECKING:
    from skcyto.model_selection._comparison_result import ModelComparison

ALL_PAIRS = "all"


def model_pairs(
    comparison: ModelComparison, reference: str | None, models: list[str] | None = None
) -> list[tuple[str, str]]:
    """List which models are compared with which.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Name of a model, "all", or None for the first.
    models : list of str or None
        Models that can be compared; None for all that succeeded.

    Returns
    -------
    pairs : list of (model, reference)
    """
    models = comparison.models if models is None else models
    if reference == ALL_PAIRS and ALL_PAIRS not in comparison.models:
        return [(second, first) for first, second in combinations(models, 2)]
    if reference is None:
        reference = models[0] if models else None
    else:
        comparison._check_model(reference)
        if reference not in models:
            raise ValueError(f"reference={reference!r} gives no scores of classes to compare")
    return [] if reference is None else [(name, reference) for name in models if name != reference]


def fold_tests(
    comparison: ModelComparison, reference: str | None, metric: str, confidence: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.test`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Model to compare with.
    metric : str
        Score.
    confidence : float
        Coverage.

    Returns
    -------
    table : DataFrame
    """
    pairs = model_pairs(comparison, reference)
    rows = []
    for model, other in pairs:
        result = corrected_resampled_ttest(
            comparison.fold_scores(model, metric) - comparison.fold_scores(other, metric),
            comparison.splits.test_train_ratio,
            confidence=confidence,
        )
        rows.append(
            {
                "difference": result.mean,
                "ci_low": result.ci_low,
                "ci_high": result.ci_high,
                "t": result.statistic,
                "df": result.df,
                "p_value": result.pvalue,
                "p_holm": np.nan,
                "effect_size": result.effect_size,
                "n_folds": result.n_folds,
            }
        )
    columns = [*("difference", "ci_low", "ci_high", "t", "df", "p_value", "p_holm")]
    return _with_holm(rows, pairs, [*columns, "effect_size", "n_folds"])


def bayesian_tests(
    comparison: ModelComparison, reference: str | None, metric: str, rope: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.bayesian`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Model to compare with.
    metric : str
        Score.
    rope : float
        Half-width of the region of practical equivalence.

    Returns
    -------
    table : DataFrame
    """
    pairs = model_pairs(comparison, reference)
    better = comparison.measures[metric].greater_is_better
    rows = []
    for model, other in pairs:
        result = bayesian_correlated_ttest(
            comparison.fold_scores(model, metric) - comparison.fold_scores(other, metric),
            comparison.splits.test_train_ratio,
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


def delong_tests(
    comparison: ModelComparison, reference: str | None, confidence: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.delong`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Model to compare with.
    confidence : float
        Coverage.

    Returns
    -------
    table : DataFrame
    """
    models = [
        name
        for name in comparison.models
        if all(record.predictions.kind is not None for record in comparison.records(name))
    ]
    pooled = {name: pool(comparison, name) for name in models}
    codes = range(len(comparison.classes)) if len(comparison.classes) > 2 else (1,)
    statistics = {}
    for code in codes:
        areas, covariances = [], []
        for number, (rows, _) in enumerate(next(iter(pooled.values()), [])):
            scores = [_response(pooled[name][number][1])[:, code] for name in models]
            groups = None if comparison.groups is None else comparison.groups[rows]
            area, covariance = delong_covariance(
                comparison.y_codes[rows] == code, np.vstack(scores), groups=groups
            )
            areas.append(area)
            covariances.append(covariance)
        if areas:
            statistics[code] = (np.mean(areas, axis=0), np.mean(covariances, axis=0))
    pairs, table = [], []
    for model, other in model_pairs(comparison, reference, models):
        which = [models.index(model), models.index(other)]
        for code, (area, covariance) in statistics.items():
            result = compare_areas(
                area[which], covariance[np.ix_(which, which)], confidence=confidence
            )
            pairs.append((model, other, comparison.classes.tolist()[code]))
            table.append(
                {
                    "auc": result.auc_a,
                    "auc_reference": result.auc_b,
                    "difference": result.difference,
                    "ci_low": result.ci_low,
                    "ci_high": result.ci_high,
                    "z": result.statistic,
                    "p_value": result.pvalue,
                    "p_holm": np.nan,
                }
            )
    columns = ["auc", "auc_reference", "difference", "ci_low", "ci_high", "z", "p_value", "p_holm"]
    return _with_holm(table, pairs, columns, ["model", "reference", "class"])


def mcnemar_tests(comparison: ModelComparison, reference: str | None) -> pd.DataFrame:
    """See :meth:`ModelComparison.mcnemar`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Model to compare with.

    Returns
    -------
    table : DataFrame
    """
    pairs = model_pairs(comparison, reference)
    pooled = {name: pool(comparison, name) for name in comparison.models}
    table = []
    for model, other in pairs:
        results = []
        for (rows, first), (_, second) in zip(pooled[model], pooled[other], strict=True):
            true = comparison.y_codes[rows]
            groups = None if comparison.groups is None else comparison.groups[rows]
            results.append(mcnemar_test(first.codes == true, second.codes == true, groups=groups))
        pvalues = [result.pvalue for result in results]
        table.append(
            {
                "only_model": float(np.mean([result.only_a for result in results])),
                "only_reference": float(np.mean([result.only_b for result in results])),
                "p_value": pvalues[0]
                if len(pvalues) == 1
                else min(1.0, 2 * float(np.median(pvalues))),
                "p_holm": np.nan,
            }
        )
    return _with_holm(table, pairs, ["only_model", "only_reference", "p_value", "p_holm"])


def bootstrap_intervals(
    comparison: ModelComparison,
    reference: str | None,
    metric: str,
    n_resamples: int,
    confidence: float,
    random_state: int | np.random.RandomState,
) -> pd.DataFrame:
    """See :meth:`ModelComparison.bootstrap`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    reference : str or None
        Model to compare with.
    metric : str
        Score.
    n_resamples : int
        Number of draws.
    confidence : float
        Coverage.
    random_state : int or RandomState
        Seed.

    Returns
    -------
    table : DataFrame
    """
    score = comparison.measures[metric].from_predictions
    if score is None:
        raise ValueError(
            f"{metric!r} needs the fitted estimator: it can't be scored from resampled predictions"
        )
    pooled = {name: _pool_by_sample(comparison, name) for name in comparison.models}
    groups = np.arange(len(comparison.y)) if comparison.groups is None else comparison.groups
    base = comparison.models[0] if reference is None else comparison._check_model(reference)

    def scored(model: str, rows: NDArray[np.intp]) -> float:
        values = []
        for position, predictions in pooled[model]:
            found = position[rows]
            found = found[found >= 0]
            picked = Predictions(
                predictions.codes[found],
                None if predictions.response is None else predictions.response[found],
                predictions.kind,
            )
            true = comparison.y_codes[rows[position[rows] >= 0]]
            values.append(score(true, picked) if len(found) else np.nan)
        return float(np.mean(values))

    table = []
    for model in comparison.models:
        one = bootstrap_by_group(
            lambda rows, model=model: scored(model, rows),  # type: ignore[misc]
            groups,
            n_resamples=n_resamples,
            confidence=confidence,
            random_state=random_state,
        )
        row = {"estimate": one.estimate, "ci_low": one.ci_low, "ci_high": one.ci_high}
        if model != base:
            two = bootstrap_by_group(
                lambda rows, model=model: scored(model, rows) - scored(base, rows),  # type: ignore[misc]
                groups,
                n_resamples=n_resamples,
                confidence=confidence,
                random_state=random_state,
            )
            row |= {
                "difference": two.estimate,
                "difference_low": two.ci_low,
                "difference_high": two.ci_high,
            }
        table.append(row)
    columns = ["estimate", "ci_low", "ci_high", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(table, index=pd.Index(comparison.models, name="model"), columns=columns)


def pool(comparison: ModelComparison, model: str) -> list[tuple[NDArray[np.intp], Predictions]]:
    """Pool the out-of-fold predictions of each round.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    model : str
        Name of the model.

    Returns
    -------
    rounds : list of (ndarray, Predictions)
        Rows that the round tested, each once, and what was predicted for them.
    """
    records = comparison.records(model)
    rounds = []
    for number in np.unique(comparison.splits.repeat):
        folds = np.flatnonzero(comparison.splits.repeat == number)
        kept = [records[fold].predictions for fold in folds]
        responses = [item.response for item in kept if item.response is not None]
        rounds.append(
            (
                np.concatenate([comparison.splits.splits[fold][1] for fold in folds]),
                Predictions(
                    np.concatenate([item.codes for item in kept]),
                    np.concatenate(responses) if len(responses) == len(kept) else None,
                    kept[0].kind,
                ),
            )
        )
    return rounds


def _pool_by_sample(
    comparison: ModelComparison, model: str
) -> list[tuple[NDArray[np.intp], Predictions]]:
    """Give each round's predictions with the position of every case in them, -1 where absent."""
    rounds = []
    for rows, predictions in pool(comparison, model):
        position = np.full(len(comparison.y), -1)
        position[rows] = np.arange(len(rows))
        rounds.append((position, predictions))
    return rounds


def _response(predictions: Predictions) -> NDArray[np.float64]:
    assert predictions.response is not None
    return predictions.response


def _frame(
    rows: list[dict[str, Any]],
    keys: list[Any],
    columns: list[str],
    names: list[str] | None = None,
) -> pd.DataFrame:
    names = names or ["model", "reference"]
    index = pd.MultiIndex.from_frame(pd.DataFrame(keys, columns=names))
    return pd.DataFrame(rows, index=index, columns=columns)


def _with_holm(
    rows: list[dict[str, Any]],
    keys: list[Any],
    columns: list[str],
    names: list[str] | None = None,
) -> pd.DataFrame:
    """Make a table and fill `p_holm`; rows without a p-value do not count."""
    from statsmodels.stats.multitest import multipletests

    table = _frame(rows, keys, columns, names)
    known = table["p_value"].notna().to_numpy()
    if known.any():
        corrected = multipletests(table.loc[known, "p_value"], method="holm")[1]
        table.loc[known, "p_holm"] = corrected
    return table
