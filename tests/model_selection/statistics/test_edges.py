"""Statistics at the edges of what they take: the smallest samples, limits, and levels."""

import numpy as np
import pytest
from scipy import stats

from skcyto.model_selection import (
    bayesian_correlated_ttest,
    bootstrap_by_group,
    corrected_resampled_ttest,
    delong_test,
    friedman_nemenyi_test,
    mcnemar_test,
)
from skcyto.model_selection._statistics._delong import compare_areas, delong_covariance
from skcyto.model_selection._statistics._folds import corrected_error, corrected_interval
from skcyto.model_selection._statistics._intervals import (
    area_interval,
    auc_interval,
    mid_p_interval,
    proportion_interval,
    share_interval,
)
from skcyto.model_selection._statistics._pooled import discount

DIFFERENCES = [0.02, 0.04, 0.01, 0.03, 0.05]
TRUE, SCORE = [0, 0, 1, 1], [1.0, 3.0, 2.0, 4.0]
AT_LEVEL = {
    "mid_p_interval": lambda level: mid_p_interval(3, 5, confidence_level=level),
    "proportion_interval": lambda level: proportion_interval([1, 0], confidence_level=level),
    "share_interval": lambda level: share_interval(0.5, 0.1, 9, 20, confidence_level=level),
    "auc_interval": lambda level: auc_interval(TRUE, SCORE, confidence_level=level),
    "area_interval": lambda level: area_interval(0.7, 0.01, [1] * 3, [1] * 3,
                                                 confidence_level=level),
    "delong_test": lambda level: delong_test(TRUE, SCORE, SCORE, confidence_level=level),
    "corrected_interval": lambda level: corrected_interval(DIFFERENCES, 0.25,
                                                           confidence_level=level),
    "corrected_resampled_ttest": lambda level: corrected_resampled_ttest(
        DIFFERENCES, 0.25, confidence_level=level
    ),
    "bayesian_correlated_ttest": lambda level: bayesian_correlated_ttest(
        DIFFERENCES, 0.25, confidence_level=level
    ),
    "quantiles": lambda level: bootstrap_by_group(
        lambda rows: float(rows.mean()), range(5), n_resamples=10, random_state=0
    ).quantiles(level),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_LEVEL)
def test_a_level_lies_between_0_and_1(name):
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"confidence_level={level} must lie between 0 and 1"):
            AT_LEVEL[name](level)
    AT_LEVEL[name](0.001)
    AT_LEVEL[name](0.999)


def test_two_cases_of_either_class_are_enough_for_delong():
    areas, covariance = delong_covariance(TRUE, [SCORE])
    # Positive placements 1/2 and 1, negative ones 1 and 1/2: sample variances of 1/8 over 2.
    assert areas[0] == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(1 / 8 / 2 + 1 / 8 / 2)
    found = delong_test(TRUE, SCORE, [1.0, 2.0, 3.0, 4.0])
    assert found.df == 1


def test_the_interval_of_a_difference_of_areas_ends_at_one():
    covariance = np.diag([0.01, 0.01])
    for areas, low, high in (([0.9, 0.1], None, 1.0), ([0.1, 0.9], -1.0, None)):
        found = compare_areas(np.array(areas), covariance, df=2)
        half = stats.t.ppf(0.975, 2) * np.sqrt(0.02)
        assert found.ci_low == pytest.approx(areas[0] - areas[1] - half if low is None else low)
        assert found.ci_high == pytest.approx(areas[0] - areas[1] + half if high is None else high)
        assert found.statistic == pytest.approx((areas[0] - areas[1]) / np.sqrt(0.02))


def test_areas_whose_errors_go_together_differ_surely():
    covariance = np.array([[0.01, 0.008], [0.008, 0.02]])
    found = compare_areas(np.array([0.8, 0.7]), covariance, df=20)
    # Var(a - b) = 0.01 + 0.02 - 2 * 0.008.
    assert found.statistic == pytest.approx(0.1 / np.sqrt(0.014))
    assert found.pvalue == pytest.approx(2 * stats.t.sf(0.1 / np.sqrt(0.014), 20))
    certain = compare_areas(np.array([0.8, 0.7]), np.full((2, 2), 0.01), df=20)
    assert np.isnan([certain.statistic, certain.pvalue, certain.ci_low]).all()


def test_the_same_advantage_in_every_patient_has_no_variance():
    found = mcnemar_test([1, 1, 1, 1], [0, 1, 0, 1], groups=["a", "a", "b", "b"])
    assert np.isnan([found.statistic, found.pvalue]).all()
    assert (found.only_a, found.only_b, found.df) == (2, 0, 1)
    assert discount(found, 2.0, 1) is found
    none = mcnemar_test([1, 0, 1, 1], [1, 0, 1, 1], groups=["a", "a", "b", "b"])
    assert (none.statistic, none.pvalue, none.df) == (0.0, 1.0, 1)
    assert discount(none, 2.0, 1) is none


def test_a_discounted_test_keeps_one_degree_of_freedom():
    result = mcnemar_test([1, 1, 1, 0, 0, 1], [0, 1, 0, 1, 0, 1], groups=[0, 0, 1, 1, 2, 2])
    found = discount(result, 1.0, 0)
    assert found.df == 1
    assert found.pvalue == pytest.approx(2 * stats.t.sf(abs(result.statistic), 1))


def test_hits_are_true_or_false():
    with pytest.raises(ValueError, match=r"correct_b must say .* True or False; it holds \[2, 3\]"):
        mcnemar_test([0, 1], [2, 3])


def test_two_groups_are_enough_for_a_bootstrap():
    value = np.array([0.0, 1.0, 2.0])
    found = bootstrap_by_group(
        lambda rows: value[rows].mean(), ["a", "b", "b"], n_resamples=10, random_state=0
    )
    # Twice a, once each, twice b: their means are all there can be.
    assert set(np.round(found.draws[0], 12)) <= {0.0, 1.0, 1.5}
    with pytest.raises(ValueError, match="n_resamples=9 must be at least 10"):
        bootstrap_by_group(lambda rows: 0.0, [1, 2], n_resamples=9)
    for groups in ([], [7, 7]):
        with pytest.raises(ValueError, match=f"at least two groups; there are {len(set(groups))}"):
            bootstrap_by_group(lambda rows: 0.0, groups)


@pytest.mark.parametrize(("n_needed", "refused"), [(2, True), (3, False)])
def test_a_statistic_may_be_undefined_in_a_tenth_of_the_draws(n_needed, refused):
    # Of 100 groups, a draw lacks both of two in 13.3 %, all of three in 4.8 %.
    def mean(rows):
        return float(rows.mean()) if (rows < n_needed).any() else np.nan

    def draw():
        return bootstrap_by_group(mean, range(100), n_resamples=1000, random_state=0)

    if refused:
        with pytest.raises(ValueError, match=r"undefined in 1[1-6]% of the bootstrap draws"):
            draw()
    else:
        found = draw()
        assert 0 < np.isnan(found.draws).mean() < 0.1
        low, high = found.quantiles(0.9)
        expected = np.nanquantile(found.draws[0], [0.05, 0.95])
        np.testing.assert_allclose([low[0], high[0]], expected)


def test_differences_of_statistics_are_those_from_the_row_named():
    value = np.random.default_rng(0).normal(size=(3, 20))
    found = bootstrap_by_group(
        lambda rows: value[:, rows].mean(axis=1), range(20), n_resamples=50, random_state=0
    )
    difference = found.less(1)
    np.testing.assert_allclose(difference.estimate, value.mean(axis=1) - value[1].mean())
    np.testing.assert_allclose(difference.draws[2], found.draws[2] - found.draws[1])


def test_the_smallest_table_of_ranks():
    # Three models on two data sets, once in each order: every model has rank 2 on average.
    even = friedman_nemenyi_test([[1, 2, 3], [3, 2, 1]])
    assert even.statistic == pytest.approx(0.0)
    assert even.f_statistic == pytest.approx(0.0)
    np.testing.assert_allclose(even.average_ranks, 2)
    np.testing.assert_allclose(even.pairwise_pvalues, 1)
    # The same order everywhere: chi-squared is as large as it can be, n (k - 1), and F infinite.
    clear = friedman_nemenyi_test([[1, 2, 3]] * 4)
    assert clear.statistic == pytest.approx(8.0)
    assert (clear.f_statistic, clear.f_pvalue) == (np.inf, 0.0)
    assert clear.pvalue == pytest.approx(np.exp(-4))  # chi-squared of two degrees of freedom
    for alpha in (0, 1):
        with pytest.raises(ValueError, match=f"alpha={alpha} must lie between 0 and 1"):
            friedman_nemenyi_test([[1, 2, 3]] * 4, alpha=alpha)
    with pytest.raises(ValueError, match=r"the scores have shape \(3,\)"):
        friedman_nemenyi_test([1, 2, 3])


def test_iman_and_davenports_f_of_demsars_formula():
    scores = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [1, 2, 3], [1, 2, 3]]
    found = friedman_nemenyi_test(scores)
    # Ranks sum to 14, 10 and 6: chi2 = 12 / (5 * 3 * 4) * (196 + 100 + 36) - 3 * 5 * 4.
    assert found.statistic == pytest.approx(6.4)
    f = 4 * 6.4 / (5 * 2 - 6.4)
    assert found.f_statistic == pytest.approx(f)
    assert found.f_pvalue == pytest.approx(stats.f.sf(f, 2, 8))
    error = np.sqrt(3 * 4 / (6 * 5))
    expected = stats.studentized_range.sf((2.8 - 1.2) / error * np.sqrt(2), 3, np.inf)
    assert found.pairwise_pvalues[0, 2] == pytest.approx(expected)
    assert found.pairwise_pvalues[1, 1] == 1


def test_the_error_of_a_mean_over_folds():
    # 1 / J + 1 / 4 under the root, of a sample variance of 2.5e-4.
    assert corrected_error(DIFFERENCES, 0.25) == pytest.approx(np.sqrt(2.5e-4 * 0.45))
    assert np.isnan(corrected_error([0.1], 0.25))
    # Equal but for rounding, beside values of their size.
    assert corrected_error([1e6, 1e6 + 1e-7], 0.25) == 0
    assert corrected_error([0.1, 0.1 + 1e-9], 0.25) > 0


def test_two_folds_are_enough_for_an_interval():
    low, high = corrected_interval([0.4, 0.6], 0.25)
    half = stats.t.ppf(0.975, 1) * np.sqrt(0.02 * 0.75)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))
    found = corrected_resampled_ttest([0.4, 0.6], 0.25)
    assert (found.df, found.mean) == (1, pytest.approx(0.5))
    assert found.statistic == pytest.approx(0.5 / np.sqrt(0.02 * 0.75))
    assert found.effect_size == pytest.approx(0.5 / np.sqrt(0.02))
    assert np.isnan(corrected_interval([0.5, 0.5], 0.25)).all()
    low, high = corrected_interval([0.4, 0.6], 0.25, bounds=(0.3, 0.7))
    assert (low, high) == (0.3, 0.7)


def test_an_error_known_otherwise_counts_without_any_spread():
    found = corrected_resampled_ttest([0.1, 0.1, 0.1], 0.25, least_error=0.05)
    assert found.statistic == pytest.approx(2.0)
    assert np.isnan(found.effect_size)
    posterior = bayesian_correlated_ttest([0.1, 0.1, 0.1], 0.25, least_error=0.05, rope=0.02)
    assert posterior.p_worse == pytest.approx(stats.t.cdf(-0.12 / 0.05, 2))
    assert posterior.p_better == pytest.approx(stats.t.sf(-0.08 / 0.05, 2))
    half = stats.t.ppf(0.975, 2) * 0.05
    assert (posterior.hdi_low, posterior.hdi_high) == pytest.approx((0.1 - half, 0.1 + half))
