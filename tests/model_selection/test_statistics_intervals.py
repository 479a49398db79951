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
