"""What each loss must become at the limits of its parameters, and what no loss may depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from skcyto.losses import (
    LDAM,
    BalancedSoftmax,
    ClassBalanced,
    CrossEntropy,
    CVaR,
    Focal,
    GroupDRO,
    LogitAdjusted,
    Minimax,
    Poly1,
    VectorScaling,
    WeightedCrossEntropy,
)
from skcyto.losses._worst_case import _cut_into_chunks

CE = CrossEntropy()
BALANCED = {"class_weight": "balanced"}


@st.composite
def batches(draw, every_class=False, one_class=False):
    """Logits, targets, counts and sample weights of a batch of one of many shapes."""
    n_classes = draw(st.sampled_from([2, 3, 7]))
    n_samples = draw(st.integers(n_classes if every_class else 1, 25))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    logits = torch.randn(n_samples, n_classes, generator=generator, dtype=torch.float64) * scale
    target = torch.randint(n_classes, (n_samples,), generator=generator)
    if every_class:
        target[:n_classes] = torch.arange(n_classes)
    if one_class:
        target[:] = 0
    counts = draw(st.lists(st.integers(1, 10_000), min_size=n_classes, max_size=n_classes))
    weight = torch.rand(n_samples, generator=generator, dtype=torch.float64) + 0.1
    return logits, target, counts, weight


def evaluate(criterion, logits, target, sample_weight=None):
    logits = logits.clone().requires_grad_()
    value = criterion(logits, target, sample_weight)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def assert_same(one, other, logits, target, sample_weight=None, rtol=1e-9):
    for a, b in zip(
        evaluate(one, logits, target, sample_weight),
        evaluate(other, logits, target, sample_weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


PAIRS = {
    "focal gamma 0": (Focal(gamma=0), CE),
    "ldam without margin and scale": (LDAM(max_margin=0, scale=1), CE),
    "class_balanced beta 0": (ClassBalanced(beta=0), CE),
    "class_balanced focal beta 0": (ClassBalanced(beta=0, gamma=1.5), Focal(gamma=1.5)),
    "balanced_softmax": (BalancedSoftmax(), LogitAdjusted(tau=1)),
    "logit_adjusted tau 0": (LogitAdjusted(tau=0), CE),
    "vector_scaling gamma 0": (VectorScaling(gamma=0, tau=1.3), LogitAdjusted(tau=1.3)),
    "vector_scaling gamma 0 tau 0": (VectorScaling(gamma=0, tau=0), CE),
    "cvar alpha 1": (CVaR(alpha=1), CE),
    "poly1 epsilon 0": (Poly1(epsilon=0), CE),
}


@pytest.mark.parametrize("name", PAIRS)
@given(batch=batches(), weighted=st.booleans())
@settings(deadline=None, max_examples=15)
def test_reduces_to(name, batch, weighted):
    logits, target, counts, weight = batch
    one, other = (loss.build(counts) for loss in PAIRS[name])
    assert_same(one, other, logits, target, weight if weighted else None)


@given(batch=batches())
@settings(deadline=None, max_examples=15)
def test_cross_entropy_is_torchs(batch):
    logits, target, counts, _ = batch
    criterion = CrossEntropy(label_smoothing=0.1).build(counts, **BALANCED)
    expected = cross_entropy(logits, target, criterion.class_weight, label_smoothing=0.1)
    torch.testing.assert_close(criterion(logits, target), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", [WeightedCrossEntropy(), BalancedSoftmax()])
@given(batch=batches(), n=st.integers(1, 1000))
@settings(deadline=None, max_examples=15)
def test_equal_counts_make_cross_entropy(loss, batch, n):
    logits, target, counts, _ = batch
    equal = [n] * len(counts)
    assert_same(loss.build(equal), CE.build(equal), logits, target)


@given(batch=batches())
@settings(deadline=None, max_examples=15)
def test_wce_is_balanced_cross_entropy(batch):
    logits, target, counts, weight = batch
    wce, ce = WeightedCrossEntropy().build(counts), CE.build(counts, **BALANCED)
    assert_same(wce, ce, logits, target, weight)


@given(batch=batches())
@settings(deadline=None, max_examples=15)
def test_class_balanced_with_beta_near_one_is_balanced(batch):
    logits, target, counts, _ = batch
    near = ClassBalanced(beta=1 - 1e-12).build(counts)
    assert_same(near, CE.build(counts, **BALANCED), logits, target, rtol=1e-6)


def class_mean(counts):
    """Mean of the class means: weights inverse to the counts *of the batch*."""
    return CE.build(counts, class_weight=1 / torch.tensor(counts, dtype=torch.float64))


@pytest.mark.parametrize(
    "loss", [GroupDRO(step_size=0), Minimax(temperature=1e9)], ids=["group_dro", "minimax"]
)
@given(batch=batches(every_class=True))
@settings(deadline=None, max_examples=15)
def test_mean_of_class_means(loss, batch):
    logits, target, _, _ = batch
    counts = target.bincount(minlength=logits.shape[1]).tolist()
    assert_same(loss.build(counts), class_mean(counts), logits, target, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0, 0.1, 1, 1e6])
@given(batch=batches(one_class=True))
@settings(deadline=None, max_examples=10)
def test_minimax_over_one_group_is_cross_entropy(temperature, batch):
    logits, target, counts, weight = batch
    for grouping in ("class", "chunk"):
        loss = Minimax(grouping=grouping, temperature=temperature).build(counts)
        assert_same(loss, CE.build(counts), logits, target, None if grouping == "chunk" else weight)


@given(batch=batches(every_class=True), temperature=st.floats(0.01, 10))
@settings(deadline=None, max_examples=15)
def test_soft_minimax_is_its_formula(batch, temperature):
    logits, target, counts, weight = batch
    leaf = logits.clone().requires_grad_()
    losses = weight * cross_entropy(leaf, target, reduction="none")
    means = torch.stack(
        [losses[target == c].sum() / weight[target == c].sum() for c in target.unique()]
    )
    expected = temperature * ((means / temperature).logsumexp(0) - math.log(len(means)))
    (gradient,) = torch.autograd.grad(expected, leaf)
    found = evaluate(Minimax(temperature=temperature).build(counts), logits, target, weight)
    torch.testing.assert_close(found[0], expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[1], gradient, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_chunks_by_hand(make):
    # The rarest class has two rows: four rows are two chunks of two, five are two of two and three.
    target = [0, 1, 0, 2, 0, 1, 2, 0, 2, 2, 2]
    chunk = _cut_into_chunks(make(target), make([0, 1, 2]))
    assert chunk.tolist() == [0, 1, 0, 2, 3, 1, 2, 3, 5, 5, 5]


@given(batch=batches())
@settings(deadline=None, max_examples=15)
def test_chunks_are_of_one_class_and_near_equal(batch):
    _, target, counts, _ = batch
    criterion = Minimax(grouping="chunk").build(counts)
    member = torch.ones_like(target, dtype=torch.float64)
    chunk, total, size, _ = criterion.group_sums(target, member, None)
    smallest = target.unique(return_counts=True)[1].min()
    for group in chunk.unique():
        rows = (chunk == group).nonzero().flatten()
        assert len(target[rows].unique()) == 1
        assert smallest <= len(rows) < 2 * smallest
        assert len(rows) == size[group] == total[group]


@given(batch=batches(), alpha=st.floats(0.01, 1))
@settings(deadline=None, max_examples=30)
def test_cvar_is_the_least_of_its_dual(batch, alpha):
    """CVaR = min over t of t + mean(max(l - t, 0)) / alpha, reached at one of the losses."""
    logits, target, counts, weight = batch
    losses = cross_entropy(logits, target, reduction="none")
    thresholds = losses.unsqueeze(1)
    above = (losses - thresholds).clamp(min=0)
    plain = (losses + above.mean(1) / alpha).min()
    weighted = (losses + above @ weight / weight.sum() / alpha).min()
    criterion = CVaR(alpha=alpha).build(counts)
    torch.testing.assert_close(criterion(logits, target), plain, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(criterion(logits, target, weight), weighted, rtol=1e-9, atol=1e-12)
