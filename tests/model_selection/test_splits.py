"""Folds: groups stay whole, rounds differ, and cv that would deceive is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB

from skcyto.exceptions import MissingClassWarning
from skcyto.model_selection import RepeatedStratifiedGroupKFold, compare_models

NB = {"nb": GaussianNB()}


@pytest.fixture
def grouped():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"patient {i}" for i in range(30)], rng.integers(1, 7, 30))
    label = dict(zip(np.unique(groups), rng.random(30) < 0.3, strict=True))
    y = np.where([label[group] for group in groups], "ill", "well")
    X = rng.normal(size=(len(y), 3)) + (y == "ill")[:, None]
    return X, y, groups


def folds_of(splitter, y, groups, per_round):
    """One array of fold numbers a round."""
    rounds = []
    for number, (_, test) in enumerate(splitter.split(np.zeros(len(y)), y, groups)):
        if number % per_round == 0:
            rounds.append(np.full(len(y), -1))
        rounds[-1][test] = number % per_round
    return rounds


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_groups=st.integers(2, 25),
    n_splits=st.integers(2, 6),
    n_classes=st.integers(2, 4),
)
def test_groups_stay_whole_and_every_case_is_tested_once(seed, n_groups, n_splits, n_classes):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)[rng.permutation(sizes.sum())]
    y = rng.integers(0, n_classes, len(groups))
    splitter = RepeatedStratifiedGroupKFold(n_splits, n_repeats=2, random_state=seed)
    if n_groups < n_splits:
        with pytest.raises(ValueError, match="need as many groups"):
            list(splitter.split(y, y, groups))
        return
    splits = list(splitter.split(y, y, groups))
    assert len(splits) == splitter.get_n_splits() == 2 * n_splits
    for train, test in splits:
        assert len(test) > 0
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(y)))
    for part in (splits[:n_splits], splits[n_splits:]):
        assert sorted(np.concatenate([test for _, test in part])) == list(range(len(y)))


def test_rounds_differ_where_scikit_learns_shuffle_repeats_itself():
    # Forty patients with five to forty-four images: no two alike, so StratifiedGroupKFold has
    # nothing to shuffle.
    groups = np.repeat(np.arange(40), np.arange(5, 45))
    y = (groups % 4 == 0).astype(int)
    theirs = [
        folds_of(StratifiedGroupKFold(5, shuffle=True, random_state=seed), y, groups, 5)[0]
        for seed in (0, 1)
    ]
    assert adjusted_rand_score(*theirs) == pytest.approx(1.0)
    ours = folds_of(RepeatedStratifiedGroupKFold(5, n_repeats=2, random_state=0), y, groups, 5)
    assert adjusted_rand_score(*ours) < 0.3
    for folds in ours:
        shares = pd.crosstab(folds, y, normalize="columns").to_numpy()
        assert np.all(np.abs(shares - 0.2) < 0.06)


def test_folds_are_reproducible(grouped):
    _, y, groups = grouped
    one, two, other = (
        np.array(folds_of(RepeatedStratifiedGroupKFold(random_state=seed), y, groups, 5))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_splitter_serves_scikit_learn(grouped):
    X, y, groups = grouped
    cv = RepeatedStratifiedGroupKFold(3, n_repeats=2, random_state=0)
    scores = cross_val_score(LogisticRegression(), X, y, groups=groups, cv=cv)
    assert len(scores) == 6
    assert repr(cv) == "RepeatedStratifiedGroupKFold(n_repeats=2, n_splits=3, random_state=0)"


def test_default_folds_keep_groups_whole(grouped):
    X, y, groups = grouped
    found = compare_models(NB, X, y, groups=groups, random_state=0)
    assert len(found.splits.splits) == 10
    for train, test in found.splits.splits:
        assert not set(groups[train]) & set(groups[test])
    once = compare_models(NB, X, y, groups=groups, cv=3, random_state=0)
    assert len(once.splits.splits) == 3


@pytest.mark.parametrize("cv", [KFold(5), KFold(3, shuffle=True, random_state=0)])
def test_folds_that_split_a_group_are_refused(grouped, cv):
    X, y, groups = grouped
    order = np.random.default_rng(1).permutation(len(y))
    with pytest.raises(ValueError, match=r"fold 0 of cv splits .*'patient .*Use a grouped"):
        compare_models(NB, X[order], y[order], groups=groups[order], cv=cv)


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.MissingClassWarning")
@pytest.mark.parametrize(
    "cv", [GroupKFold(4), LeaveOneGroupOut(), GroupShuffleSplit(3, random_state=0)]
)
def test_grouped_splitters_are_taken(grouped, cv):
    X, y, groups = grouped
    found = compare_models(NB, X, y, groups=groups, cv=cv, scoring=["accuracy"])
    expected = list(cv.split(X, y, groups))
    assert all(
        np.array_equal(test, other)
        for (_, test), (_, other) in zip(found.splits.splits, expected, strict=True)
    )


def test_boolean_masks_and_lists_are_folds_too(grouped):
    X, y, _ = grouped
    test = np.arange(len(y)) % 3 == 0
    found = compare_models(NB, X, y, cv=[(~test, test), (list(np.flatnonzero(test)), [1, 7])])
    assert found.splits.repeat.tolist() == [0, 0]
    assert "2 given folds" in repr(found)


def test_equal_rounds_are_pointed_out(grouped):
    X, y, _ = grouped
    once = list(KFold(3, shuffle=True, random_state=0).split(X))
    with pytest.warns(UserWarning, match="1 of 2 rounds of cv have the same folds"):
        compare_models(NB, X, y, cv=[*once, *once])


def test_few_groups_of_a_class_are_pointed_out():
    groups = np.repeat(np.arange(12), 3)
    y = (groups < 3).astype(int)
    X = np.random.default_rng(0).normal(size=(36, 2))
    with pytest.warns(MissingClassWarning, match=r"lacks class 1 in 4: its recall"):
        compare_models(NB, X, y, groups=groups, random_state=0)


@pytest.mark.parametrize(
    ("options", "groups", "message"),
    [
        ({"n_splits": 1}, [0, 1, 2, 3], "n_splits=1"),
        ({"n_repeats": 0}, [0, 1, 2, 3], "n_repeats=0"),
        ({"n_splits": 5}, [0, 1, 2, 3], "need as many groups"),
        ({}, None, "needs groups"),
    ],
)
def test_bad_splitters_are_named(options, groups, message):
    with pytest.raises(ValueError, match=message):
        list(RepeatedStratifiedGroupKFold(**options).split(range(4), [0, 1, 0, 1], groups))
