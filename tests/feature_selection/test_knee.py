"""The knee rule: defined in ranks and log10, so scale and order of the features do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier

from skcyto.feature_selection._threshold import knee_threshold, resolve_threshold


def forest_like(seed, n_live=753, n_dead=15):
    """768 importances as a forest's: a few strong, most weak, 15 that fall off a cliff."""
    rng = np.random.default_rng(seed)
    live = rng.gamma(0.9, size=n_live) ** 1.5 + 0.02
    dead = live.min() * 10 ** rng.uniform(-2.5, -1.5, n_dead)
    importances = np.concatenate([live, dead])
    return importances / importances.sum()


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_cliff_of_forest_like_importances(seed):
    importances = forest_like(seed)
    kept = importances > knee_threshold(importances)
    assert 745 <= kept.sum() <= 753
    assert not kept[753:].any()
    assert np.sum(importances > importances.mean()) < 400  # "mean" is no substitute


def test_worked_example():
    # log10: 0 0 0 -1 | -1 -1.1 -1.2 -5; the chord falls from 0 to -5 in seven steps of 5/7. The
    # lower half is 1.86, 2.47, 3.09 and 0 above it: the fall comes after -1.2.
    importances = 10.0 ** np.array([0, 0, 0, -1, -1.0, -1.1, -1.2, -5])
    assert knee_threshold(importances) == importances[-1]
    # The bend is before two values: the larger of them is the threshold, so both are dropped.
    importances = 10.0 ** np.array([0, 0, 0, 0, 0, -0.1, -4, -8.1])
    assert knee_threshold(importances) == importances[6]


def test_the_chord_joins_the_ends_of_the_whole_curve():
    # Lower half from rank 5 on: -2 -2.1 -2.2 -3.2 -4.4. By the chord of the whole curve, which
    # falls by 4.4 / 9 = 0.49 a rank, they are 0.44, 0.83, 1.22, 0.71 and 0 above: the knee is at
    # rank 7. A fall in the upper half makes the chord steeper, and what is gentler than it is no
    # cliff: with the head raised by 8 nothing in the lower half is above the line.
    curve = np.array([0, -0.5, -1, -1.5, -1.8, -2, -2.1, -2.2, -3.2, -4.4])
    importances = 10.0**curve
    assert knee_threshold(importances) == importances[8]
    importances[0] *= 1e8
    assert_array_equal(importances > knee_threshold(importances), True)


@pytest.mark.parametrize(
    "tail",
    [
        10.0 ** -np.arange(10.0),  # straight: no bend
        10.0 ** np.array([0, -2, -3, -3.6, -4, -4.2, -4.4, -4.6, -4.7, -4.8]),  # bends otherwise
        np.ones(10),
        np.ones(1),
        np.array([1.0, 1e-5]),
    ],
)
def test_without_a_knee_all_positive_are_kept(tail):
    importances = np.concatenate([tail, np.zeros(3)])
    kept = importances > knee_threshold(importances)
    assert_array_equal(kept, importances > 0)


def test_all_zero_keeps_nothing():
    assert knee_threshold(np.zeros(5)) == 0


def test_rounding_noise_counts_as_zero():
    importances = forest_like(0)
    noisy = np.append(importances, importances.max() * 1e-17)
    assert knee_threshold(noisy) == knee_threshold(importances)


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60),
    n_zeros=st.integers(0, 5),
    scale=st.sampled_from([2.0**-20, 0.25, 2.0, 2.0**30]),
    seed=st.integers(0, 99),
)
def test_invariants(values, n_zeros, scale, seed):
    importances = np.array(values + [0.0] * n_zeros)
    threshold = knee_threshold(importances)
    kept = importances > threshold
    assert kept.sum() >= np.ceil(len(values) / 2) - (len(values) < 3)
    assert not kept[len(values) :].any()
    shuffled = np.random.default_rng(seed).permutation(importances)
    assert knee_threshold(shuffled) == threshold
    assert_array_equal(importances * scale > knee_threshold(importances * scale), kept)
    assert resolve_threshold(importances, "0.5*knee") == 0.5 * threshold


def test_stable_under_bootstrap_on_real_tokens(shared_data):
    """On Herlev tokens with ten nearly dead columns, forests of resampled rows agree."""
    tokens = np.load(shared_data / "cytology/herlev/herlev_dev_dinov2s_112_tokens.npz")
    X = tokens["tokens"].astype(np.float32).mean(axis=1)
    y = tokens["label"]
    rng = np.random.default_rng(0)
    X[:, :10] = rng.random((len(X), 10)) < 0.005
    counts = []
    for seed in range(4):
        rows = rng.integers(len(X), size=len(X))
        forest = RandomForestClassifier(60, random_state=seed).fit(X[rows], y[rows])
        importances = forest.feature_importances_
        kept = importances > knee_threshold(importances)
        assert not kept[:10].any()
        counts.append(kept.sum())
    # 374 columns are alive; the rule may take some of the weakest of them. Twelve resamples kept
    # 343 to 364: a wider margin than that is for other kernels' trees.
    assert min(counts) >= 335
    assert max(counts) - min(counts) <= 30
