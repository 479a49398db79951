"""Statistics of one score over cross-validation folds, which share their training data."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from skcyto.utils._validation import check_parameters


class CorrectedTTestResult(NamedTuple):
    """What :func:`corrected_resampled_ttest` finds.

    Parameters
    ----------
    statistic : float
        The t statistic.
    pvalue : float
        Two-sided p-value.
    df : int
        Degrees of freedom.
    mean : float
        Mean difference.
    ci_low, ci_high : float
        Confidence interval of the mean difference.
    effect_size : float
        Mean difference over the standard deviation of the differences (Cohen's d for pairs).
    n_folds : int
        Folds that both models have a score for.

    Examples
    --------
    >>> from skcyto.model_selection import corrected_resampled_ttest
    >>> corrected_resampled_ttest([0.02, 0.04, 0.01, 0.03, 0.05], 1 / 4).df
    4
    """

    statistic: float
    pvalue: float
    df: int
    mean: float
    ci_low: float
    ci_high: float
    effect_size: float
    n_folds: int


class BayesianComparison(NamedTuple):
    """What :func:`bayesian_correlated_ttest` finds.

    Parameters
    ----------
    p_worse, p_equivalent, p_better : float
        Posterior probability that the mean difference is below, inside and above the region of
        practical equivalence; they sum to one.
    mean : float
        Posterior mean of the difference.
    hdi_low, hdi_high : float
        Interval of highest posterior density.
    n_folds : int
        Folds that both models have a score for.

    Examples
    --------
    >>> from skcyto.model_selection import bayesian_correlated_ttest
    >>> result = bayesian_correlated_ttest([0.02, 0.04, 0.01, 0.03, 0.05], 1 / 4)
    >>> round(result.mean, 3)
    0.03
    """

    p_worse: float
    p_equivalent: float
    p_better: float
    mean: float
    hdi_low: float
    hdi_high: float
    n_folds: int


@check_parameters(test_train_ratio=[Real])
def corrected_resampled_ttest(
    differences: ArrayLike,
    test_train_ratio: float,
    *,
    df: int | None = None,
    least_error: float = 0.0,
    confidence_level: float = 0.95,
) -> CorrectedTTestResult:
    r"""Paired t-test over cross-validation folds, corrected for the training data they share.

    .. math:: t = \frac{\bar d}{\sqrt{\left(\frac1J + \frac{n_\text{test}}{n_\text{train}}\right)
              s_d^2}},\quad J-1 \text{ degrees of freedom}

    The ordinary paired t-test takes folds for independent. They are not: two training sets of
    five-fold cross-validation share three quarters of their cases, so that the test finds
    differences where there are none, and the more so the more often folds are repeated.

    Parameters
    ----------
    differences : array-like of shape (n_folds,)
        Score of one model minus score of the other, fold by fold; folds with NaN are left out.
    test_train_ratio : float
        Test cases over training cases of a fold: 1/4 for five folds. 0 gives the ordinary, wrong
        t-test.
    df : int or None, default=None
        Degrees of freedom, at most folds less one, which None takes. With all folds of several
        rounds counted, as Bouckaert and Frank do, models that learn nothing differ in their areas
        in 10 % of tests at 5 %, since further rounds have no further cases; comparisons count
        those of one round, or the independent cases of the rarest class if they are fewer.
    least_error : float, default=0
        Standard error of the mean difference that is known otherwise; the larger one counts.
    confidence_level : float, default=0.95
        Coverage of the confidence interval.

    Returns
    -------
    result : CorrectedTTestResult
        NaN statistics where fewer than two folds are left, or where differences are all the same:
        without variance nothing is known of how they would vary. Without any difference the
        p-value is 1.

    Raises
    ------
    ValueError
        If `test_train_ratio` is negative or `confidence_level` not in (0, 1).

    References
    ----------
    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52 (2003), 239;
    for repeated cross-validation Bouckaert and Frank, PAKDD 2004.

    Examples
    --------
    >>> from skcyto.model_selection import corrected_resampled_ttest
    >>> result = corrected_resampled_ttest([0.02, 0.04, 0.01, 0.03, 0.05], 1 / 4)
    >>> round(result.statistic, 3), round(result.pvalue, 3)
    (2.828, 0.047)
    >>> naive = corrected_resampled_ttest([0.02, 0.04, 0.01, 0.03, 0.05], 0)
    >>> round(naive.statistic, 3), round(naive.pvalue, 3)
    (4.243, 0.013)
    """
    d = _finite(differences)
    mean, scale, spread = _correlated_mean(d, test_train_ratio, confidence_level)
    scale = max(scale, least_error)
    df = _degrees_of_freedom(len(d), df)
    if df < 1:
        return CorrectedTTestResult(np.nan, np.nan, df, mean, np.nan, np.nan, np.nan, len(d))
    if scale == 0:
        t, pvalue = (0.0, 1.0) if mean == 0 else (np.nan, np.nan)
        return CorrectedTTestResult(t, pvalue, df, mean, np.nan, np.nan, np.nan, len(d))
    t, effect = mean / scale, mean / spread if spread > 0 else np.nan
    half = float(stats.t.ppf(0.5 + confidence_level / 2, df)) * scale
    pvalue = float(2 * stats.t.sf(abs(t), df))
    return CorrectedTTestResult(t, pvalue, df, mean, mean - half, mean + half, effect, len(d))


@check_parameters(test_train_ratio=[Real], rope=[Real])
def bayesian_correlated_ttest(
    differences: ArrayLike,
    test_train_ratio: float,
    *,
    rope: float = 0.01,
    df: int | None = None,
    least_error: float = 0.0,
    confidence_level: float = 0.95,
) -> BayesianComparison:
    r"""Probability that one model is better, equivalent or worse, from their fold scores.

    The posterior of the mean difference, under the paper's matching prior, is Student's
    t with :math:`J - 1` degrees of freedom, location :math:`\bar d` and squared scale
    :math:`\left(\frac1J + \frac{\rho}{1-\rho}\right) s_d^2`, where
    :math:`\rho = n_\text{test} / (n_\text{test} + n_\text{train})`. Unlike a p-value it can say
    that two models are practically the same.

    Parameters
    ----------
    differences : array-like of shape (n_folds,)
        Score of one model minus score of the other, fold by fold; folds with NaN are left out.
    test_train_ratio : float
        Test cases over training cases of a fold: 1/4 for five folds.
    rope : float, default=0.01
        Differences of at most this size, either way, count as practically equivalent.
    df : int or None, default=None
        Degrees of freedom, at most folds less one, which None takes. With all folds of several
        rounds counted, as Bouckaert and Frank do, models that learn nothing differ in their areas
        in 10 % of tests at 5 %, since further rounds have no further cases; comparisons count
        those of one round, or the independent cases of the rarest class if they are fewer.
    least_error : float, default=0
        Standard error of the mean difference that is known otherwise; the larger one counts.
    confidence_level : float, default=0.95
        Posterior probability inside the interval of highest density.

    Returns
    -------
    result : BayesianComparison
        NaN where fewer than two folds are left or all differences are the same.

    Raises
    ------
    ValueError
        If `rope` or `test_train_ratio` is negative or `confidence_level` not in (0, 1).

    References
    ----------
    Corani and Benavoli, "A Bayesian approach for comparing cross-validated algorithms on multiple
    data sets", Machine Learning 100 (2015), 285; Benavoli, Corani, Demšar and Zaffalon, "Time for
    a change", JMLR 18 (2017), 77.

    Examples
    --------
    >>> from skcyto.model_selection import bayesian_correlated_ttest
    >>> result = bayesian_correlated_ttest([0.02, 0.04, 0.01, 0.03, 0.05], 1 / 4, rope=0.01)
    >>> round(result.p_worse, 3), round(result.p_equivalent, 3), round(result.p_better, 3)
    (0.01, 0.056, 0.934)
    """
    if rope < 0:
        raise ValueError(f"rope={rope!r} must not be negative")
    d = _finite(differences)
    mean, scale, _ = _correlated_mean(d, test_train_ratio, confidence_level)
    scale = max(scale, least_error)
    if len(d) < 2 or scale == 0:
        return BayesianComparison(np.nan, np.nan, np.nan, mean, np.nan, np.nan, len(d))
    posterior = stats.t(df=_degrees_of_freedom(len(d), df), loc=mean, scale=scale)
    worse, better = float(posterior.cdf(-rope)), float(posterior.sf(rope))
    low, high = (float(limit) for limit in posterior.interval(confidence_level))
    return BayesianComparison(worse, max(0.0, 1 - worse - better), better, mean, low, high, len(d))


def corrected_interval(
    scores: ArrayLike,
    test_train_ratio: float,
    *,
    df: int | None = None,
    confidence_level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """Confidence interval of a mean score over folds that share training data.

    Parameters
    ----------
    scores : array-like of shape (n_folds,)
        Scores of one model; NaN is left out.
    test_train_ratio : float
        Test cases over training cases of a fold.
    df : int or None, default=None
        Degrees of freedom, at most folds less one, which None takes.
    confidence_level : float, default=0.95
        Coverage.
    bounds : tuple of float, default=(-inf, inf)
        Values the score can take; the interval is cut there.

    Returns
    -------
    low, high : float
        NaN where fewer than two folds are left or all scores are the same.
    """
    values = _finite(scores)
    mean, scale, _ = _correlated_mean(values, test_train_ratio, confidence_level)
    if len(values) < 2 or scale == 0:
        return np.nan, np.nan
    df = _degrees_of_freedom(len(values), df)
    half = float(stats.t.ppf(0.5 + confidence_level / 2, df)) * scale
    return max(mean - half, bounds[0]), min(mean + half, bounds[1])


def corrected_error(scores: ArrayLike, test_train_ratio: float) -> float:
    """Return the standard error of a mean score over folds that share training data.

    Parameters
    ----------
    scores : array-like of shape (n_folds,)
        Scores of one model; NaN is left out.
    test_train_ratio : float
        Test cases over training cases of a fold.

    Returns
    -------
    error : float
        NaN where fewer than two folds are left.
    """
    return _correlated_mean(_finite(scores), test_train_ratio, 0.95)[1]


def _degrees_of_freedom(n_values: int, df: int | None) -> int:
    return n_values - 1 if df is None else min(df, n_values - 1)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"one value a fold is needed, but the array has shape {array.shape}")
    return array[~np.isnan(array)]


def _correlated_mean(
    values: NDArray[Any], ratio: float, confidence_level: float
) -> tuple[float, float, float]:
    """Return mean, its corrected standard error, and the standard deviation over folds."""
    if not ratio >= 0:
        raise ValueError(f"test_train_ratio={ratio!r} must not be negative")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1")
    if len(values) == 0:
        return np.nan, np.nan, np.nan
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, np.nan, np.nan
    spread = float(np.std(values, ddof=1))
    # Differences that are equal but for rounding have no variance to speak of.
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return (0.0 if abs(mean) <= 1e-12 else mean), 0.0, 0.0
    return mean, spread * float(np.sqrt(1 / len(values) + ratio)), spread
