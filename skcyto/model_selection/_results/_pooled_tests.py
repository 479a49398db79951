"""Tables of tests on the pooled out-of-fold predictions of a comparison."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import config_context

from skcyto.model_selection._results._choices import choose_classes
from skcyto.model_selection._results._data import ComparisonData, check_reference, gives_scores
from skcyto.model_selection._results._fold_tests import model_pairs, with_holm
from skcyto.model_selection._results._intervals import half_width, pooled_interval
from skcyto.model_selection._results._records import Predictions
from skcyto.model_selection._results._rounds import (
    FEW,
    areas_of_class,
    fold_of_cases,
    pool,
    rarest_units,
    shared_training_factor,
)
from skcyto.model_selection._results._within_folds import check_orders, score_within_folds
from skcyto.model_selection._statistics._delong import Areas, compare_areas
from skcyto.model_selection._statistics._pooled import (
    BootstrapResult,
    bootstrap_by_group,
    discount,
    mcnemar_test,
)

_DELONG_COLUMNS = (
    *("auc", "auc_reference", "difference", "ci_low", "ci_high", "t", "df", "pvalue"),
    "p_holm",
)


class DeLongTable(NamedTuple):
    """What :func:`delong_tests` finds.

    Parameters
    ----------
    table : DataFrame
        The rows of a class that can't be tested are NaN.
    untested : dict of label to str
        Reason for each of them.
    doubts : list of str
        What is said of the tests that there are: few cases, no variance.
    """

    table: pd.DataFrame
    untested: dict[Any, str]
    doubts: list[str]

    def list_warnings(self) -> list[str]:
        """List what a caller should be warned of."""
        texts = []
        if self.untested:
            texts.append(f"DeLong's test leaves out {_list_reasons(self.untested)}")
        if self.doubts:
            texts.append(" ".join(self.doubts))
        return texts


def delong_tests(
    comparison: ComparisonData, reference: str | None, confidence_level: float
) -> DeLongTable:
    """Test the areas of all classes that can be tested, and tell why the others can't.

    Raises
    ------
    ValueError
        If no class can be tested.
    """
    models = [name for name in comparison.models if gives_scores(comparison, name)]
    pairs = model_pairs(comparison, reference, models)
    codes = choose_classes(comparison, None)
    labels = comparison.classes.tolist()
    pooled = {name: pool(comparison, name) for name in models} if pairs else {}
    statistics: dict[int, Areas] = {}
    untested: dict[Any, str] = {}
    for code in codes if pairs else ():
        try:
            statistics[code] = areas_of_class(comparison, pooled, code)
        except ValueError as error:
            untested[labels[code]] = str(error)
    if untested and not statistics:
        raise ValueError(f"DeLong's test can test no class: {_list_reasons(untested)}")
    factor = shared_training_factor(comparison.splits)
    keys, rows, same = [], [], []
    for model, other in pairs:
        which = [models.index(model), models.index(other)]
        for code in codes:
            keys.append((model, other, labels[code]))
            if code not in statistics:
                rows.append(dict.fromkeys(_DELONG_COLUMNS, np.nan))
                continue
            rows.append(_compare(statistics[code], which, factor, confidence_level))
            if np.isnan(rows[-1]["pvalue"]):
                same.append(f"{model} and {other} (class {labels[code]})")
    table = with_holm(rows, keys, list(_DELONG_COLUMNS), ["model", "reference", "class"])
    few = {labels[code]: found.df + 1 for code, found in statistics.items() if found.df + 1 < FEW}
    return DeLongTable(table, untested, _list_doubts(comparison, few, same))


def _compare(
    found: Areas, which: list[int], factor: float, confidence_level: float
) -> dict[str, float]:
    result = compare_areas(
        found.areas[which],
        factor * found.covariance[np.ix_(which, which)],
        # Cases that train each other's models count for less, here too.
        found.df / factor,
        confidence_level=confidence_level,
    )
    return {
        "auc": result.auc_a,
        "auc_reference": result.auc_b,
        "difference": result.difference,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "t": result.statistic,
        "df": result.df,
        "pvalue": result.pvalue,
        "p_holm": np.nan,
    }


def _list_doubts(comparison: ComparisonData, few: dict[Any, int], same: list[str]) -> list[str]:
    doubts = []
    if few:
        unit = "cases" if comparison.groups is None else "groups"
        listed = ", ".join(f"{number} for class {label!r}" for label, number in few.items())
        doubts.append(
            f"DeLong's test rests on few {unit} of a class or of the rest ({listed}): its p-values "
            "and intervals are rough."
        )
    if same:
        doubts.append(
            f"The difference of areas has no variance, and so no p-value, for {', '.join(same)}: "
            "all cases are in the same order, or in none."
        )
    return doubts


def _list_reasons(untested: dict[Any, str]) -> str:
    """Name the classes that share a reason before it."""
    classes: dict[str, list[str]] = {}
    for label, reason in untested.items():
        classes.setdefault(reason, []).append(repr(label))
    return "; ".join(
        f"class{'es' if len(labels) > 1 else ''} {', '.join(labels)}: {reason}"
        for reason, labels in classes.items()
    )


def mcnemar_tests(comparison: ComparisonData, reference: str | None) -> pd.DataFrame:
    """See :meth:`ModelComparison.mcnemar`."""
    pairs = model_pairs(comparison, reference)
    pooled = {name: pool(comparison, name) for name in comparison.models}
    factor = shared_training_factor(comparison.splits)
    df = rarest_units(comparison) - 1
    table = []
    for model, other in pairs:
        results = []
        for (rows, first), (_, second) in zip(pooled[model], pooled[other], strict=True):
            true = comparison.y_codes[rows]
            groups = None if comparison.groups is None else comparison.groups[rows]
            found = mcnemar_test(first.codes == true, second.codes == true, groups=groups)
            results.append(discount(found, factor, df))
        pvalues = [result.pvalue for result in results]
        table.append(
            {
                "only_model": float(np.mean([result.only_a for result in results])),
                "only_reference": float(np.mean([result.only_b for result in results])),
                "pvalue": pvalues[0]
                if len(pvalues) == 1
                else min(1.0, 2 * float(np.median(pvalues))),
                "p_holm": np.nan,
            }
        )
    return with_holm(table, pairs, ["only_model", "only_reference", "pvalue", "p_holm"])


def bootstrap_intervals(
    comparison: ComparisonData,
    reference: str | None,
    metric: str,
    n_resamples: int,
    confidence_level: float,
    random_state: int | np.random.RandomState,
) -> pd.DataFrame:
    """See :meth:`ModelComparison.bootstrap`."""
    base = check_reference(comparison, reference)
    measure = comparison.measures[metric]
    one = draw_scores(comparison, metric, n_resamples, random_state)
    units = rarest_units(comparison)
    widen = np.sqrt(shared_training_factor(comparison.splits))
    limits = [
        pooled_interval(comparison, model, metric, estimate, error, confidence_level)
        for model, estimate, error in zip(
            comparison.models, one.estimate, widen * draw_errors(one, units), strict=True
        )
    ]
    low, high = np.transpose(limits)
    columns = {"estimate": one.estimate, "ci_low": low, "ci_high": high}
    # The draws are the same for all models: their differences are paired.
    number = comparison.models.index(base)
    paired = one.less(number)
    half = np.array(
        [half_width(error, units, confidence_level) for error in widen * draw_errors(paired, units)]
    )
    # A score that no draw changes, all cases being right, is not as sure as that.
    certain = at_bounds(one, measure.bounds)
    half[certain | certain[number]] = np.nan
    range_of_score = measure.bounds[1] - measure.bounds[0]
    low = np.maximum(paired.estimate - half, -range_of_score)
    high = np.minimum(paired.estimate + half, range_of_score)
    columns |= {"difference": paired.estimate, "difference_low": low, "difference_high": high}
    table = pd.DataFrame(columns, index=pd.Index(comparison.models, name="model"))
    table.loc[base, ["difference", "difference_low", "difference_high"]] = np.nan
    return table


def draw_scores(
    comparison: ComparisonData,
    metric: str,
    n_resamples: int,
    random_state: int | np.random.RandomState,
) -> BootstrapResult:
    """Draw the tested cases anew, whole groups at once, and score all models on each draw.

    Returns
    -------
    result : BootstrapResult
        In the order of the models.

    Raises
    ------
    ValueError
        If the score needs the fitted estimator, or too few groups have the rarest class.
    """
    measure = comparison.measures[metric]
    score = measure.score
    if measure.from_predictions is None:
        raise ValueError(
            f"{metric!r} needs the fitted estimator: it can't be scored from resampled predictions"
        )
    check_orders(measure, comparison.splits, comparison.y_codes)
    pooled = {name: pool(comparison, name) for name in comparison.models}
    folds = fold_of_cases(comparison)
    rounds = []
    for rows, _ in pooled[comparison.models[0]]:
        position = np.full(len(comparison.y), -1)
        position[rows] = np.arange(len(rows))
        rounds.append(position)
    # Cases that only ever train are no part of what is drawn.
    cases = comparison.tested
    groups = np.arange(len(cases)) if comparison.groups is None else comparison.groups[cases]

    def scored(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        values = np.empty((len(comparison.models), len(rounds)))
        rows = cases[drawn]
        for i, model in enumerate(comparison.models):
            for j, position in enumerate(rounds):
                found = position[rows]
                tested = found >= 0
                predictions = pooled[model][j][1]
                picked = Predictions(
                    predictions.codes[found[tested]],
                    None if predictions.response is None else predictions.response[found[tested]],
                    predictions.kind,
                )
                true = comparison.y_codes[rows[tested]]
                if measure.ranks_cases:
                    fold = folds[j][found[tested]]
                    values[i, j] = score_within_folds(measure, true, picked, fold)
                else:
                    values[i, j] = score(true, picked) if tested.any() else np.nan
        return values.mean(axis=1)

    with quiet_scores():
        return bootstrap_by_group(
            scored, groups, n_resamples=n_resamples, random_state=random_state
        )


@contextmanager
def quiet_scores() -> Iterator[None]:
    """Score thousands of resampled predictions: fast, and without a warning for each."""
    # The predictions were checked when they were made; checking every draw takes time.
    # A draw that lacks a class is counted as undefined, not warned of a thousand times.
    with (
        config_context(assume_finite=True, skip_parameter_validation=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".* is undefined on a fold")
        yield


def at_bounds(result: BootstrapResult, bounds: tuple[float, float]) -> NDArray[np.bool_]:
    """Say which scores are the best or worst there is in every draw.

    Parameters
    ----------
    result : BootstrapResult
        The draws.
    bounds : tuple of float
        Smallest and largest value of the score.
    """
    draws = result.draws
    flat = np.nanmax(draws, axis=1, initial=-np.inf) - np.nanmin(draws, axis=1, initial=np.inf)
    return (flat <= 1e-12) & np.isin(result.estimate.round(12), bounds)


def draw_errors(result: BootstrapResult, units: int) -> NDArray[np.float64]:
    """Give standard errors of draws, which vary by the factor (n - 1) / n too little.

    Parameters
    ----------
    result : BootstrapResult
        The draws.
    units : int
        Independent cases of the rarest class.

    Returns
    -------
    errors : ndarray of shape (n_statistics,)
        NaN for a statistic that isn't defined.
    """
    n = max(units, 2)
    known = ~np.isnan(result.estimate)
    errors = np.full(len(known), np.nan)
    errors[known] = np.nanstd(result.draws[known], axis=1) * np.sqrt(n / (n - 1))
    return errors
