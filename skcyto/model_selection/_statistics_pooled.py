"""Statistics of pooled out-of-fold predictions: McNemar's test and the bootstrap by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from skcyto.utils._random import draw_seed


class McNemarResult(NamedTuple):
    """What :func:`mcnemar_test` finds.

    Parameters
    ----------
    statistic : float
        The smaller of the two counts for the exact test, t for the test over groups.
    pvalue : float
        Two-sided p-value.
    only_a, only_b : int
        Cases that only model a, only model b, gets right.
    """

    statistic: float
    pvalue: float
    only_a: int
    only_b: int


def mcnemar_test(
    correct_a: ArrayLike, correct_b: ArrayLike, *, groups: ArrayLike | None = None
) -> McNemarResult:
    """Compare how many cases two models get right, from the cases on which they differ.

    Parameters
    ----------
    correct_a, correct_b : array-like of bool, shape (n_samples,)
        Whether the model is right about the case.
    groups : array-like of shape (n_samples,), default=None
        Patient of each case. Where a patient has several cases, McNemar's test, which takes cases
        for independent, gives way to a t-test of the mean difference with a variance robust to
        clusters (groups less one degrees of freedom).

    Returns
    -------
    result : McNemarResult

    Raises
    ------
    ValueError
        If the arrays do not match.

    References
    ----------
    McNemar, Psychometrika 12 (1947), 153, exact form, from
    :func:`statsmodels.stats.contingency_tables.mcnemar`.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import mcnemar_test
    >>> a = np.repeat([True, True, False, False], [20, 9, 2, 4])
    >>> b = np.repeat([True, False, True, False], [20, 9, 2, 4])
    >>> result = mcnemar_test(a, b)
    >>> result.only_a, result.only_b, round(result.pvalue, 4)
    (9, 2, 0.0654)
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"one value a case is needed from both models: {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(~a & b))
    codes = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if codes is not None and len(codes) != len(a):
        raise ValueError(f"{len(codes)} groups were given for {len(a)} cases")
    if codes is None or codes.max() + 1 == len(codes):
        from statsmodels.stats.contingency_tables import mcnemar

        table = [[int(np.sum(a & b)), only_a], [only_b, int(np.sum(~a & ~b))]]
        exact = mcnemar(table, exact=True)
        return McNemarResult(float(exact.statistic), float(exact.pvalue), only_a, only_b)
    if only_a == only_b == 0:
        return McNemarResult(0.0, 1.0, only_a, only_b)
    from statsmodels.regression.linear_model import OLS

    difference = a.astype(float) - b.astype(float)
    fit = OLS(difference, np.ones_like(difference)).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    return McNemarResult(float(fit.tvalues[0]), float(fit.pvalues[0]), only_a, only_b)


class BootstrapResult(NamedTuple):
    """What :func:`bootstrap_by_group` finds.

    Parameters
    ----------
    estimate : float
        Statistic of the data as they are.
    ci_low, ci_high : float
        Percentile interval.
    standard_error : float
        Standard deviation over resamples.
    """

    estimate: float
    ci_low: float
    ci_high: float
    standard_error: float


def bootstrap_by_group(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: ArrayLike,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> BootstrapResult:
    """Bootstrap a statistic by drawing whole groups: a patient comes with all of their images.

    Parameters
    ----------
    statistic : callable
        Takes row numbers (with repetitions) and returns a float, NaN where it isn't defined.
    groups : array-like of shape (n_samples,)
        Group of each row; ``range(n_samples)`` for the ordinary bootstrap.
    n_resamples : int, default=1000
        Number of draws.
    confidence : float, default=0.95
        Coverage of the percentile interval.
    random_state : int, RandomState or None, default=None
        Seed of the draws.

    Returns
    -------
    result : BootstrapResult
        Draws in which the statistic is NaN (no case of a class) are left out of the interval.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or more than a tenth of the draws give NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import bootstrap_by_group
    >>> value = np.array([1.0, 1.0, 2.0, 4.0, 4.0, 5.0])
    >>> patient = ["a", "a", "b", "c", "c", "d"]
    >>> result = bootstrap_by_group(lambda rows: value[rows].mean(), patient, random_state=0)
    >>> round(result.estimate, 3)
    2.833
    """
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(codes.max()) + 1 if len(codes) else 0
    if n_groups < 2:
        raise ValueError(f"a bootstrap needs at least two groups; there are {n_groups}")
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    seed = np.random.default_rng(draw_seed(random_state))

    def of_groups(drawn: NDArray[np.intp]) -> float:
        return float(statistic(np.concatenate([members[group] for group in drawn])))

    # scipy resamples one list of independent units: here the units are the groups.
    result = stats.bootstrap(
        (np.arange(n_groups),),
        of_groups,
        vectorized=False,
        n_resamples=n_resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=seed,
    )
    draws = result.bootstrap_distribution
    valid = draws[~np.isnan(draws)]
    if len(valid) < 0.9 * len(draws):
        raise ValueError(
            f"the statistic is undefined in {len(draws) - len(valid)} of {len(draws)} bootstrap "
            "draws: too few groups hold the rarest class"
        )
    low, high = np.quantile(valid, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return BootstrapResult(
        float(statistic(np.arange(len(codes)))),
        float(low),
        float(high),
        float(np.std(valid, ddof=1)),
    )
