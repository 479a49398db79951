"""Which interval a score of a comparison has: of cases, of areas, of folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from skcyto.model_selection._results._data import ComparisonData, gives_scores
from skcyto.model_selection._results._measures import class_of_recall, counts_hits
from skcyto.model_selection._results._rounds import (
    areas_of_class,
    count_independent,
    pool,
    rarest_units,
    shared_training_factor,
    sizes_by_class,
)
from skcyto.model_selection._statistics._folds import corrected_error, corrected_interval
from skcyto.model_selection._statistics._intervals import (
    area_interval,
    mid_p_interval,
    proportion_interval,
    share_interval,
)

# The cases of a class with fewer independent ones than this change little of each other's model.
_ENOUGH = 25
# Models that learn from fewer of a class differ much, however well they do.
_FEW = 10
# A score over classes carries at most this many times the information of the rarest one.
_TIMES_RAREST = 4


def score_interval(
    comparison: ComparisonData, model: str, metric: str, confidence_level: float
) -> tuple[float, float]:
    """Confidence interval of the mean score of a model over folds.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    model : str
        The model.
    metric : str
        The score.
    confidence_level : float
        Coverage.

    Returns
    -------
    low, high : float
        NaN where nothing is known of how the score varies.
    """
    measure = comparison.measures[metric]
    values = comparison.fold_scores(model, metric)
    if counts_hits(measure):
        return _hits_interval(comparison, model, metric, confidence_level)
    if measure.of_classes == "roc_auc":
        return _area_limits(comparison, model, confidence_level)
    ratio = comparison.splits.test_train_ratio
    df = count_independent(comparison) - 1
    if measure.greater_is_better and measure.bounds == (0, 1) and measure.scorer is None:
        error = corrected_error(values, ratio)
        known = values[~np.isnan(values)]
        if len(known) < 2:
            return np.nan, np.nan
        score = float(known.mean())
        most = _most_cases(comparison, model, score)
        return share_interval(score, error, df, most, confidence_level=confidence_level)
    over_folds = corrected_interval(
        values, ratio, df=df, confidence_level=confidence_level, bounds=measure.bounds
    )
    return _of_loss(comparison, model, metric, over_folds)


def pooled_interval(
    comparison: ComparisonData,
    model: str,
    metric: str,
    estimate: float,
    error: float,
    confidence_level: float,
) -> tuple[float, float]:
    """Confidence interval of a score of pooled predictions, given its bootstrap error.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    model : str
        The model.
    metric : str
        The score.
    estimate : float
        Its value.
    error : float
        Its standard error over bootstrap draws.
    confidence_level : float
        Coverage.

    Returns
    -------
    low, high : float
        NaN where nothing is known of how the score varies.
    """
    measure = comparison.measures[metric]
    if np.isnan(estimate):
        return np.nan, np.nan
    if counts_hits(measure):
        return _hits_interval(comparison, model, metric, confidence_level)
    units = rarest_units(comparison)
    if measure.of_classes == "roc_auc":
        rarest, *rest = sorted(sizes_by_class(comparison), key=len)
        sizes = rarest, np.concatenate(rest)
        return area_interval(
            estimate, error**2, *sizes, confidence_level=confidence_level, df=units - 1
        )
    if measure.greater_is_better and measure.bounds == (0, 1):
        most = _most_cases(comparison, model, estimate)
        return share_interval(estimate, error, units - 1, most, confidence_level=confidence_level)
    half = half_width(error, units, confidence_level)
    return max(estimate - half, measure.bounds[0]), min(estimate + half, measure.bounds[1])


def half_width(error: float, units: int, confidence_level: float) -> float:
    """Half of an interval by Student's t, given a bootstrap error over few units.

    Parameters
    ----------
    error : float
        Standard deviation over draws.
    units : int
        Independent cases of the rarest class.
    confidence_level : float
        Coverage.

    Returns
    -------
    half : float
        NaN without variance, or with one unit.
    """
    if units < 2 or error <= 1e-12:
        return float("nan")
    return float(stats.t.ppf(0.5 + confidence_level / 2, units - 1)) * error


def _most_cases(comparison: ComparisonData, model: str, score: float) -> float:
    """Most independent cases that a score over classes can stand for.

    Cases of a patient count by how alike the model's hits among them are; where all of a class are
    hits, or none is, nothing is known of that, and patients count.
    """
    hits, tried = _count_hits(comparison, model)
    effective = []
    for code in np.unique(comparison.y_codes[tried > 0]):
        own = (tried > 0) & (comparison.y_codes == code)
        groups = None if comparison.groups is None else comparison.groups[own]
        effective.append(proportion_interval(hits[own] / tried[own], groups=groups).n_effective)
    # Of a mean over classes without a miss, what is missed may all be of the rarest class.
    times = len(effective) if min(score, 1 - score) <= 1e-12 else _TIMES_RAREST
    return times * min(effective) / _widening(comparison, score)


def _widening(comparison: ComparisonData, share: float, least: float = 0.0) -> float:
    """By how much the variance of a share or area grows since its cases train the models, too.

    A model that knows all is the same in every fold; one that knows little, or learns from few
    cases of a class, is not: `least` is for these. Chosen by the coverage that
    ``benchmarks/null_calibration.py`` measures.
    """
    loss = shared_training_factor(comparison.splits) - 1
    return 1 + loss * max(least, min(1.0, 8 * share * (1 - share)))


def _hits_interval(
    comparison: ComparisonData, model: str, metric: str, confidence_level: float
) -> tuple[float, float]:
    """Interval by case or group of a recall or accuracy."""
    hits, tried = _count_hits(comparison, model)
    code = class_of_recall(comparison.measures[metric])
    own = tried > 0
    if code is not None:
        own &= comparison.y_codes == code
    groups = None if comparison.groups is None else comparison.groups[own]
    found = proportion_interval(
        hits[own] / tried[own], groups=groups, confidence_level=confidence_level
    )
    if found.n_clusters == 0:
        return np.nan, np.nan
    least = 1.0 if rarest_units(comparison) < _FEW else 0.0
    widening = _widening(comparison, found.estimate, least)
    if found.n_clusters < _ENOUGH:
        widening = (1 + _widening(comparison, found.estimate)) / 2
    n = max(found.n_effective / widening, 1.0)
    return mid_p_interval(found.estimate * n, n, confidence_level=confidence_level)


def _count_hits(
    comparison: ComparisonData, model: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count in how many rounds each case was predicted rightly, and in how many it was tested."""
    hits, tried = np.zeros((2, len(comparison.y)))
    for rows, predictions in pool(comparison, model):
        hits[rows] += predictions.codes == comparison.y_codes[rows]
        tried[rows] += 1
    return hits, tried


def _area_limits(
    comparison: ComparisonData, model: str, confidence_level: float
) -> tuple[float, float]:
    """Mean of the limits of the areas of all classes: the areas may rise and fall together."""
    if not gives_scores(comparison, model):
        return np.nan, np.nan
    pooled = {model: pool(comparison, model)}
    least = 1.4 if rarest_units(comparison) < _FEW else 0.0
    limits = []
    for code in range(len(comparison.classes)) if len(comparison.classes) > 2 else (1,):
        try:
            found = areas_of_class(comparison, pooled, code)
        except ValueError:  # No variance between cases of such a class.
            return np.nan, np.nan
        area = float(found.areas[0])
        limits.append(
            area_interval(
                area,
                _widening(comparison, area, least) * float(found.covariance[0, 0]),
                found.sizes_positive,
                found.sizes_negative,
                confidence_level=confidence_level,
            )
        )
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)


def _of_loss(
    comparison: ComparisonData, model: str, metric: str, limits: tuple[float, float]
) -> tuple[float, float]:
    """Let the interval of a loss reach as far up as on a logarithmic scale: few cases cost most."""
    measure = comparison.measures[metric]
    if measure.greater_is_better or measure.bounds[0] != 0 or np.isnan(limits[0]):
        return limits
    mean = float(np.nanmean(comparison.fold_scores(model, metric)))
    if not 0 < mean < limits[1]:
        return limits
    half = max(limits[1] - mean, mean - limits[0])
    return limits[0], min(mean * float(np.exp(half / mean)), measure.bounds[1])
