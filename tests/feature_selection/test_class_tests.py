"""Tests of single columns at the smallest samples, and how much is computed at a time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn import config_context

from skcyto.feature_selection._blocks import batches, rows_in_memory
from skcyto.feature_selection._class_tests import compare_classes
from skcyto.feature_selection._correlations import correlate, standardise

VALUES = np.array([1.0, 2.5, 4.0, 4.5, 7.0, 9.5])


def compare(values, codes, equal_var):
    column = np.asarray(values, dtype=np.float64)[:, None]
    found = compare_classes(column, np.asarray(codes), equal_var=equal_var)
    return found.statistics[0], found.pvalues[0]


def test_the_smallest_samples_that_can_be_tested():
    # A case more than classes is a degree of freedom; Welch needs a variance of each class.
    found = compare(VALUES[:3], [0, 0, 1], True)
    assert_allclose(found, stats.ttest_ind(VALUES[:2], VALUES[2:3]))
    assert np.isnan(compare(VALUES[:3], [0, 0, 1], False)).all()
    assert np.isnan(compare(VALUES[:2], [0, 1], True)).all()
    found = compare(VALUES[:4], [0, 0, 1, 1], False)
    assert_allclose(found, stats.ttest_ind(VALUES[:2], VALUES[2:4], equal_var=False))
    found = compare(VALUES[:4], [0, 0, 1, 2], True)
    assert_allclose(found, stats.f_oneway(VALUES[:2], VALUES[2:3], VALUES[3:4]))
    assert np.isnan(compare(VALUES[:3], [0, 1, 2], True)).all()


def test_a_class_whose_values_are_all_missing_cannot_be_tested():
    values = np.where(np.arange(6) < 4, VALUES, np.nan)
    codes = np.array([0, 0, 1, 1, 2, 2])
    found = compare_classes(values[:, None], codes, equal_var=True)
    assert np.isnan(found.pvalues[0])
    assert found.n_observed[0] == 4
    assert not found.constant[0]


def test_what_differs_by_rounding_is_constant():
    eps = np.finfo(np.float64).eps
    base = np.full(6, 1.0)
    columns = np.stack([base, base, -1000 * base, 0 * base], axis=1)
    columns[0] += [5 * eps, 40 * eps, 5000 * eps, 0]
    found = compare_classes(columns, np.array([0, 0, 0, 1, 1, 1]), equal_var=True)
    assert_array_equal(found.constant, [True, False, True, True])
    assert np.isnan(found.pvalues[[0, 2, 3]]).all()
    # Single precision has coarser rounding.
    single = np.ones((6, 1), dtype=np.float32)
    single[0] += 5 * np.finfo(np.float32).eps
    assert compare_classes(single, np.array([0, 0, 0, 1, 1, 1]), equal_var=True).constant[0]


def test_columns_are_tested_in_their_places_whatever_the_memory():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 200))
    X[rng.random(X.shape) < 0.02] = np.nan
    codes = np.arange(30) % 2
    whole = compare_classes(X, codes, equal_var=True)
    with config_context(working_memory=0.01):  # seven columns at a time
        parts = compare_classes(X, codes, equal_var=True)
    assert_allclose(parts.pvalues, whole.pvalues, rtol=1e-12)
    expected = stats.ttest_ind(X[codes == 0], X[codes == 1], nan_policy="omit")
    assert_allclose(whole.statistics, expected.statistic)
    assert_allclose(whole.pvalues, expected.pvalue)
    assert_array_equal(whole.n_observed, (~np.isnan(X)).sum(axis=0))


def test_batches_by_hand():
    assert list(batches(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(batches(4, 2)) == [slice(0, 2), slice(2, 4)]
    assert list(batches(0, 3)) == []


def test_rows_that_fit_the_working_memory():
    with config_context(working_memory=3):  # MiB
        # Values of 8 bytes: 3 * 1048576 / (8 * 1000) = 393.2, and a quarter of it of four copies.
        assert rows_in_memory(1000) == 393
        assert rows_in_memory(1000, copies=4) == 98
        assert rows_in_memory(0) == rows_in_memory(1) == 393216
        assert rows_in_memory(10**9) == 1


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_of_huge_and_far_values(method):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(4, 40))
    expected = np.corrcoef(table) if method == "pearson" else stats.spearmanr(table, axis=1)[0]
    scaled = table * np.array([[1e200], [1.0], [1e-200], [1.0]]) + np.array([[0], [1e6], [0], [0]])
    rows = standardise(scaled.copy(), method)
    assert_allclose(correlate(rows, rows, method), expected, atol=1e-9)
