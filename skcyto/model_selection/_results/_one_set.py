"""Scores, intervals and tests where a comparison has one test set: external or held out."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.dummy import DummyClassifier

from skcyto.model_selection._results._data import ComparisonData
from skcyto.model_selection._results._fold_tests import model_pairs, with_holm
from skcyto.model_selection._results._intervals import (
    half_width,
    pooled_interval,
    score_interval,
)
from skcyto.model_selection._results._measures import counts_hits
from skcyto.model_selection._results._pooled_tests import (
    at_bounds,
    draw_errors,
    draw_scores,
    quiet_scores,
)
from skcyto.model_selection._results._records import Predictions
from skcyto.model_selection._results._rounds import pool, rarest_units
from skcyto.model_selection._statistics._pooled import BootstrapResult

_N_RESAMPLES = 1000
# The smallest p-value is then 0.0005.
_N_EXCHANGES = 1999
_OF_LABELS = ("precision_macro", "f1_macro", "average_f1")
# With fewer units, of which a class is, or is predicted to be, intervals by resampling miss often.
_FEWEST = 5
# The same for mean losses: (sum of losses)**2 over their sum of squares.
_FEWEST_LOSSES = 25


def describe_set(comparison: ComparisonData) -> str:
    """Say on what a comparison with one test set was tested, and on what it was trained.

    Returns
    -------
    text : str
        Without a full stop.
    """
    train, test = comparison.splits.splits[0]
    groups = comparison.groups
    tested = f"{len(test)} cases"
    if groups is not None:
        tested += f" of {len(np.unique(groups[test]))} groups"
    if comparison.splits.site:
        return (
            f"External validation on {comparison.splits.site}, {tested}; models fitted on all "
            f"{len(train)} internal cases"
        )
    return f"Validation on one test set, {tested}; models fitted on {len(train)} other cases"


def unit(comparison: ComparisonData) -> str:
    """Name what is independent in a test set."""
    return "case" if comparison.groups is None else "group"


def one_set_table(
    comparison: ComparisonData, metrics: list[str], confidence_level: float
) -> tuple[pd.DataFrame, dict[str, str]]:
    """See :meth:`ModelComparison.table`.

    Returns
    -------
    table : DataFrame
        With columns as of a table over folds; `std` is NaN.
    reasons : dict of str to str
        Why a score that is defined has no interval.
    """
    columns: dict[tuple[str, str], Any] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
        values = np.array([comparison.fold_scores(m, metric)[0] for m in comparison.models])
        low, high, reason = _intervals(comparison, metric, values, confidence_level)
        if reason:
            reasons[metric] = reason
        columns |= {
            (metric, "mean"): values,
            (metric, "std"): np.full(len(values), np.nan),
            (metric, "ci_low"): low,
            (metric, "ci_high"): high,
        }
    return pd.DataFrame(columns, index=pd.Index(comparison.models, name="model")), reasons


def one_set_tests(
    comparison: ComparisonData, reference: str | None, metric: str, confidence_level: float
) -> pd.DataFrame:
    """See :meth:`ModelComparison.permutation`."""
    if not comparison.splits.one_test_set:
        raise ValueError(
            "permutation() exchanges predictions for one test set, and there are folds, which "
            "share their training cases: use ttest() or bayesian()"
        )
    pairs = model_pairs(comparison, reference)
    rows = []
    for model, other in pairs:
        scores = [comparison.fold_scores(name, metric)[0] for name in (model, other)]
        low, high = np.nan, np.nan
        if not np.isnan(scores).any():
            with contextlib.suppress(ValueError):  # the test needs no interval
                low, high = _interval_of_draws(
                    comparison, metric, model, confidence_level, less=other
                )
        rows.append(
            {
                "difference": scores[0] - scores[1],
                "ci_low": low,
                "ci_high": high,
                "pvalue": _exchange_test(comparison, metric, model, other),
                "p_holm": np.nan,
                "n_independent": len(_units(comparison)[1]),
            }
        )
    columns = ["difference", "ci_low", "ci_high", "pvalue", "p_holm", "n_independent"]
    return with_holm(rows, pairs, columns)


def _exchange_test(comparison: ComparisonData, metric: str, model: str, other: str) -> float:
    """Return how often a difference is as large where chance says which model predicted what.

    A case, or a group as a whole, keeps its two predictions, and their models are exchanged at
    random: every exchange where there are few, so that no p-value is smaller than few groups allow.
    """
    measure = comparison.measures[metric]
    observed = [comparison.fold_scores(name, metric)[0] for name in (model, other)]
    if measure.from_predictions is None or np.isnan(observed).any():
        return np.nan
    rows, first = pool(comparison, model)[0]
    second = pool(comparison, other)[0][1]
    score = measure.score
    # Scores of the order of cases alone are exchanged by ranks, whatever the models' scales.
    if measure.of_classes or (measure.ranks_cases and len(comparison.classes) == 2):
        first, second = _ranked(first), _ranked(second)
    true, (codes, units) = comparison.y_codes[rows], _units(comparison)

    def difference(one: NDArray[np.intp], two: NDArray[np.intp]) -> float:
        pick, pick_other = one[codes].astype(bool), two[codes].astype(bool)
        return score(true, _mix(first, second, pick)) - score(true, _mix(first, second, pick_other))

    n_units = len(units)
    with quiet_scores():
        result = stats.permutation_test(
            (np.zeros(n_units, dtype=int), np.ones(n_units, dtype=int)),
            difference,
            permutation_type="samples",
            vectorized=False,
            n_resamples=_N_EXCHANGES,
            random_state=np.random.default_rng(comparison.seed),
        )
    return float(result.pvalue)


def _mix(first: Predictions, second: Predictions, pick: NDArray[np.bool_]) -> Predictions:
    response = None
    if first.response is not None and second.response is not None:
        response = np.where(pick[:, None], second.response, first.response)
    return Predictions(np.where(pick, second.codes, first.codes), response, first.kind)


def _ranked(predictions: Predictions) -> Predictions:
    assert predictions.response is not None
    # Between 0 and 1: for two classes the columns stay each other's complement.
    ranks = (stats.rankdata(predictions.response, axis=0) - 0.5) / len(predictions.response)
    return Predictions(predictions.codes, ranks, predictions.kind)


def _units(comparison: ComparisonData) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Return the number of each tested case's group, or of the case, and the groups."""
    test = comparison.splits.splits[0][1]
    groups = test if comparison.groups is None else comparison.groups[test]
    units, codes = np.unique(groups, return_inverse=True)
    return codes, units


def _intervals(
    comparison: ComparisonData, metric: str, values: NDArray[np.float64], confidence_level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return limits for every model, and why some have none."""
    low, high = np.full((2, len(values)), np.nan)
    reasons: dict[str, list[str]] = {}
    measure = comparison.measures[metric]
    for row, model in enumerate(comparison.models):
        if np.isnan(values[row]):
            continue
        try:
            if counts_hits(measure) or measure.of_classes == "roc_auc":
                limits = score_interval(comparison, model, metric, confidence_level)
                if np.isnan(limits[0]):
                    raise ValueError("cases don't vary enough")
            else:
                limits = _interval_of_draws(comparison, metric, model, confidence_level)
            low[row], high[row] = limits
        except ValueError as error:
            reasons.setdefault(str(error), []).append(model)
    texts = [
        reason if len(models) == len(comparison.models) else f"{reason} ({', '.join(models)})"
        for reason, models in reasons.items()
    ]
    return low, high, "; ".join(texts)


def _interval_of_draws(
    comparison: ComparisonData,
    metric: str,
    model: str,
    confidence_level: float,
    less: str | None = None,
) -> tuple[float, float]:
    """Return limits of a score, or of its difference from that of another model, by resampling."""
    for name in (model,) if less is None else (model, less):
        _check_resampling(comparison, metric, name)
    draws, reason = _draw(comparison, metric)
    if draws is None:
        raise ValueError(reason)
    row = comparison.models.index(model)
    units = rarest_units(comparison)
    if less is None:
        error = draw_errors(draws, units)[row]
        limits = pooled_interval(
            comparison, model, metric, draws.estimate[row], error, confidence_level
        )
    else:
        certain = at_bounds(draws, comparison.measures[metric].bounds)
        if certain[row] or certain[comparison.models.index(less)]:
            raise ValueError("a score is at its bound in every bootstrap draw")
        paired = draws.less(comparison.models.index(less))
        half = half_width(draw_errors(paired, units)[row], units, confidence_level)
        bounds = comparison.measures[metric].bounds
        most = bounds[1] - bounds[0]
        limits = max(paired.estimate[row] - half, -most), min(paired.estimate[row] + half, most)
    if np.isnan(limits[0]):
        raise ValueError("it is the same in every bootstrap draw")
    return limits


def _check_resampling(comparison: ComparisonData, metric: str, model: str) -> None:
    """Refuse intervals by resampling where they would not hold what they promise."""
    if metric == "expected_calibration_error":
        # Small samples look uncalibrated by chance, and samples of them even more so.
        raise ValueError("resampling overstates it")
    kept = unit(comparison)
    if rarest_units(comparison) < _FEWEST:
        raise ValueError(f"fewer than {_FEWEST} {kept}s have the rarest class")
    rows, predictions = pool(comparison, model)[0]
    codes, _ = _units(comparison)
    constant = isinstance(comparison.estimators[model], DummyClassifier)
    if metric in _OF_LABELS and not constant:
        said = [
            len(np.unique(codes[predictions.codes == c])) for c in range(len(comparison.classes))
        ]
        if min(said) < _FEWEST:
            label = comparison.classes.tolist()[int(np.argmin(said))]
            raise ValueError(f"fewer than {_FEWEST} {kept}s are predicted to be {label}")
    if metric in ("log_loss", "brier_score") and predictions.response is not None and not constant:
        own = predictions.response[np.arange(len(rows)), comparison.y_codes[rows]]
        loss = -np.log(np.maximum(own, 1e-15)) if metric == "log_loss" else (1 - own) ** 2
        by_unit = np.bincount(codes, loss)
        if by_unit.sum() ** 2 < _FEWEST_LOSSES * (by_unit**2).sum():
            raise ValueError(f"fewer than {_FEWEST_LOSSES} {kept}s carry it")


def _draw(comparison: ComparisonData, metric: str) -> tuple[BootstrapResult | None, str]:
    """Draw cases or groups anew, once for all tables, or tell why that can't be done."""
    if metric not in comparison.draws:
        try:
            drawn = draw_scores(comparison, metric, _N_RESAMPLES, comparison.seed), ""
        except ValueError as error:
            drawn = None, str(error)
        comparison.draws[metric] = drawn
    return comparison.draws[metric]
