"""Friedman's test and Nemenyi's critical difference: several models on several data sets."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from skcyto.utils._validation import check_parameters


class FriedmanNemenyiResult(NamedTuple):
    """What :func:`friedman_nemenyi_test` finds.

    Parameters
    ----------
    statistic : float
        Friedman's chi-squared, corrected for ties.
    pvalue : float
        Its p-value.
    f_statistic, f_pvalue : float
        Iman and Davenport's F, less conservative, with its p-value.
    average_ranks : ndarray of shape (n_models,)
        1 is best.
    critical_difference : float
        Two models whose average ranks differ by less are not told apart.
    pairwise_pvalues : ndarray of shape (n_models, n_models)
        Nemenyi's p-values, corrected for all pairs.

    Examples
    --------
    >>> from skcyto.model_selection import friedman_nemenyi_test
    >>> result = friedman_nemenyi_test([[0.7, 0.8, 0.9], [0.6, 0.7, 0.65], [0.5, 0.6, 0.7]])
    >>> result.average_ranks.round(2)
    array([3.  , 1.67, 1.33])
    """

    statistic: float
    pvalue: float
    f_statistic: float
    f_pvalue: float
    average_ranks: NDArray[np.float64]
    critical_difference: float
    pairwise_pvalues: NDArray[np.float64]


@check_parameters(alpha=[Real])
def friedman_nemenyi_test(scores: ArrayLike, *, alpha: float = 0.05) -> FriedmanNemenyiResult:
    r"""Test whether models differ over several data sets, and which pairs do.

    .. math:: CD = q_\alpha \sqrt{\frac{k(k+1)}{6N}}

    Parameters
    ----------
    scores : array-like of shape (n_datasets, n_models)
        One score per data set and model; larger is better.
    alpha : float, default=0.05
        Level of the critical difference.

    Returns
    -------
    result : FriedmanNemenyiResult

    Raises
    ------
    ValueError
        If there are fewer than three models or two data sets, a score is missing, or `alpha` is
        not in (0, 1).

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), 1.

    Examples
    --------
    >>> from skcyto.model_selection import friedman_nemenyi_test
    >>> scores = [[0.7, 0.8, 0.9], [0.6, 0.7, 0.65], [0.8, 0.81, 0.9], [0.5, 0.6, 0.7]]
    >>> result = friedman_nemenyi_test(scores)
    >>> result.average_ranks
    array([3.  , 1.75, 1.25])
    >>> round(result.critical_difference, 3)
    1.657
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise ValueError(
            "Friedman's test needs at least three models on at least two data sets; the scores "
            f"have shape {table.shape} (data sets, models)"
        )
    if not np.all(np.isfinite(table)):
        raise ValueError("the scores hold NaN or infinity: every model needs one on every data set")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie between 0 and 1")
    n, k = table.shape
    ranks = stats.rankdata(-table, axis=1)
    average = ranks.mean(axis=0)
    if np.ptp(ranks) == 0:  # scipy divides by zero where every model ties on every data set
        chi2, pvalue = 0.0, 1.0
    else:
        friedman: Any = stats.friedmanchisquare(*table.T)
        chi2, pvalue = float(friedman.statistic), float(friedman.pvalue)
    remainder = n * (k - 1) - chi2
    f = np.inf if remainder <= 1e-12 else (n - 1) * chi2 / remainder
    error = np.sqrt(k * (k + 1) / (6 * n))
    # The studentised range has infinite degrees of freedom here; tables of q already hold the
    # division by the square root of two.
    q = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / np.sqrt(2)
    distance = np.abs(average[:, None] - average[None, :]) / error * np.sqrt(2)
    pairwise = np.clip(stats.studentized_range.sf(distance, k, np.inf), 0.0, 1.0)
    np.fill_diagonal(pairwise, 1.0)
    return FriedmanNemenyiResult(
        chi2,
        pvalue,
        float(f),
        float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
        average,
        float(q * error),
        pairwise,
    )
