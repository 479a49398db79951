"""Statistics of pooled predictions against plain references and other implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from skcyto.model_selection import bootstrap_by_group, delong_test, mcnemar_test
from skcyto.model_selection._statistics._delong import delong_covariance
from skcyto.model_selection._statistics._pooled import discount


def two_scores(n=60, seed=7):
    rng = np.random.RandomState(seed)
    true = (rng.rand(n) < 0.35).astype(int)
    a = np.round(true * 0.8 + rng.randn(n), 1)
    b = np.round(true * 0.5 + 0.5 * a + rng.randn(n), 1)
    return true, a, b


def plain_covariance(true, scores, groups):
    """Obuchowski (1997) by its definition, pair by pair and cluster by cluster."""
    positive, negative = np.flatnonzero(true == 1), np.flatnonzero(true == 0)
    m, n = len(positive), len(negative)
    kernel = [
        (s[positive][:, None] > s[negative]) + 0.5 * (s[positive][:, None] == s[negative])
        for s in scores
    ]
    areas = [k.mean() for k in kernel]
    labels = np.unique(groups)
    v10 = np.zeros((len(scores), len(labels)))
    v01 = np.zeros((len(scores), len(labels)))
    for i, k in enumerate(kernel):
        for c, label in enumerate(labels):
            inside = groups[positive] == label
            v10[i, c] = k[inside].mean(axis=1).sum() - inside.sum() * areas[i]
            inside = groups[negative] == label
            v01[i, c] = k[:, inside].mean(axis=0).sum() - inside.sum() * areas[i]
    i10 = len(np.unique(groups[positive]))
    i01 = len(np.unique(groups[negative]))
    covariance = np.zeros((len(scores), len(scores)))
    for i in range(len(scores)):
        for j in range(len(scores)):
            s10 = i10 / ((i10 - 1) * m) * (v10[i] * v10[j]).sum()
            s01 = i01 / ((i01 - 1) * n) * (v01[i] * v01[j]).sum()
            size = len(labels)
            s11 = size / (size - 1) * (v10[i] * v01[j]).sum()
            s11_mirrored = size / (size - 1) * (v10[j] * v01[i]).sum()
            covariance[i, j] = s10 / m + s01 / n + (s11 + s11_mirrored) / (m * n)
    return np.array(areas), covariance


def test_delong_against_mlstatkit():
    # MLstatkit 0.1.91, Delong_test(true, a, b), which has the opposite sign.
    found = delong_test(*two_scores())
    assert found.statistic == pytest.approx(0.7583417988185766, abs=1e-9)
    # MLstatkit compares with the normal distribution; here it is t, with the 24 cases of the rarer
    # class less one.
    assert 2 * stats.norm.sf(found.statistic) == pytest.approx(0.4482463903952386, abs=1e-9)
    rarer = min(sum(two_scores()[0]), 60 - sum(two_scores()[0]))
    assert found.df == rarer - 1
    assert found.pvalue == pytest.approx(2 * stats.t.sf(found.statistic, rarer - 1))
    assert found.auc_a == pytest.approx(0.7822222222222222)
    assert found.auc_b == pytest.approx(0.7074074074074074)
    error = np.sqrt(0.009732966347781162)
    half = stats.t.ppf(0.975, rarer - 1) * error
    assert found.ci_high - found.difference == pytest.approx(half, abs=1e-9)


def test_delong_areas_are_scikit_learns():
    true, a, b = two_scores(80, 3)
    areas, _ = delong_covariance(true, [a, b])
    np.testing.assert_allclose(areas, [roc_auc_score(true, a), roc_auc_score(true, b)])


@pytest.mark.parametrize("seed", range(4))
def test_covariance_against_the_definition(seed):
    rng = np.random.RandomState(seed)
    true, a, b = two_scores(50, seed)
    for groups in (np.arange(50), rng.randint(0, 15, 50)):
        areas, covariance = delong_covariance(true, [a, b], groups=groups)
        expected_areas, expected = plain_covariance(true, [a, b], groups)
        np.testing.assert_allclose(areas, expected_areas, atol=1e-12)
        np.testing.assert_allclose(covariance, expected, atol=1e-12)


def test_copies_of_a_patient_add_no_evidence():
    true, a, b = two_scores()
    once = delong_test(true, a, b)
    three = [np.repeat(part, 3) for part in (true, a, b)]
    naive = delong_test(*three)
    grouped = delong_test(*three, groups=np.repeat(np.arange(len(true)), 3))
    assert grouped.pvalue == pytest.approx(once.pvalue, abs=1e-9)
    assert abs(naive.statistic) > 1.6 * abs(once.statistic)


def plain_stratified(true, scores, strata):
    """Area over the pairs within strata, one by one."""
    wins = pairs = 0
    for i in np.flatnonzero(true == 1):
        for j in np.flatnonzero((true == 0) & (strata == strata[i])):
            wins += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
            pairs += 1
    return wins / pairs


def test_only_cases_of_the_same_fold_are_compared():
    true, a, b = two_scores(80, 5)
    strata = np.arange(80) % 6
    strata[true == 0] = np.where(strata[true == 0] == 5, 4, strata[true == 0])
    # A fold without negative cases says nothing, one of shifted scores neither.
    shifted = a + 100.0 * strata
    found = delong_test(true, shifted, b, strata=strata)
    assert found.auc_a == pytest.approx(plain_stratified(true, a, strata))
    assert found.auc_b == pytest.approx(plain_stratified(true, b, strata))
    assert delong_test(true, a, b, strata=strata).pvalue == pytest.approx(found.pvalue)
    # One stratum is none.
    assert delong_test(true, a, b, strata=np.zeros(80)) == delong_test(true, a, b)


def test_variance_within_strata_is_that_of_the_areas():
    # Drawn again and again, areas within small folds vary as their variance says, or a bit less.
    rng = np.random.default_rng(4)
    true = np.tile([1, 0, 0, 0, 0, 0], 10)
    strata = np.repeat(np.arange(10), 6)
    found = [delong_covariance(true, rng.normal(size=60) + true, strata=strata) for _ in range(400)]
    said = np.mean([covariance[0, 0] for _, covariance in found])
    seen = np.var([areas[0] for areas, _ in found])
    assert 0.9 < said / seen < 1.5


def test_folds_of_one_class_make_no_order():
    true, a, b = two_scores(20, 5)
    with pytest.raises(ValueError, match="no test part holds both classes"):
        delong_test(true, a, b, strata=np.arange(20))
    with pytest.raises(ValueError, match="2 strata were given for 20 labels"):
        delong_test(true, a, b, strata=[0, 1])


def test_a_difference_of_areas_without_variance_is_no_proof():
    true = np.repeat([0, 1], 5)
    found = delong_test(true, np.arange(10), np.zeros(10))
    assert found.difference == 0.5
    assert np.isnan([found.statistic, found.pvalue, found.ci_low, found.ci_high]).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_delong_invariants(seed):
    true, a, b = two_scores(40, seed)
    if min(true.sum(), (1 - true).sum()) < 2:
        return
    found = delong_test(true, a, b)
    swapped = delong_test(true, b, a)
    assert swapped.statistic == pytest.approx(-found.statistic)
    # Only the order of scores matters, and which class is called positive doesn't.
    assert delong_test(true, np.exp(a), 3 * b - 1).pvalue == pytest.approx(found.pvalue)
    assert delong_test(1 - true, -a, -b).pvalue == pytest.approx(found.pvalue)
    assert delong_test(true, a, a).pvalue == 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4]), {}, "there are 1 positive and 3 negative"),
        (([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4]), {"groups": [0, 1, 0, 2]}, "1 negative"),
        (([0, 2, 0, 2], [1, 2, 3, 4], [1, 2, 3, 4]), {}, "compare it with the positive label"),
        (([0, 1, 0, 1], [1, 2, 3, np.nan], [1, 2, 3, 4]), {}, "NaN or infinity"),
        (([0, 1, 0], [1, 2, 3, 4], [1, 2, 3, 4]), {}, "4 scores were given for 3 labels"),
        (([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4]), {"groups": [0, 1]}, "2 groups were given"),
        (([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4]), {"confidence_level": 2}, "confidence_level=2"),
    ],
)
def test_bad_areas_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        delong_test(*arguments, **options)


@pytest.mark.parametrize(("only_a", "only_b"), [(86, 150), (9, 2), (0, 0), (5, 0)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    # 86 and 150 are the discordant pairs of Agresti's approval ratings (Categorical Data
    # Analysis, 2nd ed., Table 10.1).
    a = np.repeat([True, True, False, False], [30, only_a, only_b, 20])
    b = np.repeat([True, False, True, False], [30, only_a, only_b, 20])
    found = mcnemar_test(a, b)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert found.pvalue == pytest.approx(expected, abs=1e-9)


def test_groups_of_one_change_nothing_for_mcnemar():
    rng = np.random.default_rng(0)
    a, b = rng.random(40) < 0.7, rng.random(40) < 0.5
    assert mcnemar_test(a, b, groups=rng.permutation(40)) == mcnemar_test(a, b)


def test_mcnemar_over_groups_by_the_sandwich_formula():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 4)
    a, b = rng.random(80) < 0.8, rng.random(80) < 0.6
    found = mcnemar_test(a, b, groups=groups)
    d = a.astype(float) - b
    sums = np.bincount(groups, weights=d - d.mean())
    # Stata's small-sample factor, as statsmodels has it: G / (G - 1) * (n - 1) / (n - 1).
    variance = 20 / 19 * np.sum(sums**2) / 80**2
    t = d.mean() / np.sqrt(variance)
    assert found.statistic == pytest.approx(t, abs=1e-9)
    assert found.pvalue == pytest.approx(2 * stats.t.sf(abs(t), 19), abs=1e-9)


def test_copies_do_not_sharpen_mcnemar():
    rng = np.random.default_rng(2)
    a, b = rng.random(60) < 0.75, rng.random(60) < 0.6
    copies = np.repeat(a, 5), np.repeat(b, 5)
    grouped = mcnemar_test(*copies, groups=np.repeat(np.arange(60), 5))
    assert mcnemar_test(*copies).pvalue < 0.2 * grouped.pvalue
    assert grouped.pvalue == pytest.approx(mcnemar_test(a, b).pvalue, abs=0.08)
    same = mcnemar_test(*[np.repeat(a, 5)] * 2, groups=np.repeat(np.arange(60), 5))
    assert same.pvalue == 1.0


@pytest.mark.parametrize(("only_a", "only_b"), [(9, 2), (5, 0), (4, 4)])
def test_discounted_mcnemar_is_the_exact_test_of_fewer_cases(only_a, only_b):
    a = np.repeat([True, False], [2 * only_a, 2 * only_b])
    result = mcnemar_test(a, ~a)
    assert discount(result, 1.0, 99).pvalue == pytest.approx(result.pvalue)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue
    assert discount(result, 2.0, 99).pvalue == pytest.approx(expected)


def test_discounted_mcnemar_over_groups():
    rng = np.random.default_rng(1)
    a, b = rng.random(80) < 0.8, rng.random(80) < 0.6
    result = mcnemar_test(a, b, groups=np.repeat(np.arange(20), 4))
    assert result.df == 19
    found = discount(result, 2.0, 5)
    assert found.statistic == pytest.approx(result.statistic / np.sqrt(2))
    assert found.pvalue == pytest.approx(2 * stats.t.sf(abs(found.statistic), 5))


def test_bad_hits_are_named():
    with pytest.raises(ValueError, match="one value a case"):
        mcnemar_test([True, False], [True])
    with pytest.raises(ValueError, match="3 groups were given for 2"):
        mcnemar_test([True, False], [True, True], groups=[0, 1, 2])


def test_bootstrap_of_single_cases_is_scipys():
    x = np.random.default_rng(0).normal(size=30)
    found = bootstrap_by_group(lambda rows: x[rows].mean(), range(30), n_resamples=2000)
    low, high = found.quantiles(0.9)
    expected = stats.bootstrap((x,), np.mean, confidence_level=0.9, method="percentile")
    interval = expected.confidence_interval
    assert low[0] == pytest.approx(interval.low, abs=0.03)
    assert high[0] == pytest.approx(interval.high, abs=0.03)


def test_bootstrap_draws_whole_groups():
    groups = np.repeat(np.arange(10), 8)
    x = np.repeat(np.random.default_rng(1).normal(size=10), 8)
    seen = []

    def mean(rows):
        seen.append(np.bincount(groups[rows], minlength=10))
        return x[rows].mean()

    whole = bootstrap_by_group(mean, groups, n_resamples=400, random_state=0)
    assert all((counts % 8 == 0).all() for counts in seen)
    single = bootstrap_by_group(lambda rows: x[rows].mean(), range(80), random_state=0)
    # Eight copies of ten values: the ordinary bootstrap is too sure by a factor of sqrt(8).
    ratio = whole.draws.std() / single.draws.std()
    assert ratio == pytest.approx(np.sqrt(8), rel=0.2)


def test_bootstrap_is_reproducible_paired_and_leaves_undefined_statistics_out():
    x = np.random.default_rng(2).normal(size=(3, 40))
    x[2] = np.nan

    def means(rows):
        return x[:, rows].mean(axis=1)

    first = bootstrap_by_group(means, range(40), n_resamples=100, random_state=5)
    again = bootstrap_by_group(means, range(40), n_resamples=100, random_state=5)
    np.testing.assert_array_equal(first.draws, again.draws)
    difference = first.less(0)
    assert np.all(difference.draws[0] == 0)
    np.testing.assert_allclose(difference.draws[1], first.draws[1] - first.draws[0])
    assert np.isnan(first.quantiles()[0][2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_by_group(lambda rows: 0.0, [1, 1, 1]), "at least two groups"),
        (lambda: bootstrap_by_group(lambda rows: 0.0, [1, 2], n_resamples=3), "n_resamples=3"),
        (
            lambda: bootstrap_by_group(
                lambda rows: 1.0 if len(set(rows)) > 3 else np.nan, range(4), n_resamples=50
            ),
            "too few groups hold the rarest class",
        ),
        (
            lambda: bootstrap_by_group(lambda rows: 1.0, range(4), n_resamples=10).quantiles(95),
            "confidence_level=95",
        ),
    ],
)
def test_bad_bootstraps_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
