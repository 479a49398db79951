"""Index samplers: who meets whom in a batch, and how often a row is seen."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from skcyto.neural_network import BalancedSampler, GroupedBatchSampler, StratifiedBatchSampler
from skcyto.neural_network._samplers import SAMPLERS, make_batch_sampler

EVERY_SAMPLER = [BalancedSampler, GroupedBatchSampler, StratifiedBatchSampler]
BATCH_SAMPLERS = [GroupedBatchSampler, StratifiedBatchSampler]


def classes(counts):
    """Shuffled class codes with these counts."""
    return np.random.RandomState(0).permutation(np.repeat(np.arange(len(counts)), counts))


def composition(batches, y):
    """Rows of each class (columns) in each batch, and how often each row came."""
    table = np.array([np.bincount(y[rows.numpy()], minlength=y.max() + 1) for rows in batches])
    return table, np.bincount(torch.cat(list(batches)).numpy(), minlength=len(y))


counts_and_size = st.tuples(
    st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 40)
)


@given(counts_and_size)
@settings(deadline=None, max_examples=150)
def test_stratified(drawn):
    counts, size = drawn
    counts = np.array(counts)
    y = classes(counts)
    batches = StratifiedBatchSampler(y, size, random_state=0).epoch_batches()
    table, seen = composition(batches, y)
    sizes = table.sum(axis=1)
    assert sizes.max() <= size
    # All full but the last, or all the same to within one.
    assert (sizes[:-1] == size).all() or np.ptp(sizes) <= 1
    assert seen.min() >= 1
    if len(counts) <= size:
        assert table.min() >= 1
        for c, n in enumerate(counts):
            of_class = seen[y == c]
            # Seen once, or, with fewer rows than batches, equally often to within one.
            assert np.ptp(of_class) <= 1
            assert of_class.sum() == max(n, len(batches))
    else:
        assert (seen == 1).all()
        assert len(batches) == math.ceil(len(y) / size)


@given(st.lists(st.integers(30, 300), min_size=2, max_size=4), st.integers(8, 40))
@settings(deadline=None, max_examples=50)
def test_stratified_quotas_are_largest_remainders(counts, size):
    """Rows of a class dealt so far never stray a whole row per class from its share."""
    y = classes(counts)
    table, seen = composition(StratifiedBatchSampler(y, size, random_state=0).epoch_batches(), y)
    if (seen == 1).all():
        dealt = table.cumsum(axis=0)
        share = np.array(counts) / sum(counts) * dealt.sum(axis=1, keepdims=True)
        assert np.abs(dealt - share).max() < len(counts)


@pytest.mark.parametrize(
    ("counts", "size", "quota"),
    [([100, 200], 36, [12, 24]), ([80, 20], 10, [8, 2]), ([503, 288, 58], 2, None)],
)
def test_stratified_by_hand(counts, size, quota):
    y = classes(counts)
    table, seen = composition(StratifiedBatchSampler(y, size, random_state=0).epoch_batches(), y)
    assert (seen == 1).all()
    if quota is not None:
        assert (table[:-1] == quota).all()


def test_stratified_minority_rarer_than_batches_by_hand():
    # 1005 rows make 28 batches of 36; one of the 5 rare rows in each needs 23 rows more: 29.
    y = classes([5, 1000])
    table, seen = composition(StratifiedBatchSampler(y, 36, random_state=0).epoch_batches(), y)
    assert len(table) == 29
    assert (table[:, 0] == 1).all()
    assert set(seen[y == 0]) == {5, 6}
    assert (seen[y == 1] == 1).all()


def test_no_last_batch_of_one_row():
    for counts, size in (([4, 3], 3), ([37], 36), ([3, 3, 3, 4], 3)):
        batches = StratifiedBatchSampler(classes(counts), size).epoch_batches()
        assert min(len(rows) for rows in batches) >= 2


@given(counts_and_size)
@settings(deadline=None, max_examples=100)
def test_grouped(drawn):
    counts, size = drawn
    y = classes(counts)
    each = size // len(counts)
    if each == 0:
        with pytest.raises(ValueError, match=f"make it at least {len(counts)}"):
            GroupedBatchSampler(y, size)
        return
    batches = GroupedBatchSampler(y, size, random_state=0).epoch_batches()
    table, seen = composition(batches, y)
    assert (table == each).all()
    # An epoch deals as many rows as there are, up to the last batch.
    assert 0 <= table.sum() - len(y) < each * len(counts)
    for c, n in enumerate(counts):
        # A large class: that many different rows. A small one: every row, equally often.
        assert np.ptp(seen[y == c]) <= 1
        if n <= each * len(batches):
            assert seen[y == c].min() >= 1


def test_grouped_shows_other_rows_of_a_large_class_in_the_next_epoch():
    y = classes([10, 1000])
    sampler = GroupedBatchSampler(y, 20, random_state=0)
    seen = [composition(sampler.epoch_batches(), y)[1] for _ in range(8)]
    assert (seen[0][y == 1] > 0).mean() == pytest.approx(0.51, abs=0.01)
    # With half of the rows in each of 8 epochs, one row in 256 is expected to be still unseen.
    assert (np.sum(seen, axis=0)[y == 1] > 0).mean() > 0.97


def test_repeated_rows_are_dealt_anew_each_round():
    """Rounds through a small class are shuffled: batches don't hold the same rows together."""
    y = classes([4, 400])
    batches = GroupedBatchSampler(y, 4, random_state=0).epoch_batches()
    pairs = {frozenset(rows[y[rows.numpy()] == 0].tolist()) for rows in batches}
    assert len([pair for pair in pairs if len(pair) == 2]) == 6


def test_balanced():
    y = classes([10, 100, 5000])
    table, seen = composition(BalancedSampler(y, 50, random_state=0).epoch_batches(), y)
    assert [sum(row) for row in table] == [50] * 102 + [10]
    share = table.sum(axis=0) / len(y)
    # Three standard deviations of a share of one third of 5110 draws.
    assert np.abs(share - 1 / 3).max() < 3 * math.sqrt(2 / 9 / 5110)
    # Within a class all rows are equally likely: the rare ones came some 170 times each.
    assert seen[y == 0].min() > 120
    assert seen[y == 0].max() < 230


@pytest.mark.parametrize("sampler", EVERY_SAMPLER)
def test_same_seed_same_batches(sampler):
    y = classes([20, 50, 7])
    one, two, other = (sampler(y, 12, random_state=seed) for seed in (3, 3, 4))
    first, second = one.epoch_batches(), one.epoch_batches()
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first), torch.cat(two.epoch_batches()))
    assert torch.equal(torch.cat(second), torch.cat(two.epoch_batches()))
    assert not torch.equal(torch.cat(first), torch.cat(other.epoch_batches()))
    own = sampler(y, 12, random_state=torch.Generator().manual_seed(5))
    again = sampler(y, 12, random_state=torch.Generator().manual_seed(5))
    assert torch.equal(torch.cat(own.epoch_batches()), torch.cat(again.epoch_batches()))


@pytest.mark.parametrize("sampler", EVERY_SAMPLER)
def test_torchs_global_generator_is_left_alone(sampler):
    y, before = classes([20, 50]), torch.get_rng_state()
    sampler(y, 12, random_state=0).epoch_batches()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("sampler", EVERY_SAMPLER)
def test_labels_of_any_kind(sampler):
    codes = classes([20, 50, 7])
    expected = sampler(codes, 12, random_state=0).epoch_batches()
    strings = np.array(["a", "b", "c"], dtype=object)[codes]
    for y in (strings, codes.tolist(), torch.from_numpy(codes), codes * 2.0 - 1):
        batches = sampler(y, 12, random_state=0).epoch_batches()
        assert torch.equal(torch.cat(expected), torch.cat(batches))
    moved = sampler(codes, 12, random_state=0).epoch_batches(device="meta")
    assert moved[0].device.type == "meta"


@pytest.mark.parametrize("sampler", BATCH_SAMPLERS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batch_samplers_in_a_data_loader(sampler, num_workers):
    y = classes([20, 50])
    batch_sampler = sampler(y, 14, random_state=0)
    data = TensorDataset(torch.arange(len(y)), torch.from_numpy(y))
    loader = DataLoader(data, batch_sampler=batch_sampler, num_workers=num_workers)
    assert len(loader) == len(batch_sampler)
    expected = sampler(y, 14, random_state=0).epoch_batches()
    for (rows, targets), want in zip(loader, expected, strict=True):
        assert torch.equal(rows, want)
        assert torch.equal(targets, torch.from_numpy(y)[want])


def test_balanced_sampler_in_a_data_loader():
    y = classes([20, 50])
    sampler = BalancedSampler(y, random_state=0)
    loader = DataLoader(TensorDataset(torch.arange(len(y))), batch_size=16, sampler=sampler)
    rows = torch.cat([batch for (batch,) in loader])
    (whole_epoch,) = BalancedSampler(y, random_state=0).epoch_batches()
    assert torch.equal(rows, whole_epoch)
    assert len(loader) == math.ceil(len(y) / 16)
    assert len(sampler) == len(y)


def test_by_name():
    y = classes([20, 50])
    for name, sampler in SAMPLERS.items():
        batches = make_batch_sampler(name, y, 14, 0)
        reference = sampler(y, 14, random_state=0)
        for _ in range(2):
            assert torch.equal(torch.cat(list(batches)), torch.cat(reference.epoch_batches()))


@pytest.mark.parametrize("sampler", EVERY_SAMPLER)
def test_bad_input(sampler):
    with pytest.raises(ValueError, match="batch_size=0 must be an int between 1"):
        sampler([0, 1], 0)
    with pytest.raises(ValueError, match="y is empty"):
        sampler([], 2)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        sampler([[0, 1], [1, 0]], 2)
