"""Intervals of proportions and areas against other implementations, definitions and coverage."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from skcyto.model_selection._statistics._delong import delong_covariance
from skcyto.model_selection._statistics._intervals import (
    area_interval,
    auc_interval,
    mid_p_interval,
    proportion_interval,
    share_interval,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 5), (5, 5), (81, 263), (15, 148), (1, 29)])
def test_limits_are_where_the_mid_p_tails_are_half_of_alpha(hits, n):
    low, high = mid_p_interval(hits, n)
    if hits > 0:
        tail = stats.binom.sf(hits, n, low) + stats.binom.pmf(hits, n, low) / 2
        assert tail == pytest.approx(0.025, abs=1e-9)
    if hits < n:
        tail = stats.binom.cdf(hits - 1, n, high) + stats.binom.pmf(hits, n, high) / 2
        assert tail == pytest.approx(0.025, abs=1e-9)
    # Inside the exact interval, by definition.
    exact = proportion_confint(hits, n, method="beta")
    assert exact[0] <= low <= hits / n <= high <= exact[1]


def test_published_mid_p_intervals():
    # Newcombe, Statistics in Medicine 17 (1998), 857, Table I, method 6.
    for hits, n, low, high in (
        (81, 263, 0.2544, 0.3658),
        (15, 148, 0.0601, 0.1581),
        (0, 20, 0.0, 0.1391),
        (1, 29, 0.0017, 0.1585),
    ):
        assert mid_p_interval(hits, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [5, 8, 15, 30, 60])
def test_coverage_of_a_proportion_is_close_to_nominal_also_near_one(n):
    hits = np.arange(n + 1)
    limits = np.array([mid_p_interval(int(k), n) for k in hits])
    for p in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999):
        inside = (limits[:, 0] <= p) & (p <= limits[:, 1])
        assert stats.binom.pmf(hits, n, p)[inside].sum() > 0.92


def test_cases_that_are_alike_within_a_patient_count_once():
    once = np.repeat([True, False], [9, 3])
    alone = proportion_interval(once)
    assert (alone.low, alone.high) == mid_p_interval(9, 12)
    assert proportion_interval(once, groups=range(12)) == alone
    copies = proportion_interval(np.repeat(once, 4), groups=np.repeat(range(12), 4))
    assert copies.low < alone.low
    assert copies.high > alone.high
    assert copies.n_clusters == 12
    # Korn and Graubard: the variance by clusters, as the sandwich has it, and t for z.
    hits = np.repeat(once, 4).astype(float)
    fit = OLS(hits, np.ones(48)).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(range(12), 4)}, use_t=True
    )
    independent = 0.75 * 0.25 / fit.bse[0] ** 2
    expected = independent * (stats.t.ppf(0.975, 47) / stats.t.ppf(0.975, 11)) ** 2
    assert copies.n_effective == pytest.approx(expected)


def test_without_a_miss_the_patients_are_counted():
    found = proportion_interval(np.ones(30), groups=np.repeat(range(3), 10))
    # Half of p**3 is 0.025.
    assert found.low == pytest.approx(0.05 ** (1 / 3))
    assert found.high == 1
    assert proportion_interval(np.zeros(5)).high == pytest.approx(1 - 0.05 ** (1 / 5))


def test_shares_of_several_rounds_and_no_case():
    found = proportion_interval([1, 1, 0.5, 1])
    assert found.estimate == 0.875
    assert mid_p_interval(3, 4)[0] < found.low < mid_p_interval(4, 4)[0]
    empty = proportion_interval([])
    assert np.isnan([empty.estimate, empty.low, empty.high]).all()
    assert mid_p_interval(0, 0) == (0, 1)


def newcombe(area, m, n, z):
    """Method 5 by a search over a fine grid."""
    theta = np.linspace(0, 1, 2_000_001)[1:-1]
    big = (m + n) / 2 - 1
    variance = theta * (1 - theta) / (m * n)
    variance *= 1 + big * (1 - theta) / (2 - theta) + big * theta / (1 + theta)
    inside = theta[np.abs(area - theta) <= z * np.sqrt(variance)]
    return inside.min(), inside.max()


@pytest.mark.parametrize(("area", "m", "n"), [(1.0, 5, 35), (0.8, 10, 10), (0.0, 4, 9)])
def test_with_little_variance_it_is_newcombes_method_five(area, m, n):
    found = area_interval(area, 1e-9, np.ones(m), np.ones(n))
    low, high = newcombe(area, m, n, stats.norm.ppf(0.975))
    assert found == pytest.approx((low, high), abs=2e-6)
    mirrored = area_interval(1 - area, 1e-9, np.ones(m), np.ones(n))
    assert mirrored == pytest.approx((1 - found[1], 1 - found[0]))


def test_a_constant_score_has_no_interval():
    found = auc_interval([1, 1, 0, 0, 0], np.zeros(5))
    assert found.area == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_in_large_samples_it_is_delongs():
    rng = np.random.default_rng(0)
    true = np.repeat([True, False], 4000)
    # Unequal spreads: the variance isn't what Newcombe assumes.
    scores = np.where(true, 0.6 + 3 * rng.normal(size=8000), rng.normal(size=8000))
    found = auc_interval(true, scores)
    areas, covariance = delong_covariance(true, scores)
    error = np.sqrt(covariance[0, 0])
    assert found.area == areas[0]
    assert (found.high - found.low) / error == pytest.approx(2 * 1.96, rel=0.01)


def test_an_area_of_few_patients_is_wider_than_of_as_many_cases():
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(12), 6)
    true = patient < 5
    scores = true + np.repeat(rng.normal(size=12), 6) + 0.3 * rng.normal(size=72)
    by_case = auc_interval(true, scores)
    by_patient = auc_interval(true, scores, groups=patient)
    assert by_patient.area == by_case.area
    assert by_patient.low < by_case.low
    assert by_patient.high >= by_case.high
    # In perfect order, the patients are counted.
    perfect = auc_interval(true, true.astype(float), groups=patient)
    assert perfect.low == pytest.approx(area_interval(1.0, 0.0, np.ones(5), np.ones(7))[0])


def mid_p_tails(hits, n, low, high):
    """Tail below and above by scipy's binomial distribution."""
    above = stats.binom.sf(hits, n, low) + stats.binom.pmf(hits, n, low) / 2
    below = stats.binom.cdf(hits - 1, n, high) + stats.binom.pmf(hits, n, high) / 2
    return above, below


@pytest.mark.parametrize(("confidence", "alpha"), [(0.95, 0.05), (0.8, 0.2)])
def test_a_score_is_a_share_of_as_many_cases_as_its_error_stands_for(confidence, alpha):
    # 0.8 with the error of a share of 50 cases, known exactly: 40 hits of 50.
    error = np.sqrt(0.8 * 0.2 / 50)
    found = share_interval(0.8, error, df=1e12, most=100, confidence_level=confidence)
    assert mid_p_tails(40, 50, *found) == pytest.approx((alpha / 2, alpha / 2), abs=1e-6)


def test_an_error_of_few_degrees_of_freedom_stands_for_fewer_cases():
    # Korn and Graubard: the cases shrink by the squared ratio of z to t, here to 20.
    shrunk = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 4)) ** 2
    error = np.sqrt(shrunk * 0.8 * 0.2 / 20)
    found = share_interval(0.8, error, df=4, most=100)
    assert mid_p_tails(16, 20, *found) == pytest.approx((0.025, 0.025), abs=1e-6)
    # One degree of freedom is enough, none is not.
    shrunk = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 1)) ** 2
    found = share_interval(0.5, np.sqrt(shrunk * 0.25 / 10), df=1, most=100)
    assert mid_p_tails(5, 10, *found) == pytest.approx((0.025, 0.025), abs=1e-6)
    assert np.isnan(share_interval(0.5, 0.1, df=0, most=100)).all()


def test_scores_that_happen_to_agree_stand_for_no_more_cases_than_there_are():
    for error in (1e-9, 0.0):
        found = share_interval(0.8, error, df=9, most=50)
        assert mid_p_tails(40, 50, *found) == pytest.approx((0.025, 0.025), abs=1e-6)
    # All of 20: half of p**20 is 0.025. None of 20 is its mirror.
    low, high = share_interval(1.0, 0.0, df=9, most=20)
    assert (low, high) == pytest.approx((0.05 ** (1 / 20), 1.0))
    # Also where the error is that of unlike folds.
    assert share_interval(1.0, 0.1, df=9, most=20) == (low, high)
    mirrored = share_interval(0.0, 0.0, df=9, most=20)
    assert mirrored == pytest.approx((0.0, 1 - 0.05 ** (1 / 20)))
    # Rounding may have carried a mean past the end.
    assert share_interval(1 + 1e-12, 0.0, df=9, most=20) == (low, high)


def test_a_score_stands_for_one_case_at_least():
    # Of one case, a hit: half of p is 0.025.
    assert share_interval(1.0, 0.0, df=9, most=0.3)[0] == pytest.approx(0.05)
    wide = share_interval(0.9, 5.0, df=9, most=100)
    assert wide == pytest.approx(share_interval(0.9, 50.0, df=9, most=100))


@pytest.mark.parametrize(("score", "error"), [(np.nan, 0.1), (0.5, np.nan)])
def test_an_unknown_score_has_no_interval(score, error):
    assert np.isnan(share_interval(score, error, df=9, most=20)).all()


def test_more_than_newcombes_variance_widens_his_interval():
    # Four times the variance that method 5 assumes at the estimate: twice its quantile.
    area, m, n = 0.8, 10, 14
    big = (m + n) / 2 - 1
    assumed = area * (1 - area) / (m * n)
    assumed *= 1 + big * (1 - area) / (2 - area) + big * area / (1 + area)
    found = area_interval(area, 4 * assumed, np.ones(m), np.ones(n))
    assert found == pytest.approx(newcombe(area, m, n, 2 * stats.norm.ppf(0.975)), abs=2e-6)
    at_80 = area_interval(area, assumed, np.ones(m), np.ones(n), confidence_level=0.8)
    assert at_80 == pytest.approx(newcombe(area, m, n, stats.norm.ppf(0.9)), abs=2e-6)
    by_t = area_interval(area, assumed, np.ones(m), np.ones(n), df=5)
    assert by_t == pytest.approx(newcombe(area, m, n, stats.t.ppf(0.975, 5)), abs=2e-6)


def test_patients_are_the_degrees_of_freedom_of_an_area():
    # Five patients with two positive cases each, seven negative cases: t of 5 - 1.
    found = area_interval(0.8, 1e-9, np.full(5, 2), np.ones(7))
    assert found == pytest.approx(newcombe(0.8, 10, 7, stats.t.ppf(0.975, 4)), abs=2e-6)
    # Groups without a case of the class don't count.
    padded = area_interval(0.8, 1e-9, [2, 2, 2, 2, 2, 0, 0], [0, *np.ones(7)])
    assert padded == found
    given = area_interval(0.8, 1e-9, np.full(5, 2), np.ones(7), df=9)
    assert given == pytest.approx(newcombe(0.8, 10, 7, stats.t.ppf(0.975, 9)), abs=2e-6)
    one = area_interval(0.8, 1e-9, [4], [3])
    assert one == pytest.approx(newcombe(0.8, 4, 3, stats.t.ppf(0.975, 1)), abs=2e-6)


def test_without_variance_unequal_patients_count_as_fewer():
    # Kish: (1 + 3)^2 / (1 + 9) positive and (2 + 2)^2 / (4 + 4) negative patients.
    low, high = area_interval(1.0, 0.0, [1, 3], [2, 2])
    expected = newcombe(1.0, 1.6, 2, stats.norm.ppf(0.975))
    assert (low, high) == pytest.approx((expected[0], 1.0), abs=2e-6)
    assert area_interval(0.0, 0.0, [1, 3], [2, 2])[0] == 0.0
    # A t quantile is for an estimated variance, which there is none of.
    assert area_interval(1.0, 0.0, [1, 3], [2, 2], df=3) == (low, high)


def test_effective_cases_lie_between_one_and_all():
    # Within-patient contrast: sums over patients vary less than those of independent cases do.
    balanced = proportion_interval([1, 0, 1, 0, 1, 0], groups=[0, 0, 1, 1, 2, 2])
    t = stats.t.ppf(0.975, 5) / stats.t.ppf(0.975, 2)
    assert balanced.n_effective == pytest.approx(6 * t**2)
    # One patient of many cases, and two of one.
    alike = proportion_interval([1] * 20 + [0] * 20, groups=[0] * 20 + [1] * 20)
    assert alike.n_effective == 1.0
    # Without a miss, Kish's number: (4 + 1 + 1)^2 / (16 + 1 + 1).
    assert proportion_interval(np.ones(6), groups=[0, 0, 0, 0, 1, 2]).n_effective == 2.0
    one = proportion_interval([1, 0, 1], groups=[7, 7, 7])
    assert (one.n_effective, one.n_clusters) == (1.0, 1)
    at_80 = proportion_interval([1, 0, 1, 0], confidence_level=0.8)
    assert mid_p_tails(2, 4, at_80.low, at_80.high) == pytest.approx((0.1, 0.1), abs=1e-6)


def test_an_interval_by_patient_has_the_confidence_asked_for():
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(12), 6)
    true = patient < 5
    scores = true + np.repeat(rng.normal(size=12), 6) + 0.3 * rng.normal(size=72)
    at_95, at_50 = (
        auc_interval(true, scores, groups=patient, confidence_level=level) for level in (0.95, 0.5)
    )
    assert at_95.low < at_50.low < at_50.area < at_50.high < at_95.high


@pytest.mark.parametrize("area", [0.75, 0.95, 0.99])
def test_coverage_of_an_area_of_few_cases(area):
    rng = np.random.default_rng(2)
    true = np.repeat([True, False], [6, 60])
    shift = stats.norm.ppf(area) * np.sqrt(2)
    held = []
    for _ in range(300):
        found = auc_interval(true, rng.normal(size=66) + shift * true)
        held.append(found.low <= area <= found.high)
    # 99 % of such experiments, were coverage 95 %, see more than 0.92.
    assert np.mean(held) > 0.92


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proportion_interval([0.5, 1.5]), "between 0 and 1"),
        (lambda: proportion_interval([1, 0], groups=["a"]), "1 groups were given for 2 cases"),
        (lambda: proportion_interval([1, 0], confidence_level=95), "confidence_level=95"),
        (lambda: mid_p_interval(6, 5), "hits=6"),
        (lambda: auc_interval([1, 0, 0], [1, 2, 3]), "1 positive and 2 negative"),
        (lambda: area_interval(0.5, 0.0, [1], [1], confidence_level=0), "confidence_level=0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
