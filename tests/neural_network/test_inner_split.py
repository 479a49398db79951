"""The split into rows that train and rows that choose the epoch."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skcyto.exceptions import ImbalanceWarning, MissingClassWarning
from skcyto.neural_network._inner_split import inner_split


@settings(deadline=None, max_examples=100)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
@example(counts=[1, 1, 5], fraction=0.5, seed=0)
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_split_is_a_stratified_partition(counts, fraction, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    train, valid = inner_split(y, validation_fraction=fraction, random_state=seed)
    assert np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(len(y)))
    in_train = np.bincount(y[train], minlength=len(counts))
    in_valid = np.bincount(y[valid], minlength=len(counts))
    assert (in_train >= 1).all()
    assert (np.abs(in_valid - fraction * np.array(counts)) < 1.000001).all()


def test_no_fraction_means_no_validation():
    for fraction in (None, 0, 0.0):
        train, valid = inner_split(np.array([0, 1, 1]), validation_fraction=fraction)
        assert train.tolist() == [0, 1, 2]
        assert valid.size == 0


def test_same_seed_same_rows_and_other_seed_other_rows():
    y = np.repeat([0, 1], 100)
    first, again, other = (
        inner_split(y, validation_fraction=0.2, random_state=seed)[1] for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_to_validate_with_warns():
    with pytest.warns(ImbalanceWarning, match="leaves no validation case"):
        train, valid = inner_split(np.array([0, 1, 2]), validation_fraction=0.3, random_state=0)
    assert len(train) == 3
    assert len(valid) == 0


def test_groups_stay_together_and_classes_stay_in_training():
    rng = np.random.RandomState(0)
    groups = np.repeat(np.arange(30), 5)
    y = (rng.rand(150) < 0.2).astype(int)
    for seed in range(5):
        train, valid = inner_split(y, validation_fraction=0.2, groups=groups, random_state=seed)
        assert not set(groups[train]) & set(groups[valid])
        assert set(y[train]) == {0, 1}
        assert 0.1 < len(valid) / 150 < 0.3


@pytest.mark.parametrize("n_groups", [12, 40, 200])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9])
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_groups_leave_the_share_that_was_asked_for(n_groups, fraction):
    rng = np.random.RandomState(0)
    groups = np.repeat(np.arange(n_groups), 5)
    y = (rng.rand(len(groups)) < 0.3).astype(int)
    for seed in range(3):
        train, valid = inner_split(
            y, validation_fraction=fraction, groups=groups, random_state=seed
        )
        assert not set(groups[train]) & set(groups[valid])
        assert np.array_equal(np.sort(np.r_[train, valid]), np.arange(len(y)))
        assert set(y[train]) == {0, 1}
        # Folds differ by a group or two, and a share is rounded to a fraction of groups.
        assert abs(len(valid) / len(y) - fraction) <= max(1.5 / n_groups, 0.03)


@pytest.mark.parametrize("n_groups", [2, 3, 4])
def test_a_share_that_few_groups_make_far_larger_is_said(n_groups):
    groups = np.repeat(np.arange(n_groups), 10)
    y = np.tile([0, 1], len(groups) // 2)
    share = f"{1 / n_groups:.0%}"
    with pytest.warns(ImbalanceWarning, match=f"fraction=0.1 hold out {share} of the rows"):
        inner_split(y, validation_fraction=0.1, groups=groups, random_state=0)


def test_one_group_is_refused():
    with pytest.raises(ValueError, match="belong to one group"):
        inner_split(np.array([0, 1]), validation_fraction=0.5, groups=np.array(["a", "a"]))


def test_class_of_a_single_group_is_kept_in_training_where_possible():
    groups = np.repeat(np.arange(10), 4)
    y = np.zeros(40, dtype=int)
    y[groups == 3] = 1
    train, _ = inner_split(y, validation_fraction=0.1, groups=groups, random_state=0)
    assert 1 in y[train]


def test_lost_class_is_said():
    with pytest.warns(MissingClassWarning, match="held out"):
        inner_split(
            np.repeat([0, 1], 4),
            validation_fraction=0.5,
            groups=np.repeat([0, 1], 4),
            random_state=0,
        )


def test_groups_of_single_cases_leave_no_validation():
    with pytest.warns(ImbalanceWarning, match="leaves no validation case"):
        train, valid = inner_split(
            np.array([0, 1]), validation_fraction=0.5, groups=np.array([0, 1])
        )
    assert (len(train), len(valid)) == (2, 0)
