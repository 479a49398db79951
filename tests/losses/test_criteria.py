"""What holds for every criterion: weights, absent classes, extreme logits, shapes, dtypes."""

import io
import itertools
import pickle
import warnings

import pytest
import torch

from skcyto.exceptions import ImbalanceWarning, MissingClassWarning
from skcyto.losses import (
    LDAM,
    ClassBalanced,
    CrossEntropy,
    CVaR,
    Focal,
    GroupDRO,
    LogitAdjusted,
    Minimax,
    Poly1,
    SoftF1,
    VectorScaling,
    available,
    get_loss,
)

EVERY_LOSS = [get_loss(name) for name in available()] + [
    CrossEntropy(label_smoothing=0.1),
    Focal(gamma=0.3),
    ClassBalanced(gamma=2),
    LDAM(max_margin=0.5, scale=1),
    Minimax(temperature=0.1),
    Minimax(grouping="chunk"),
    Minimax(grouping="chunk", temperature=0.3),
    GroupDRO(step_size=0),
    GroupDRO(step_size=1.0),
    CVaR(alpha=0.13),
    Poly1(epsilon=-1),
]
every_loss = pytest.mark.parametrize("loss", EVERY_LOSS, ids=repr)
WEIGHTED = [loss for loss in EVERY_LOSS if loss.supports_sample_weight]


def takes_class_weight(loss):
    return not isinstance(loss, ClassBalanced)


def draw(n_samples, n_classes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n_samples, n_classes, generator=generator, dtype=torch.float64)
    target = torch.randint(n_classes, (n_samples,), generator=generator)
    return logits.to(dtype), target


def counts_of(n_classes):
    return [1000 // (c + 1) for c in range(n_classes)]


def evaluate(criterion, logits, target, sample_weight=None):
    leaf = logits.clone().requires_grad_()
    value = criterion(leaf, target, sample_weight)
    assert value.ndim == 0
    assert value.dtype == logits.dtype
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@every_loss
@pytest.mark.parametrize("n_classes", [2, 3, 7, 100])
def test_gradient_is_that_of_the_value(loss, n_classes):
    logits, target = draw(36, n_classes)
    # Evaluation mode: group DRO's shares stand still. CVaR and minimax are smooth at these points.
    criterion = loss.build(counts_of(n_classes)).eval()
    value, gradient = evaluate(criterion, logits, target)
    step = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).double()
    rise = criterion(logits + 1e-6 * step, target) - criterion(logits - 1e-6 * step, target)
    torch.testing.assert_close((gradient * step).sum(), rise / 2e-6, rtol=1e-5, atol=1e-7)
    single, single_gradient = evaluate(criterion, logits.float(), target)
    torch.testing.assert_close(single.double(), value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single_gradient.double(), gradient, rtol=1e-3, atol=1e-4)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_extreme_logits_give_finite_gradients(loss, dtype):
    for n_classes, size in itertools.product((2, 3, 7), (1.0, 50.0, 1e4)):
        # Every row sure of a class, right or wrong, by as much as the logits allow.
        target = torch.arange(2 * n_classes) % n_classes
        logits = torch.full((2 * n_classes, n_classes), -size, dtype=dtype)
        logits[torch.arange(2 * n_classes), torch.arange(2 * n_classes) // 2] = size
        right = logits.argmax(1) == target
        for weight in (None, "balanced") if takes_class_weight(loss) else (None,):
            criterion = loss.build(counts_of(n_classes), class_weight=weight)
            for batch, classes in (
                (logits, target),
                (-logits, target),
                (0 * logits, target),
                (logits[right], target[right]),
                (logits[~right], target[~right]),
            ):
                value, gradient = evaluate(criterion, batch, classes)
                assert torch.isfinite(value)
                assert torch.isfinite(gradient).all()


@every_loss
def test_absent_class_in_the_batch(loss):
    logits, target = draw(20, 3)
    target = target.clamp(max=1)
    value, gradient = evaluate(loss.build([100, 10, 5]), logits, target)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every_loss
def test_absent_class_in_the_split_counts_one(loss):
    logits, target = draw(20, 3)
    target = target.clamp(max=1)
    with pytest.warns(MissingClassWarning, match=r"positions \[2\] have no case"):
        criterion = loss.build([100, 10, 0])
    assert criterion.class_counts.tolist() == [100, 10, 1]
    one = loss.build([100, 10, 1])
    assert criterion(logits, target) == one(logits, target)


@every_loss
def test_two_cases_of_a_class_and_a_batch_of_one(loss):
    criterion = loss.build([200, 2])
    for n_samples in (1, 2):
        logits, target = draw(n_samples, 2)
        value, gradient = evaluate(criterion, logits, target)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@every_loss
def test_empty_batch_is_zero_with_a_graph(loss):
    value, gradient = evaluate(
        loss.build([5, 5, 5]), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    )
    assert value == 0
    assert gradient.shape == (0, 3)


@pytest.mark.parametrize("loss", WEIGHTED, ids=repr)
@pytest.mark.parametrize("reduction", ["weight_sum", "count"])
def test_weights_that_sum_to_zero_give_zero_with_a_graph(loss, reduction):
    logits, target = draw(6, 3)
    criterion = loss.build([5, 5, 5], reduction=reduction)
    value, gradient = evaluate(criterion, logits, target, torch.zeros(6, dtype=torch.float64))
    assert value == 0
    assert (gradient == 0).all()


def test_class_weights_of_zero_in_a_batch_of_that_class():
    logits, _ = draw(4, 2)
    target = torch.zeros(4, dtype=torch.int64)
    for name in ("ce", "focal", "minimax", "cvar", "soft_f1"):
        criterion = get_loss(name).build([9, 9], class_weight=[0, 1])
        value, gradient = evaluate(criterion, logits, target)
        assert value == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("loss", WEIGHTED, ids=repr)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_weight_two_is_a_row_twice_and_weight_zero_is_no_row(loss, class_weight):
    if class_weight is not None and not takes_class_weight(loss):
        with pytest.raises(ValueError, match="sets the class weights itself"):
            loss.build([70, 20, 10], class_weight=class_weight)
        return
    logits, target = draw(15, 3)
    repeats = torch.randint(0, 4, (15,), generator=torch.Generator().manual_seed(2))
    assert {0, 2} <= set(repeats.tolist())
    rows = torch.arange(15).repeat_interleave(repeats)
    weighted, gradient = evaluate(
        loss.build([70, 20, 10], class_weight=class_weight), logits, target, repeats.double()
    )
    repeated, of_copies = evaluate(
        loss.build([70, 20, 10], class_weight=class_weight), logits[rows], target[rows]
    )
    torch.testing.assert_close(weighted, repeated, rtol=1e-10, atol=1e-12)
    of_rows = torch.zeros_like(logits).index_add(0, rows, of_copies)
    torch.testing.assert_close(gradient, of_rows, rtol=1e-9, atol=1e-12)


def test_losses_without_sample_weight_refuse_it():
    loss = Minimax(grouping="chunk")
    assert not loss.supports_sample_weight
    assert Minimax().supports_sample_weight
    logits, target = draw(6, 2)
    with pytest.raises(ValueError, match=r"takes no sample_weight: .*grouping='class'"):
        loss.build([5, 5])(logits, target, torch.ones(6))


def test_count_normalisation_divides_by_rows():
    logits, target = draw(30, 3)
    weight = torch.rand(30, dtype=torch.float64)
    for name in ("ce", "focal", "poly1", "logit_adjusted"):
        by_sum, by_count = (
            get_loss(name).build([60, 30, 10], class_weight=[1, 2, 6], reduction=reduction)
            for reduction in ("weight_sum", "count")
        )
        omega = weight * by_sum.class_weight[target]
        for sample_weight, total in (
            (weight, omega.sum()),
            (None, by_sum.class_weight[target].sum()),
        ):
            torch.testing.assert_close(
                by_count(logits, target, sample_weight) * 30,
                by_sum(logits, target, sample_weight) * total,
            )


def test_class_weights_cancel_from_class_means_unless_counted():
    logits, target = draw(30, 2)
    plain = Minimax().build([20, 10])(logits, target)
    assert Minimax().build([20, 10], class_weight=[1, 7])(logits, target) == pytest.approx(plain)
    counted = Minimax().build([20, 10], class_weight=[1, 7], reduction="count")
    means = [get_loss("ce").build([1, 1])(logits[target == c], target[target == c]) for c in (0, 1)]
    assert counted(logits, target) == pytest.approx(max(means[0], 7 * means[1]))


def test_group_dro_shares():
    logits, target = draw(40, 3)
    criterion = GroupDRO(step_size=0.5).build([10, 10, 10])
    assert criterion.q.dtype == torch.float64
    assert list(criterion.state_dict()) == ["class_counts", "class_weight", "q"]
    criterion.eval()
    criterion(logits, target)
    assert criterion.q.tolist() == pytest.approx([1 / 3] * 3, abs=0)
    criterion.train()
    first = criterion(logits, target)
    moved = criterion.q.clone()
    assert moved.sum().item() == pytest.approx(1)
    assert moved.std() > 0.01
    criterion(logits, target)
    assert not torch.equal(criterion.q, moved)
    # An absent class has no loss: against another absent class its share stays what it was.
    before = criterion.q.clone()
    criterion(logits, torch.zeros_like(target))
    assert criterion.q[1] / criterion.q[2] == pytest.approx((before[1] / before[2]).item())
    # A fresh criterion goes on from the state of another.
    copy = GroupDRO(step_size=0.5).build([10, 10, 10])
    copy.load_state_dict(criterion.state_dict())
    assert copy(logits, target) == criterion(logits, target)
    assert first.requires_grad is False


def test_group_dro_backward_of_two_batches_together():
    logits, target = draw(10, 2)
    leaf = logits.clone().requires_grad_()
    criterion = GroupDRO().build([5, 5])
    (criterion(leaf, target) + criterion(leaf, target)).backward()
    assert torch.isfinite(leaf.grad).all()


def test_buffers_stay_double_when_the_model_is_cast():
    criterion = GroupDRO().build([30, 10], class_weight="balanced")
    for cast in (criterion.float(), criterion.half(), criterion.to(torch.float32)):
        assert cast.q.dtype == cast.class_weight.dtype == cast.class_counts.dtype == torch.float64
    assert criterion.to("meta").q.device.type == "meta"


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_single(loss, dtype):
    logits, target = draw(12, 3)
    logits = logits.to(dtype)
    criterion = loss.build([60, 30, 10]).eval()
    value = criterion(logits, target)
    assert value.dtype == torch.float32
    assert value == criterion(logits.float(), target)


@every_loss
def test_pickle_keeps_value_and_state(loss):
    logits, target = draw(12, 3)
    criterion = loss.build([60, 30, 10])
    criterion(logits, target)
    copy = pickle.loads(pickle.dumps(criterion))
    assert copy(logits, target) == criterion(logits, target)
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    fresh = loss.build([60, 30, 10])
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh(logits, target) == criterion(logits, target)


def test_target_of_any_integer_type():
    logits, target = draw(12, 3)
    criterion = get_loss("focal").build([60, 30, 10])
    for dtype in (torch.int32, torch.uint8, torch.int16):
        assert criterion(logits, target.to(dtype)) == criterion(logits, target)


BAD_CALLS = [
    ((torch.zeros(4), torch.zeros(4).long()), "logits must have shape"),
    ((torch.zeros(4, 2), torch.zeros(4).long()), r"shape \(n_samples, 3\), got \(4, 2\)"),
    ((torch.zeros(4, 3), torch.zeros(3).long()), "target must have shape"),
    ((torch.zeros(4, 3), torch.zeros(4, 3).long()), "target must have shape"),
    ((torch.zeros(4, 3), torch.zeros(4)), "integer class positions, got torch.float32"),
    ((torch.zeros(4, 3), torch.zeros(4).bool()), "integer class positions"),
    ((torch.zeros(4, 3), torch.zeros(4).long(), torch.ones(3)), "sample_weight must have shape"),
    ((torch.zeros(4, 3), torch.zeros(4).long(), torch.ones(4, 1)), "sample_weight must have"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_CALLS)
def test_bad_calls(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_loss("ce").build([1, 1, 1])(*arguments)


@pytest.mark.parametrize("weight", ["effective", "max_ratio", [1.0, 3.0]])
def test_deferred_reweighting(weight):
    logits, target = draw(20, 2)
    loss = LDAM(drw_start=0.8)
    criterion = loss.build([90, 10], class_weight=weight, max_epochs=10)
    plain = LDAM().build([90, 10])(logits, target)
    weighted = LDAM().build([90, 10], class_weight=weight)(logits, target)
    assert plain != weighted
    assert criterion(logits, target) == plain
    for epoch in range(10):
        criterion.set_epoch(epoch)
        assert criterion(logits, target) == (plain if epoch < 8 else weighted)
    torch.testing.assert_close(
        criterion.class_weight, LDAM().build([90, 10], class_weight=weight).class_weight
    )


@pytest.mark.parametrize(
    ("loss", "weight", "stages"),
    [
        (LDAM(drw_start=0.6), "balanced", [0, 0, 0, 1, 1]),
        (LDAM(drw_start=0.5), [1.0, 2.0], [0, 0, 0, 1, 1]),
        (LDAM(drw_start=0), "balanced", [0] * 5),  # in force from the start
        pytest.param(
            LDAM(drw_start=1),
            "balanced",
            [0] * 5,  # and never
            marks=pytest.mark.filterwarnings("ignore:LDAM.*defers class weights past the last"),
        ),
        (LDAM(drw_start=0.6), [1.0, 1.0], [0] * 5),  # weights that change nothing
        (LDAM(), "balanced", [0] * 5),
    ],
)
def test_the_stage_changes_with_the_scale_of_the_loss(loss, weight, stages):
    criterion = loss.build([90, 10], class_weight=weight, max_epochs=5)
    assert [criterion.training_stage(epoch) for epoch in range(5)] == stages
    criterion.set_epoch(4)  # whatever epoch is running
    again = pickle.loads(pickle.dumps(criterion))
    assert [again.training_stage(epoch) for epoch in range(5)] == stages
    logits, target = draw(20, 2)
    values = []
    for epoch in range(5):
        criterion.set_epoch(epoch)
        values.append(criterion(logits, target).item())
    assert [value != values[0] for value in values] == [stage != 0 for stage in stages]


def test_deferred_reweighting_needs_epochs_and_weights():
    with pytest.raises(ValueError, match="give max_epochs too"):
        LDAM(drw_start=0.8).build([9, 1], class_weight="balanced")
    with pytest.warns(ImbalanceWarning, match="defers class weights, and there are none"):
        LDAM(drw_start=0.8).build([9, 1], max_epochs=10)


@pytest.mark.parametrize(("start", "n_epochs"), [(0.8, 4), (1, 50), (0.99, 50)])
def test_class_weights_that_would_never_count_are_pointed_out(start, n_epochs):
    with pytest.warns(ImbalanceWarning, match=f"past the last of {n_epochs} epochs"):
        LDAM(drw_start=start).build([9, 1], class_weight="balanced", max_epochs=n_epochs)
    LDAM(drw_start=0.8).build([9, 1], class_weight="balanced", max_epochs=5)


def test_ldam_margins_and_scores():
    criterion = LDAM(max_margin=0.4, scale=20).build([1600, 100])
    assert criterion.margin.tolist() == pytest.approx([0.2, 0.4])
    # The paper's C n**(-1/4) of C = 10.
    of_paper = LDAM(max_margin=10 * 16**-0.25).build([625, 16])
    assert of_paper.margin.tolist() == pytest.approx([2, 5])
    logits, _ = draw(5, 2)
    torch.testing.assert_close(criterion.scores(logits), 20 * logits)
    for name in available():
        if name != "ldam":
            assert get_loss(name).build([9, 3]).scores(logits) is logits


@every_loss
def test_set_epoch_and_no_warning_of_ordinary_use(loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion = loss.build([90, 10], max_epochs=5)
        criterion.set_epoch(3)
        assert {criterion.training_stage(epoch) for epoch in range(5)} == {0}


# --- the way back to a prior ----------------------------------------------------------------

EXACT = [
    (CrossEntropy(), None),
    (CrossEntropy(), "balanced"),
    (CrossEntropy(), [3.0, 1.0, 7.0]),
    (get_loss("wce"), None),
    (ClassBalanced(beta=0.99), None),
    (get_loss("balanced_softmax"), None),
    (LogitAdjusted(tau=1.7), None),
    (LogitAdjusted(tau=0.5), "max_ratio"),
    (VectorScaling(gamma=0, tau=1), "balanced"),
    (Focal(gamma=0), "balanced"),
    (Poly1(epsilon=0), "balanced"),
    (CVaR(alpha=1), "balanced"),
    (LDAM(max_margin=0, scale=4), "balanced"),
]


@pytest.mark.parametrize(("loss", "class_weight"), EXACT, ids=str)
def test_prior_correction_recovers_the_posterior(loss, class_weight):
    """Minimise the expected loss at one point x exactly; the correction must give P(c | x)."""
    counts = torch.tensor([60.0, 30.0, 10.0], dtype=torch.float64)
    posterior = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    criterion = loss.build(counts, class_weight=class_weight)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=200,
        tolerance_grad=1e-13,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = criterion(logits.expand(3, 3), torch.arange(3), posterior)
        value.backward()
        return value

    optimizer.step(closure)
    scores = criterion.scores(logits.detach())[0]
    trained = (scores + criterion.log_prior_correction()).softmax(0)
    torch.testing.assert_close(trained, posterior, rtol=1e-5, atol=0)
    new_prior = torch.tensor([2.0, 2.0, 4.0], dtype=torch.float64)
    expected = posterior / counts * new_prior
    shifted = (scores + criterion.log_prior_correction(new_prior)).softmax(0)
    torch.testing.assert_close(shifted, expected / expected.sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        Focal(),
        LDAM(),
        CrossEntropy(label_smoothing=0.1),
        ClassBalanced(gamma=1),
        VectorScaling(),
        Minimax(),
        GroupDRO(),
        CVaR(),
        SoftF1(),
        Poly1(),
    ],
    ids=repr,
)
def test_losses_without_a_way_back_point_to_calibration(loss):
    with pytest.raises(ValueError, match="CalibratedClassifierCV"):
        loss.build([9, 3]).log_prior_correction("train")


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("uniform", "must be 'train' or one number a class"),
        ([0.2, 0.3, 0.5], "for 2 classes"),
        ([0.0, 1.0], "positive and finite"),
        ([float("nan"), 1.0], "positive and finite"),
    ],
)
def test_bad_priors(prior, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropy().build([9, 3]).log_prior_correction(prior)


def test_no_way_back_from_a_class_weight_of_zero():
    with pytest.raises(ValueError, match="class weight of zero"):
        CrossEntropy().build([9, 3], class_weight=[0, 1]).log_prior_correction()


def test_deferred_weights_are_corrected_once_in_force():
    criterion = LDAM(max_margin=0, drw_start=0.5).build(
        [9, 3], class_weight="balanced", max_epochs=2
    )
    assert criterion.log_prior_correction().tolist() == [0, 0]
    criterion.set_epoch(1)
    assert criterion.log_prior_correction().tolist() != [0, 0]
