"""Statistics over folds against other implementations, published examples and rank tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.svm import SVC

from skcyto.model_selection import (
    bayesian_correlated_ttest,
    compare_models,
    corrected_resampled_ttest,
    friedman_nemenyi_test,
)
from skcyto.model_selection._results._fold_tests import with_holm
from skcyto.model_selection._statistics._folds import corrected_interval

DIFFERENCES = np.array(
    [0.0215, -0.0043, 0.0310, 0.0127, 0.0089, 0.0402, -0.0111, 0.0176, 0.0254, 0.0033]
)


def test_against_baycomp():
    # baycomp 1.0.3, CorrelatedTTest.probs(x, y, rope=..., runs=2) for these ten differences of
    # two rounds of five folds.
    none = bayesian_correlated_ttest(DIFFERENCES, 1 / 4, rope=0)
    assert none.p_better == pytest.approx(0.9213091322198541, abs=1e-9)
    assert none.p_worse == pytest.approx(0.07869086778014589, abs=1e-9)
    some = bayesian_correlated_ttest(DIFFERENCES, 1 / 4, rope=0.01)
    expected = (0.6787035521911737, 0.30703461354833794, 0.014261834260488326)
    found = (some.p_better, some.p_equivalent, some.p_worse)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Corani and Benavoli (2015): without a region of equivalence the probability that the sign is
    # wrong is the one-sided p-value of Nadeau and Bengio's test.
    frequentist = corrected_resampled_ttest(DIFFERENCES, 1 / 4)
    assert frequentist.pvalue == pytest.approx(2 * 0.07869086778014589, abs=1e-9)


def test_scikit_learns_published_example_of_the_corrected_test():
    # "Statistical comparison of models using grid search" in scikit-learn's gallery: corrected
    # t 0.750, one-sided p 0.227; uncorrected t 2.611, p 0.005.
    X, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    comparison = compare_models(
        {"linear": SVC(kernel="linear", random_state=0), "rbf": SVC(kernel="rbf", random_state=0)},
        X,
        y,
        cv=RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0),
        scoring="roc_auc",
    )
    differences = comparison.fold_scores("rbf") - comparison.fold_scores("linear")
    published = corrected_resampled_ttest(differences, 10 / 90)
    assert published.statistic == pytest.approx(0.750, abs=0.0005)
    assert published.pvalue / 2 == pytest.approx(0.227, abs=0.0005)
    # A comparison counts the folds of one round, and is never surer than DeLong's test over cases.
    found = comparison.ttest()
    assert found["df"].item() == 9
    assert abs(found["t"].item()) <= 0.750 + 0.0005
    assert found["pvalue"].item() > published.pvalue
    naive = corrected_resampled_ttest(differences, 0)
    assert naive.statistic == pytest.approx(2.611, abs=0.0005)
    assert naive.pvalue / 2 == pytest.approx(0.005, abs=0.0005)


def test_without_correction_it_is_scipys_paired_ttest():
    found = corrected_resampled_ttest(DIFFERENCES, 0)
    expected = stats.ttest_1samp(DIFFERENCES, 0)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.pvalue == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=2, max_size=30),
    ratio=st.floats(0.05, 1),
    rope=st.floats(0, 0.2),
)
def test_invariants(values, ratio, rope):
    found = corrected_resampled_ttest(values, ratio)
    mirrored = corrected_resampled_ttest(-np.asarray(values), ratio)
    assert np.isnan(found.pvalue) or 0 <= found.pvalue <= 1
    assert mirrored.pvalue == pytest.approx(found.pvalue, nan_ok=True)
    assert not found.pvalue < corrected_resampled_ttest(values, 0).pvalue - 1e-12
    # The interval leaves zero out exactly where the test rejects.
    if np.isnan(found.pvalue):
        assert np.ptp(values) < 1e-9
        assert np.isnan(bayesian_correlated_ttest(values, ratio, rope=rope).p_better)
        return
    if abs(found.pvalue - 0.05) > 1e-6 and found.ci_low < found.ci_high:
        assert (found.ci_low > 0 or found.ci_high < 0) == (found.pvalue < 0.05)
    if np.ptp(values) < 1e-9:
        return
    belief = bayesian_correlated_ttest(values, ratio, rope=rope)
    opposite = bayesian_correlated_ttest(-np.asarray(values), ratio, rope=rope)
    assert belief.p_worse + belief.p_equivalent + belief.p_better == pytest.approx(1)
    assert opposite.p_better == pytest.approx(belief.p_worse, abs=1e-9)


@pytest.mark.parametrize("values", [[0.1] * 5, [0.3 - 0.2, 0.1, 0.1], [1.0, 1.0]])
def test_without_variance_nothing_is_known(values):
    found = corrected_resampled_ttest(values, 0.25)
    assert found.mean == pytest.approx(values[-1])
    assert np.isnan([found.statistic, found.pvalue, found.ci_low, found.effect_size]).all()
    belief = bayesian_correlated_ttest(values, 0.25)
    assert np.isnan([belief.p_better, belief.p_equivalent, belief.p_worse, belief.hdi_low]).all()
    assert np.isnan(corrected_interval(values, 0.25)).all()


def test_no_difference_at_all_is_no_finding():
    found = corrected_resampled_ttest([0.0] * 5, 0.25)
    assert (found.statistic, found.pvalue) == (0, 1)
    assert np.isnan(found.ci_low)


def test_fewer_degrees_of_freedom_and_an_error_known_otherwise():
    plain = corrected_resampled_ttest(DIFFERENCES, 1 / 4)
    fewer = corrected_resampled_ttest(DIFFERENCES, 1 / 4, df=4)
    assert fewer.statistic == plain.statistic
    assert fewer.pvalue == pytest.approx(2 * stats.t.sf(abs(plain.statistic), 4))
    assert corrected_resampled_ttest(DIFFERENCES, 1 / 4, df=50) == plain
    error = DIFFERENCES.std(ddof=1) * np.sqrt(0.35)
    assert corrected_resampled_ttest(DIFFERENCES, 1 / 4, least_error=error / 2) == plain
    wider = corrected_resampled_ttest(DIFFERENCES, 1 / 4, least_error=2 * error)
    assert wider.statistic == pytest.approx(plain.statistic / 2)
    low, high = corrected_interval(DIFFERENCES, 1 / 4, df=4)
    assert (high - low) / 2 == pytest.approx(2.7764451 * error)


def test_missing_folds_are_left_out():
    with_gap = [*DIFFERENCES[:9], np.nan]
    assert corrected_resampled_ttest(with_gap, 0.25) == corrected_resampled_ttest(
        DIFFERENCES[:9], 0.25
    )
    one = corrected_resampled_ttest([0.1, np.nan], 0.25)
    assert np.isnan(one.pvalue)
    assert one.n_folds == 1
    assert np.isnan(bayesian_correlated_ttest([0.1], 0.25).p_better)
    assert np.isnan(corrected_interval([], 0.25)[0])


def test_an_interval_stays_where_scores_can_be():
    low, high = corrected_interval([0.99, 1.0, 0.97, 1.0], 0.25, bounds=(0, 1))
    assert high == 1.0
    assert 0.9 < low < 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrected_resampled_ttest([0.1, 0.2], -1), "test_train_ratio=-1"),
        (
            lambda: corrected_resampled_ttest([0.1, 0.2], 0.2, confidence_level=95),
            "confidence_level=95",
        ),
        (lambda: corrected_resampled_ttest([[0.1, 0.2]], 0.2), "one value a fold"),
        (lambda: bayesian_correlated_ttest([0.1, 0.2], 0.2, rope=-0.1), "rope=-0.1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Demšar (2006), Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. The paper ranks
# the last two apart on "voting", where both print as 0.975.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_demsars_published_example():
    found = friedman_nemenyi_test(DEMSAR)
    np.testing.assert_allclose(found.average_ranks, [3.143, 2.000, 2.893, 1.964], atol=0.0005)
    # The paper's chi-squared, 9.28, has no correction for ties; scipy's has, and is larger.
    plain = 12 * 14 / 20 * (np.sum(found.average_ranks**2) - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.005)
    assert plain < found.statistic < 1.2 * plain
    assert found.pvalue < 0.05
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    # "The difference between the best and the worst is 1.18, smaller than the difference": no pair.
    assert found.pairwise_pvalues.min() > 0.05


@pytest.mark.parametrize(
    ("k", "alpha", "q"),
    [(3, 0.05, 2.343), (4, 0.05, 2.569), (10, 0.05, 3.164), (4, 0.10, 2.291), (10, 0.10, 2.920)],
)
def test_demsars_table_of_critical_values(k, alpha, q):
    scores = np.random.default_rng(0).random((6, k))
    found = friedman_nemenyi_test(scores, alpha=alpha).critical_difference
    assert found / np.sqrt(k * (k + 1) / 36) == pytest.approx(q, abs=0.001)


def test_critical_difference_agrees_with_the_pairwise_pvalues():
    scores = np.random.default_rng(1).random((12, 5)) + np.arange(5) * 0.3
    found = friedman_nemenyi_test(scores)
    ranks = found.average_ranks
    apart = np.abs(ranks[:, None] - ranks) > found.critical_difference
    assert apart.any()
    assert np.array_equal(apart, found.pairwise_pvalues < 0.05)


def test_models_that_always_tie():
    found = friedman_nemenyi_test(np.ones((4, 3)))
    assert (found.statistic, found.pvalue) == (0.0, 1.0)
    assert found.f_pvalue == 1.0


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.ones((4, 2)), {}, "at least three models"),
        (np.ones((1, 3)), {}, "at least two data sets"),
        ([[1, 2, np.nan], [1, 2, 3]], {}, "NaN or infinity"),
        (np.ones((4, 3)), {"alpha": 5}, "alpha=5"),
    ],
)
def test_bad_ranks_are_named(scores, options, message):
    with pytest.raises(ValueError, match=message):
        friedman_nemenyi_test(scores, **options)


def test_holm_by_hand_and_as_r_prints_it():
    # R's p.adjust(c(0.04, 0.01, NA, 0.05, 0.02, 0.03), "holm"): the NA stays and doesn't count.
    pvalues = [0.04, 0.01, np.nan, 0.05, 0.02, 0.03]
    models = list("abcdef")
    table = with_holm(
        [{"pvalue": pvalue, "p_holm": np.nan} for pvalue in pvalues],
        [(model, "baseline") for model in models],
        ["pvalue", "p_holm"],
    )
    expected = [0.09, 0.05, np.nan, 0.09, 0.08, 0.09]
    np.testing.assert_allclose(table["p_holm"], expected, atol=1e-12)
    np.testing.assert_array_equal(table["pvalue"], pvalues)
    assert table.index.tolist() == [(model, "baseline") for model in models]


@pytest.mark.parametrize("pvalues", [[], [np.nan, np.nan]])
def test_holm_without_any_pvalue(pvalues):
    rows = [{"pvalue": pvalue, "p_holm": np.nan} for pvalue in pvalues]
    keys = [(str(number), "baseline") for number in range(len(rows))]
    table = with_holm(rows, keys, ["pvalue", "p_holm"])
    assert len(table) == len(pvalues)
    assert table["p_holm"].isna().all()
