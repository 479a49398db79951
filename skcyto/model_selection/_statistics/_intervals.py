"""Intervals of proportions and areas that hold near 0 and 1, by case or by patient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from skcyto.model_selection._statistics._delong import stratified_areas
from skcyto.utils._validation import check_vector


class ProportionInterval(NamedTuple):
    """What :func:`proportion_interval` finds.

    Parameters
    ----------
    estimate : float
        Share of hits.
    low, high : float
        Confidence interval.
    n_effective : float
        Independent cases that carry as much information as there is.
    n_clusters : int
        Independent units: patients, or cases without groups.
    """

    estimate: float
    low: float
    high: float
    n_effective: float
    n_clusters: int


class AreaInterval(NamedTuple):
    """What :func:`auc_interval` finds.

    Parameters
    ----------
    area : float
        Area under the ROC curve.
    low, high : float
        Confidence interval.
    """

    area: float
    low: float
    high: float


def mid_p_interval(hits: float, n: float, *, confidence_level: float = 0.95) -> tuple[float, float]:
    r"""Clopper and Pearson's interval of a proportion with mid-P tails.

    Each limit is the proportion under which a count as far off has probability
    :math:`\alpha / 2`, the observed count counted half. Coverage is close to nominal also near
    0 and 1, where Wilson's interval falls to 85 % and the exact one lies above 99 %. Counts need
    not be whole: those of correlated cases are not.

    Parameters
    ----------
    hits : float
        Number of successes.
    n : float
        Number of cases.
    confidence_level : float, default=0.95
        Coverage.

    Returns
    -------
    low, high : float
        0 to 1 where there is no case.

    References
    ----------
    Agresti and Gottard, "Nonconservative exact small-sample inference for discrete data",
    Computational Statistics & Data Analysis 51 (2007), 6447.

    Examples
    --------
    >>> from skcyto.model_selection._statistics._intervals import mid_p_interval
    >>> low, high = mid_p_interval(5, 5)
    >>> round(low, 4), high
    (0.5493, 1.0)
    """
    _check_confidence_level(confidence_level)
    if not 0 <= hits <= n:
        raise ValueError(f"hits={hits!r} must lie between 0 and n={n!r}")
    if n == 0:
        return 0.0, 1.0
    alpha = 1 - confidence_level
    # Rounding: counts of correlated cases come from products of shares.
    hits = 0.0 if hits < 1e-9 * n else n if hits > (1 - 1e-9) * n else hits

    def at_least(p: float) -> float:
        """Give the probability of more hits, and half of the probability of as many."""
        more = special.betainc(hits + 1, n - hits, p) if hits < n else 0.0
        same_or_more = special.betainc(hits, n - hits + 1, p) if hits > 0 else 1.0
        return float(more + same_or_more) / 2

    tiny = 1e-12
    low = 0.0
    if hits > 0 and at_least(tiny) < alpha / 2:
        low = float(optimize.brentq(lambda p: at_least(p) - alpha / 2, tiny, 1 - tiny))
    high = 1.0
    if hits < n and at_least(1 - tiny) > 1 - alpha / 2:
        high = float(optimize.brentq(lambda p: at_least(p) - 1 + alpha / 2, tiny, 1 - tiny))
    return low, high


def proportion_interval(
    hits: ArrayLike, *, groups: ArrayLike | None = None, confidence_level: float = 0.95
) -> ProportionInterval:
    """Confidence interval of a share of cases: a recall, a specificity, an accuracy.

    Images of one patient are no independent cases. With groups, the variance of the ratio of sums
    over patients says how many independent cases there are, fewer are taken where the variance
    comes from few patients (Korn and Graubard), and their interval is that of
    :func:`mid_p_interval`. Where all cases are hits, or none is, there is no such variance: the
    patients are counted then.

    Parameters
    ----------
    hits : array-like of shape (n_samples,)
        True or 1 for a hit, False or 0 for a miss; a share where a case was tried several times.
    groups : array-like of shape (n_samples,), default=None
        Patient of each case.
    confidence_level : float, default=0.95
        Coverage.

    Returns
    -------
    interval : ProportionInterval
        NaN where there is no case.

    Raises
    ------
    ValueError
        If the arrays do not match or a value lies outside [0, 1].

    References
    ----------
    Korn and Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", Survey Methodology 24 (1998), 193.

    Examples
    --------
    >>> from skcyto.model_selection._statistics._intervals import proportion_interval
    >>> found = proportion_interval([1, 1, 1, 1, 1])
    >>> found.estimate, round(found.low, 4), found.high
    (1.0, 0.5493, 1.0)
    >>> grouped = proportion_interval([1, 1, 1, 1, 1], groups=["a", "a", "b", "b", "c"])
    >>> round(grouped.low, 4)
    0.3401
    """
    _check_confidence_level(confidence_level)
    values = np.asarray(hits, dtype=float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("hits must hold one value between 0 and 1 a case")
    codes = _codes(groups, len(values))
    if len(values) == 0:
        return ProportionInterval(np.nan, np.nan, np.nan, 0.0, 0)
    n = len(values)
    share = float(values.mean())
    sizes = np.bincount(codes)
    k = len(sizes)
    n_effective = n**2 / float(np.sum(sizes**2))
    if k < n and k > 1 and 0 < share < 1:
        sums = np.bincount(codes, weights=values - share)
        variance = k / (k - 1) * float(np.sum(sums**2)) / n**2
        tails = 0.5 + confidence_level / 2
        few = (stats.t.ppf(tails, n - 1) / stats.t.ppf(tails, k - 1)) ** 2
        independent = n if variance <= 0 else min(share * (1 - share) / variance, n)
        # Fewer than one case would be no information at all, which a hit or miss is not.
        n_effective = max(1.0, float(few * independent))
    low, high = mid_p_interval(share * n_effective, n_effective, confidence_level=confidence_level)
    return ProportionInterval(share, low, high, n_effective, k)


def share_interval(
    score: float, error: float, df: float, most: float, *, confidence_level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of a score between 0 and 1 that behaves near both as a share does.

    A macro F1 or a mean of recalls is no share of cases, but runs out of room at 1 in the same
    way. It is taken for a share of as many cases as its standard error stands for, of fewer where
    few degrees of freedom are behind the error (Korn and Graubard), and of no more than `most`,
    so that scores that happen to agree do not pass for certainty.

    Parameters
    ----------
    score : float
        The score.
    error : float
        Its standard error.
    df : float
        Degrees of freedom of the standard error.
    most : float
        Largest number of cases that it can stand for.
    confidence_level : float, default=0.95
        Coverage.

    Returns
    -------
    low, high : float
        NaN where the score or its error is.

    Examples
    --------
    >>> from skcyto.model_selection._statistics._intervals import share_interval
    >>> low, high = share_interval(0.95, 0.03, df=9, most=100)
    >>> round(low, 3), round(high, 3)
    (0.844, 0.992)
    """
    _check_confidence_level(confidence_level)
    if np.isnan(score) or np.isnan(error) or df < 1:
        return np.nan, np.nan
    tails = 0.5 + confidence_level / 2
    few = float(stats.norm.ppf(tails) / stats.t.ppf(tails, df)) ** 2
    n = most
    if error > 0 and 0 < score < 1:
        n = min(few * score * (1 - score) / error**2, most)
    n = max(n, 1.0)
    return mid_p_interval(min(max(score, 0.0), 1.0) * n, n, confidence_level=confidence_level)


def auc_interval(
    y_true: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> AreaInterval:
    """Confidence interval of the area under the ROC curve of one score on one test set.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True or 1 for the positive class, False or 0 for the rest.
    scores : array-like of shape (n_samples,)
        Larger for the positive class.
    groups : array-like of shape (n_samples,), default=None
        Patient of each case.
    confidence_level : float, default=0.95
        Coverage.

    Returns
    -------
    interval : AreaInterval

    Raises
    ------
    ValueError
        If either class has fewer than two cases (with groups: comes from fewer than two groups)
        or the arrays do not match.

    See Also
    --------
    area_interval : The arithmetic.

    Examples
    --------
    >>> from skcyto.model_selection._statistics._intervals import auc_interval
    >>> found = auc_interval([0, 0, 0, 0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> found.area, round(found.low, 3), found.high
    (1.0, 0.585, 1.0)
    """
    found = stratified_areas(y_true, np.asarray(scores)[None], groups=groups)
    area = float(found.areas[0])
    low, high = area_interval(
        area,
        float(found.covariance[0, 0]),
        found.sizes_positive,
        found.sizes_negative,
        confidence_level=confidence_level,
    )
    return AreaInterval(area, low, high)


def area_interval(
    area: float,
    variance: float,
    sizes_positive: ArrayLike,
    sizes_negative: ArrayLike,
    *,
    confidence_level: float = 0.95,
    df: float | None = None,
) -> tuple[float, float]:
    r"""Confidence interval of an area under the ROC curve that knows that areas end at 1.

    It holds the areas :math:`\theta` with
    :math:`|\hat\theta - \theta| \le z \sqrt{c\, V(\theta)}`, with Newcombe's variance

    .. math:: V(\theta) = \frac{\theta (1 - \theta)}{mn} \left(1 + N \frac{1 - \theta}{2 - \theta}
              + N \frac{\theta}{1 + \theta}\right), \quad N = \frac{m + n}{2} - 1

    and :math:`c = \max(1, \hat V / V(\hat\theta))`, where :math:`\hat V` is DeLong's variance.
    With c = 1 it is method 5 of Newcombe: it has a width also where all cases are in order and
    DeLong's variance is zero. Where cases come from fewer groups, the variance is that of
    clustered data and z the quantile of t with the smaller number of groups less one; the groups
    are counted in place of the cases where there is no variance.

    Parameters
    ----------
    area : float
        The area.
    variance : float
        DeLong's variance of it, of clustered data where cases are grouped.
    sizes_positive, sizes_negative : array-like of int
        Positive and negative cases of every group; ones without groups. Zeros do not count.
    confidence_level : float, default=0.95
        Coverage.
    df : float or None, default=None
        Degrees of freedom of `variance`; None takes the normal distribution for independent cases
        and the smaller number of groups less one where cases are grouped.

    Returns
    -------
    low, high : float
        NaN where there is no variance and the area is neither 0 nor 1: a score that is the same
        for all cases has area 0.5, whatever the cases.

    References
    ----------
    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic. Part 2", Statistics in Medicine 25 (2006), 559; Hanley and McNeil, Radiology 143
    (1982), 29.
    """
    _check_confidence_level(confidence_level)
    sizes = [np.asarray(part, dtype=float) for part in (sizes_positive, sizes_negative)]
    sizes = [part[part > 0] for part in sizes]
    m, n = (float(part.sum()) for part in sizes)
    smaller = min(len(part) for part in sizes)
    tails = 0.5 + confidence_level / 2
    quantile = float(stats.norm.ppf(tails))
    scale = 1.0
    none = variance <= 1e-14
    if none and 1e-12 < area < 1 - 1e-12:
        return np.nan, np.nan
    if any(np.any(part > 1) for part in sizes):
        if none:
            m, n = (float(part.sum() ** 2 / np.sum(part**2)) for part in sizes)
        elif df is None:
            df = max(smaller - 1, 1)
    if df is not None and not none:
        quantile = float(stats.t.ppf(tails, df))
    if not none and 0 < area < 1:
        scale = max(1.0, variance / _newcombe_variance(area, m, n))
    reach = scale * quantile**2

    def outside(theta: float) -> float:
        return (area - theta) ** 2 - reach * _newcombe_variance(theta, m, n)

    # V is 0 at both ends, so that an area inside leaves exactly one limit on each side.
    tiny = 1e-12
    low, high = 0.0, 1.0
    if area > tiny:
        low = float(optimize.brentq(outside, 0.0, min(area, 1 - tiny)))
    if area < 1 - tiny:
        high = float(optimize.brentq(outside, max(area, tiny), 1.0))
    return low, high


def _newcombe_variance(area: float, m: float, n: float) -> float:
    excess = (m + n) / 2 - 1
    factor = 1 + excess * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * factor / (m * n)


def _codes(groups: ArrayLike | None, n: int) -> NDArray[Any]:
    if groups is None:
        return np.arange(n)
    codes: NDArray[Any] = np.unique(check_vector(groups, "groups"), return_inverse=True)[1]
    if len(codes) != n:
        raise ValueError(f"{len(codes)} groups were given for {n} cases")
    return codes


def _check_confidence_level(confidence_level: float) -> None:
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1")
