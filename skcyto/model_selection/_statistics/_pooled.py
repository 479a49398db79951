"""Statistics of pooled out-of-fold predictions: McNemar's test and the bootstrap by group."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from skcyto.utils._random import draw_seed
from skcyto.utils._validation import RANDOM_STATE, check_parameters, check_vector


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
    df : int or None
        Degrees of freedom of the test over groups; None for the exact test.

    Examples
    --------
    >>> from skcyto.model_selection import mcnemar_test
    >>> mcnemar_test([True, True, False], [True, False, True]).only_a
    1
    """

    statistic: float
    pvalue: float
    only_a: int
    only_b: int
    df: int | None = None


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
        NaN where the difference is the same in every group: it has no variance.

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
    a, b = _as_boolean(correct_a, "correct_a"), _as_boolean(correct_b, "correct_b")
    if a.shape != b.shape:
        raise ValueError(f"one value a case is needed from both models: {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(~a & b))
    codes = (
        None
        if groups is None
        else np.unique(check_vector(groups, "groups"), return_inverse=True)[1]
    )
    if codes is not None and len(codes) != len(a):
        raise ValueError(f"{len(codes)} groups were given for {len(a)} cases")
    if codes is None or codes.max() + 1 == len(codes):
        from statsmodels.stats.contingency_tables import mcnemar

        table = [[int(np.sum(a & b)), only_a], [only_b, int(np.sum(~a & ~b))]]
        exact = mcnemar(table, exact=True)
        return McNemarResult(float(exact.statistic), float(exact.pvalue), only_a, only_b)
    if only_a == only_b == 0:
        return McNemarResult(0.0, 1.0, only_a, only_b, int(codes.max()))
    from statsmodels.regression.linear_model import OLS

    difference = a.astype(float) - b.astype(float)
    fit = OLS(difference, np.ones_like(difference)).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    t, pvalue = float(fit.tvalues[0]), float(fit.pvalues[0])
    if not np.isfinite(t) or fit.bse[0] <= 1e-12:
        t = pvalue = np.nan
    return McNemarResult(t, pvalue, only_a, only_b, int(codes.max()))


def discount(result: McNemarResult, factor: float, df: int) -> McNemarResult:
    """Widen McNemar's test for predictions that vary more than independent ones.

    Parameters
    ----------
    result : McNemarResult
        The test of independent cases, or of groups.
    factor : float
        By how much the variance is larger; 1 changes nothing in the test of cases.
    df : int
        Largest degrees of freedom of the test over groups.

    Returns
    -------
    result : McNemarResult
        The exact test of as many differing cases as are left, or t with a larger variance.
    """
    differing = result.only_a + result.only_b
    if differing == 0 or np.isnan(result.pvalue):
        return result
    if result.df is None:
        smaller, n = min(result.only_a, result.only_b) / factor, differing / factor
        # Binomial tail at one half, also for counts that are not whole.
        pvalue = min(1.0, 2 * float(special.betainc(n - smaller, smaller + 1, 0.5)))
        return result._replace(pvalue=pvalue)
    t, df = result.statistic / np.sqrt(factor), max(min(df, result.df), 1)
    return result._replace(statistic=t, pvalue=float(2 * stats.t.sf(abs(t), df)), df=df)


def _as_boolean(correct: ArrayLike, name: str) -> NDArray[np.bool_]:
    values = check_vector(correct, name)
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{name} must say of each case whether it was predicted rightly, True or False; it "
            f"holds {np.unique(values)[:5].tolist()}: compare predictions with the true labels"
        )
    return values.astype(bool)


@dataclass(frozen=True)
class BootstrapResult:
    """What :func:`bootstrap_by_group` finds, for one statistic or several.

    Parameters
    ----------
    estimate : ndarray of shape (n_statistics,)
        Statistics of the data as they are.
    draws : ndarray of shape (n_statistics, n_resamples)
        Statistics of the resampled data, NaN where undefined.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import BootstrapResult
    >>> result = BootstrapResult(np.array([0.5]), np.linspace(0, 1, 101)[None])
    >>> low, high = result.quantiles(0.9)
    >>> low.round(2), high.round(2)
    (array([0.05]), array([0.95]))
    """

    estimate: NDArray[np.float64]
    draws: NDArray[np.float64]

    def quantiles(
        self, confidence_level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return percentile intervals.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Coverage.

        Returns
        -------
        low, high : ndarray of shape (n_statistics,)
            NaN for a statistic that isn't defined.
        """
        if not 0 < confidence_level < 1:
            raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1")
        limits = np.full((2, len(self.estimate)), np.nan)
        for row in np.flatnonzero(~np.isnan(self.estimate)):
            limits[:, row] = np.nanquantile(
                self.draws[row], [0.5 - confidence_level / 2, 0.5 + confidence_level / 2]
            )
        return limits[0], limits[1]

    def less(self, row: int) -> BootstrapResult:
        """Return the paired differences of all statistics from one of them.

        Parameters
        ----------
        row : int
            Which one.

        Returns
        -------
        result : BootstrapResult
        """
        return BootstrapResult(
            self.estimate - self.estimate[row], self.draws - self.draws[row : row + 1]
        )


@check_parameters(statistic=[callable], n_resamples=[Integral], random_state=RANDOM_STATE)
def bootstrap_by_group(
    statistic: Callable[[NDArray[np.intp]], float | NDArray[np.float64]],
    groups: ArrayLike,
    *,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> BootstrapResult:
    """Bootstrap statistics by drawing whole groups: a patient comes with all of their images.

    Parameters
    ----------
    statistic : callable
        Takes row numbers (with repetitions) and returns a float or an array of them, NaN where
        one isn't defined.
    groups : array-like of shape (n_samples,)
        Group of each row; ``range(n_samples)`` for the ordinary bootstrap.
    n_resamples : int, default=1000
        Number of draws, at least 10.
    random_state : int, RandomState or None, default=None
        Seed of the draws.

    Returns
    -------
    result : BootstrapResult

    Raises
    ------
    ValueError
        If there are fewer than two groups, or a statistic that is defined for the data is not so
        in more than a tenth of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import bootstrap_by_group
    >>> value = np.array([1.0, 1.0, 2.0, 4.0, 4.0, 5.0])
    >>> patient = ["a", "a", "b", "c", "c", "d"]
    >>> result = bootstrap_by_group(lambda rows: value[rows].mean(), patient, random_state=0)
    >>> result.estimate.round(3)
    array([2.833])
    >>> low, high = result.quantiles(0.95)
    >>> bool(low[0] < 2.833 < high[0])
    True
    """
    if n_resamples < 10:
        raise ValueError(f"n_resamples={n_resamples!r} must be at least 10")
    _, codes = np.unique(check_vector(groups, "groups"), return_inverse=True)
    n_groups = int(codes.max()) + 1 if len(codes) else 0
    if n_groups < 2:
        raise ValueError(f"a bootstrap needs at least two groups; there are {n_groups}")
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    estimate = np.atleast_1d(np.asarray(statistic(np.arange(len(codes))), dtype=float))

    def of_groups(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        rows = np.concatenate([members[group] for group in drawn])
        return np.atleast_1d(np.asarray(statistic(rows), dtype=float))

    # scipy resamples one list of independent units: here the units are the groups.
    with warnings.catch_warnings():
        # Statistics that are undefined are dealt with below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n_groups),),
            of_groups,
            vectorized=False,
            n_resamples=n_resamples,
            method="percentile",
            random_state=np.random.default_rng(draw_seed(random_state)),
        )
    draws = np.reshape(result.bootstrap_distribution, (len(estimate), n_resamples))
    undefined = np.isnan(draws[~np.isnan(estimate)]).mean(axis=1) if len(estimate) else np.zeros(0)
    if np.any(undefined > 0.1):
        raise ValueError(
            f"the statistic is undefined in {undefined.max():.0%} of the bootstrap draws: too few "
            "groups hold the rarest class"
        )
    return BootstrapResult(estimate, draws)
