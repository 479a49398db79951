"""Test every feature for a difference between classes, many columns at a time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from inspect import signature

import numpy as np

from skcyto.feature_selection._blocks import batches, rows_in_memory


@dataclass(frozen=True)
class ClassTests:
    """Outcome of one test a feature.

    Parameters
    ----------
    statistics, pvalues : ndarray of shape (n_features,)
        t or F, and p; NaN where the test gives none.
    constant : ndarray of shape (n_features,), bool
        Whether all observed values are equal up to rounding.
    n_observed : ndarray of shape (n_features,), int
        Number of values that are not missing.
    """

    statistics: np.ndarray
    pvalues: np.ndarray
    constant: np.ndarray
    n_observed: np.ndarray


def compare_classes(X: np.ndarray, codes: np.ndarray, *, equal_var: bool) -> ClassTests:
    """Test each column of `X` for a difference in mean between the classes.

    Two classes: two-sided t-test (the statistic is positive where the first class has the larger
    mean). More: one-way analysis of variance. A missing value takes its row out of that column's
    test only.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        NaN is missing.
    codes : ndarray of shape (n_samples,), int
        Class of each row, 0 to n_classes - 1.
    equal_var : bool
        False for Welch's tests.

    Returns
    -------
    tests : ClassTests
    """
    n_samples, n_features = X.shape
    tests = ClassTests(
        statistics=np.full(n_features, np.nan),
        pvalues=np.full(n_features, np.nan),
        constant=np.zeros(n_features, dtype=bool),
        n_observed=np.zeros(n_features, dtype=np.intp),
    )
    tolerance = 10 * np.finfo(X.dtype).eps
    # The block, its classes, and some temporaries of the tests.
    width = rows_in_memory(n_samples, copies=6)
    for columns in batches(n_features, width):
        block = X[:, columns].astype(np.float64)
        observed = ~np.isnan(block)
        tests.n_observed[columns] = observed.sum(axis=0)
        smallest = np.fmin.reduce(block, axis=0)
        largest = np.fmax.reduce(block, axis=0)
        scale = np.maximum(np.abs(smallest), np.abs(largest))
        tests.constant[columns] = largest - smallest <= tolerance * scale
        for rows, members in _by_observed_rows(observed):
            chosen = np.flatnonzero(members & ~tests.constant[columns])
            if len(chosen) and _testable(codes[rows], codes.max() + 1, equal_var):
                statistic, pvalue = _test(block[np.ix_(rows, chosen)], codes[rows], equal_var)
                tests.statistics[columns.start + chosen] = statistic
                tests.pvalues[columns.start + chosen] = pvalue
    return tests


def _by_observed_rows(observed: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group columns that miss the same rows: (rows observed, which columns)."""
    if observed.all():
        return [(np.arange(len(observed)), np.ones(observed.shape[1], dtype=bool))]
    packed = np.packbits(observed, axis=0).T
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    return [
        (np.flatnonzero(observed[:, column]), group == index) for index, column in enumerate(first)
    ]


def _testable(codes: np.ndarray, n_classes: int, equal_var: bool) -> bool:
    counts = np.bincount(codes, minlength=n_classes)
    if equal_var:
        return bool(counts.min() >= 1 and len(codes) > n_classes)
    return bool(counts.min() >= 2)


def _test(values: np.ndarray, codes: np.ndarray, equal_var: bool) -> tuple[np.ndarray, np.ndarray]:
    from scipy import stats

    samples = [values[codes == code] for code in np.unique(codes)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # A feature that is constant inside a class makes scipy warn of lost precision; its
        # infinite statistic is right where the class means differ.
        warnings.simplefilter("ignore", RuntimeWarning)
        if len(samples) == 2:
            result = stats.ttest_ind(*samples, equal_var=equal_var)
        elif equal_var:
            result = stats.f_oneway(*samples)
        else:
            result = stats.f_oneway(*samples, equal_var=False)
    return result.statistic, result.pvalue


def has_welch_anova() -> bool:
    """Whether the installed scipy has Welch's analysis of variance (1.16 and later)."""
    from scipy import stats

    return "equal_var" in signature(stats.f_oneway).parameters
