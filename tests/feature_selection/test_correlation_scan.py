"""The blockwise scan against a scan one pair at a time, with ties, missing values and any block."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skcyto.feature_selection import _correlation_scan
from skcyto.feature_selection._correlation_scan import scan_correlated
from skcyto.feature_selection._correlations import correlate, standardise


def plain_scan(r, order, threshold):
    """Return what is kept, and the magnitude of the strongest correlation with a kept one."""
    kept, strongest = [], []
    for column in order:
        magnitudes = [abs(r[column, other]) for other in kept]
        strongest.append(max(magnitudes, default=0.0))
        if strongest[-1] <= threshold + 1e-12:
            kept.append(column)
    return kept, strongest


def pairwise(X, method):
    """Pairwise complete correlations by pandas; none for fewer than three shared rows."""
    return pd.DataFrame(X).corr(method=method, min_periods=3).fillna(0.0).to_numpy()


def draw_table(seed, n_samples, n_features, missing, rounded):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(max(2, n_features // 3), n_features))
    X = rng.normal(size=(n_samples, len(mixing))) @ mixing
    X += 0.3 * rng.normal(size=X.shape)
    if rounded:
        X = np.round(X)  # ties for the ranks, and equal coefficients
    copies = rng.integers(n_features, size=n_features // 4)
    X[:, rng.integers(n_features, size=len(copies))] = X[:, copies]
    X[rng.random(X.shape) < missing] = np.nan
    if missing:
        X[: n_samples // 4, : n_features // 2] = np.nan  # a block of cases without one structure
    varied = np.nanmax(X, axis=0, initial=-np.inf) > np.nanmin(X, axis=0, initial=np.inf)
    return X[:, varied], rng.permutation(varied.sum())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    n_samples=st.integers(6, 40),
    n_features=st.integers(2, 40),
    missing=st.sampled_from([0.0, 0.02, 0.2]),
    rounded=st.booleans(),
    method=st.sampled_from(["pearson", "spearman"]),
    threshold=st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
    block=st.integers(1, 12),
)
def test_equals_a_scan_of_single_pairs(
    seed, n_samples, n_features, missing, rounded, method, threshold, block
):
    X, order = draw_table(seed, n_samples, n_features, missing, rounded)
    expected, strongest = plain_scan(pairwise(X, method), order, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_correlation_scan, "_BLOCK", block)
        patch.setattr(_correlation_scan, "_CHUNK", 7)
        result = scan_correlated(X, order, threshold=threshold, method=method)
    assert list(order[result.kept]) == expected
    assert_allclose(np.nan_to_num(np.abs(result.correlation)), strongest, atol=1e-9)
    # Partners are kept features that come earlier in the order.
    has_partner = result.partner >= 0
    assert result.kept[result.partner[has_partner]].all()
    assert np.all(result.partner[has_partner] < np.flatnonzero(has_partner))
    assert has_partner[~result.kept].all()


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_pairwise_correlations_equal_pandas(method):
    X, _ = draw_table(3, 60, 30, 0.1, rounded=False)
    X[:, 0] += 1e6  # a mean a million times the spread
    rows = standardise(X.T.copy(), method)
    r = correlate(rows, rows, method)
    assert_allclose(r, pairwise(X, method), atol=1e-9)


def test_too_few_shared_rows_are_not_correlated():
    a = np.array([1.0, 2, 3, 4, np.nan, np.nan, np.nan])
    b = np.array([np.nan, np.nan, 3, 4, 5, 9, 7])
    X = np.column_stack([a, b])
    for method in ("pearson", "spearman"):
        result = scan_correlated(X, np.arange(2), threshold=0.5, method=method)
        assert result.kept.all()
        assert_array_equal(result.partner, [-1, -1])


def test_constant_on_the_shared_rows_is_not_correlated():
    a = np.array([5.0, 5, 5, 5, np.nan, 1])
    b = np.array([1.0, 2, 3, 4, 5, np.nan])
    X = np.column_stack([a, b])
    for method in ("pearson", "spearman"):
        assert scan_correlated(X, np.arange(2), threshold=0.1, method=method).kept.all()


def test_nothing_to_scan():
    result = scan_correlated(np.eye(3), np.arange(0), threshold=0.9, method="pearson")
    assert len(result.kept) == len(result.partner) == len(result.correlation) == 0


@pytest.mark.parametrize("missing", [False, True])
def test_working_memory_bounds_the_blocks(missing):
    X = np.random.default_rng(0).normal(size=(20, 3000))
    if missing:
        X[0, ::7] = np.nan
    scan_correlated(X[:, :10], np.arange(10), threshold=0.9, method="pearson")
    with sklearn.config_context(working_memory=1):
        tracemalloc.start()
        scan_correlated(X, np.arange(3000), threshold=0.9, method="pearson")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # One copy of the table with its mask, blocks of 1 MiB; the full matrix would be 69 MiB.
    assert peak < X.nbytes * 9 / 8 + 2.5 * 2**20
