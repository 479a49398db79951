"""Networks that train together come out as they would alone."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import StratifiedKFold
from skorch.callbacks import EpochScoring

from skcyto.losses import (
    LDAM,
    ClassBalanced,
    Criterion,
    CrossEntropy,
    CVaR,
    Focal,
    GroupDRO,
    LogitAdjusted,
    Loss,
    Minimax,
    Poly1,
    SoftF1,
    VectorScaling,
    WeightedCrossEntropy,
    available,
    get_loss,
)
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._stacked import _fit as _stacked
from skcyto.neural_network._stacked._fit import (
    StackedFit,
    make_stacks,
    train_stack,
    why_not_stackable,
)
from skcyto.neural_network._stacked._modules import StackedCriteria

pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")


def table(n=151, p=9, n_classes=3, seed=0):
    X, y = make_classification(
        n,
        p,
        n_informative=6,
        n_classes=n_classes,
        n_clusters_per_class=1,
        weights=[0.6, 0.25] if n_classes == 3 else [0.7],
        flip_y=0.1,
        random_state=seed,
    )
    return X.astype(np.float32), np.array(["normal", "rare", "severe"])[y]


def net(**params):
    settings = {
        "hidden_layer_sizes": (0.5,),
        "batch_size": 16,
        "max_epochs": 12,
        "random_state": 0,
        "device": "cpu",
    }
    return ImbalancedMLPClassifier(**{**settings, **params})


def fit_stacked(fits):
    errors = [None] * len(fits)
    for stack in make_stacks(fits):
        _, found = train_stack([fits[number] for number in stack])
        for number, error in zip(stack, found, strict=True):
            errors[number] = error
    return errors


def folds(X, y, n_splits=3):
    return [train for train, _ in StratifiedKFold(n_splits).split(X, y)]


def assert_same(stacked, alone, X, tolerance=1e-4):
    np.testing.assert_allclose(stacked.predict_proba(X), alone.predict_proba(X), atol=tolerance)
    assert stacked.n_iter_ == alone.n_iter_
    assert stacked.best_epoch_ == alone.best_epoch_
    assert [set(row) for row in stacked.history_] == [set(row) for row in alone.history_]
    for key in ("train_loss", "valid_loss", "learning_rate"):
        if key in alone.history_[0]:
            np.testing.assert_allclose(
                [row[key] for row in stacked.history_],
                [row[key] for row in alone.history_],
                rtol=1e-3,
                atol=1e-5,
            )
    np.testing.assert_array_equal(stacked.class_counts_, alone.class_counts_)
    np.testing.assert_allclose(stacked.class_weight_, alone.class_weight_)


def compare(classifiers, X, y, rows=None, tolerance=1e-4, **fit_params):
    rows = folds(X, y) if rows is None else rows
    fits = []
    for part in rows:
        data = {key: value[part] for key, value in fit_params.items()}
        X_part, y_part = X[part], y[part]
        fits += [StackedFit(clone(c), X_part, y_part, **data) for c in classifiers]
    assert fit_stacked(fits) == [None] * len(fits)
    for fit in fits:
        data = {key: getattr(fit, key) for key in fit_params}
        alone = clone(fit.classifier).fit(fit.X, fit.y, **data)
        assert_same(fit.classifier, alone, X, tolerance)
    return fits


def n_stacks(fits):
    return len(_stacked.make_stacks(fits))


# The same as alone ---------------------------------------------------------------------------


def test_everything_that_is_a_number_may_differ():
    X, y = table()
    classifiers = [
        net(learning_rate=1e-4, weight_decay=0.0, dropout=0.0),
        net(learning_rate=1e-2, weight_decay=0.1, dropout=0.5, random_state=1),
        net(loss=CrossEntropy(label_smoothing=0.1), class_weight="balanced", random_state=2),
        net(class_weight={"rare": 3.0}, reduction="count", lr_scheduler="cosine"),
        net(max_epochs=5, validation_fraction=None, lr_scheduler=None),
        net(restore_best_weights=False, validation_fraction=0.3),
        net(max_epochs=40, early_stopping=True, n_iter_no_change=2, learning_rate=0.02),
        net(sampler="stratified"),
    ]
    fits = compare(classifiers, X, y)
    assert n_stacks(fits) == 2  # without dropout a network has other layers
    assert len({fit.classifier.n_iter_ for fit in fits}) > 2


LOSSES = [
    ("ce", "wce", LogitAdjusted(tau=0.5), VectorScaling(gamma=0.2), ClassBalanced(beta=0.99)),
    (Focal(gamma=0.5), Focal(gamma=2.0), ClassBalanced(gamma=1.5)),
    (Poly1(epsilon=1.0), Poly1(epsilon=-0.5)),
    (LDAM(), LDAM(max_margin=0.3, scale=10.0), LDAM(max_margin=0.3), LDAM(drw_start=0.5)),
    (Minimax(), Minimax(temperature=0.2)),
    (GroupDRO(step_size=0.01), GroupDRO(step_size=0.0), GroupDRO(step_size=0.2)),
    (CVaR(alpha=0.5), CVaR(alpha=0.33)),
    (SoftF1(),),
    ("balanced_softmax", WeightedCrossEntropy(label_smoothing=0.2)),
]


@pytest.mark.parametrize("losses", LOSSES, ids=lambda losses: str(losses[0]))
@pytest.mark.parametrize("weighted", [False, True])
def test_every_loss_trains_as_it_does_alone(losses, weighted):
    X, y = table()
    classifiers = [
        net(loss=loss, reduction=reduction, max_epochs=6, learning_rate=3e-3)
        for loss in losses
        for reduction in ("weight_sum", "count")
    ]
    more = {}
    if weighted:
        more["sample_weight"] = np.random.default_rng(0).uniform(0, 3, len(y)).astype(np.float32)
        more["sample_weight"][::11] = 0
    fits = compare(classifiers, X, y, rows=folds(X, y)[:2], **more)
    assert n_stacks(fits) == 1


@pytest.mark.parametrize("losses", LOSSES, ids=lambda losses: str(losses[0]))
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_criteria_called_as_one_give_the_values_of_each(losses, class_weight, weighted, training):
    generator = torch.Generator().manual_seed(0)
    build = {"class_weight": class_weight, "max_epochs": 4}
    if any(isinstance(get_loss(loss), (WeightedCrossEntropy, ClassBalanced)) for loss in losses):
        build.pop("class_weight")  # they have class weights of their own
    criteria = [
        get_loss(loss).build(counts, reduction=reduction, **build).train(training)
        for loss in losses
        for reduction in ("weight_sum", "count")
        for counts in ([60, 25, 15], [30, 30, 10])
    ]
    alone = [copy.deepcopy(criterion) for criterion in criteria]
    stacked = StackedCriteria(criteria)
    for epoch in range(3):  # states move, and deferred weights come into force
        for loss in (stacked, *alone):
            loss.set_epoch(epoch)
        logits = 3 * torch.randn(len(criteria), 40, 3, generator=generator)
        target = torch.randint(3 - (epoch == 1), (len(criteria), 40), generator=generator)
        weight = None
        if weighted:
            weight = torch.rand(len(criteria), 40, generator=generator)
            weight[:, ::7] = 0
        first, second = (logits.clone().requires_grad_() for _ in range(2))
        everyone = slice(0, len(criteria))
        values = stacked.forward([first, target, weight], everyone, training)
        values.sum().backward()
        weights = [None] * len(alone) if weight is None else weight
        parts = zip(alone, second, target, weights, strict=True)
        expected = torch.stack([criterion(*part) for criterion, *part in parts])
        expected.sum().backward()
        torch.testing.assert_close(values, expected, rtol=2e-5, atol=1e-6)
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-6)
    for number, (criterion, own) in enumerate(zip(criteria, alone, strict=True)):
        stacked.write(number)
        for name, buffer in criterion.named_buffers():
            torch.testing.assert_close(buffer, dict(own.named_buffers())[name])


class Blunt(Criterion):
    """A loss of one's own that looks at its values, which no stacked call can."""

    def sample_losses(self, logits, target):
        losses = super().sample_losses(logits, target)
        return losses if losses.mean() > 0.5 else losses.square()


class BluntLoss(Loss):
    name = "blunt"

    def make_criterion(self, class_counts, *, class_weight, reduction, max_epochs):
        return Blunt(class_counts, class_weight=class_weight, reduction=reduction)


@pytest.mark.parametrize("loss", [BluntLoss(), Minimax(grouping="chunk")])
def test_losses_that_cannot_be_called_as_one_are_called_one_by_one(loss):
    X, y = table()
    fits = compare([net(loss=loss, max_epochs=4), net(loss="ce", max_epochs=4)], X, y)
    assert n_stacks(fits) == 1


def test_networks_for_which_a_stack_does_not_pay_are_fitted_one_by_one(monkeypatch):
    X, y = table()
    fits = [StackedFit(net(random_state=seed, max_epochs=2), X, y) for seed in range(3)]
    monkeypatch.setattr(_stacked, "_LARGE_NETWORK", 10)
    assert make_stacks(fits) == [[0], [1], [2]]
    assert fit_stacked(fits) == [None] * 3
    alone = clone(fits[1].classifier).fit(X, y)
    np.testing.assert_array_equal(fits[1].classifier.predict_proba(X), alone.predict_proba(X))


def test_all_losses_by_name_but_none_left_out():
    named = {loss if isinstance(loss, str) else loss.name for group in LOSSES for loss in group}
    assert named == set(available())


@pytest.mark.parametrize("class_weight", ["balanced", {"rare": 4.0, "severe": 0.0}])
@pytest.mark.parametrize(
    "loss", [Focal(gamma=1.5), LDAM(drw_start=0.5), Minimax(), CVaR(alpha=0.4), SoftF1(), "ce"]
)
def test_class_weights_with_every_family(loss, class_weight):
    X, y = table()
    classifiers = [
        net(loss=loss, class_weight=class_weight, reduction=reduction, max_epochs=6)
        for reduction in ("weight_sum", "count")
    ]
    compare(classifiers, X, y, rows=folds(X, y)[:2])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_optimisers_and_layers(optimizer, batch_norm):
    X, y = table(n_classes=2)
    rate = 0.05 if optimizer == "sgd" else 3e-3
    classifiers = [
        net(
            hidden_layer_sizes=(8, 0.5, 4),
            optimizer=optimizer,
            batch_norm=batch_norm,
            learning_rate=rate * factor,
            weight_decay=decay,
        )
        for factor, decay in [(1.0, 0.01), (0.3, 0.0)]
    ]
    compare(classifiers, X, y)


@pytest.mark.parametrize("activation", ["elu", "gelu", "leaky_relu", "silu", "tanh"])
def test_activations(activation):
    X, y = table()
    compare([net(activation=activation, max_epochs=5)], X, y)


def test_a_linear_model_and_a_cosine_head():
    X, y = table()
    compare([net(hidden_layer_sizes=()), net(cosine_head=True)], X, y)


@pytest.mark.parametrize("sampler", ["balanced", "grouped", "stratified"])
def test_samplers(sampler):
    X, y = table()
    compare([net(sampler=sampler, random_state=seed) for seed in range(3)], X, y)


def test_folds_of_any_number_of_rows():
    X, y = table()
    # 1 more than a multiple of 16 ends in a batch of 17; others in 15, 1 + 16, 2 and 16.
    rows = [np.arange(n) for n in (143, 145, 146, 144, 97, 33)]
    compare([net(validation_fraction=None), net(dropout=0.4, random_state=3)], X, y, rows=rows)


def test_groups_stay_whole_in_the_inner_split():
    X, y = table()
    groups = np.arange(len(y)) // 3
    compare([net(validation_fraction=0.3)], X, y, groups=groups)


def test_a_network_does_not_depend_on_its_company(monkeypatch):
    X, y = table()
    classifiers = [net(learning_rate=rate) for rate in (1e-3, 1e-2, 1e-4)]
    together = [StackedFit(clone(c), X, y) for c in classifiers for _ in range(2)]
    fit_stacked(together)
    monkeypatch.setattr(_stacked, "_CPU_PARAMETERS", 150)  # three networks or so
    apart = [StackedFit(clone(fit.classifier), X, y) for fit in together]
    fit_stacked(apart)
    assert n_stacks(apart) > 1
    for one, other in zip(together, apart, strict=True):
        assert_same(one.classifier, other.classifier, X)


def test_global_generators_are_left_alone():
    X, y = table()
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit_stacked([StackedFit(net(max_epochs=2), X, y) for _ in range(2)])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_what_comes_out_is_an_ordinary_fitted_classifier():
    X, y = table()
    fit = StackedFit(net(loss=GroupDRO(step_size=0.1), predict_proba_prior=None), X, y)
    fit_stacked([fit, StackedFit(net(), X, y)])
    classifier = fit.classifier
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert not torch.equal(classifier.net_.criterion_.q, torch.full((3,), 1 / 3).double())
    clone(classifier).fit(X, y)
    assert classifier.fit(X, y) is classifier


# What fails, fails alone ---------------------------------------------------------------------


def test_one_that_diverges_leaves_the_others_alone():
    X, y = table()
    fits = [
        StackedFit(net(learning_rate=1e30, optimizer="sgd", batch_norm=False), X, y),
        StackedFit(net(learning_rate=1e-2, optimizer="sgd", batch_norm=False), X, y),
    ]
    errors = fit_stacked(fits)
    assert errors[1] is None
    assert isinstance(errors[0], ValueError)
    with pytest.raises(ValueError, match="diverged") as alone:
        clone(fits[0].classifier).fit(X, y)
    assert str(errors[0]) == str(alone.value)
    assert_same(fits[1].classifier, clone(fits[1].classifier).fit(X, y), X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"predict_proba_prior": [0.5, 0.5]}, "predict_proba_prior"),
        ({"loss": Focal(gamma=-1.0)}, "gamma"),
        ({"batch_size": 1}, "leaves nothing to normalise"),
    ],
)
def test_bad_parameters_fail_as_they_do_alone(params, message):
    X, y = table()
    bad, good = StackedFit(net(**params), X, y), StackedFit(net(max_epochs=2), X, y)
    errors = fit_stacked([bad, good])
    assert errors[1] is None
    with pytest.raises(type(errors[0]), match=message):
        raise errors[0]
    with pytest.raises(type(errors[0]), match=message):
        clone(bad.classifier).fit(X, y)


def test_a_table_that_is_no_good():
    X, y = table()
    bad = X.copy()
    bad[3, 2] = np.nan
    errors = fit_stacked(
        [StackedFit(net(max_epochs=2), bad, y), StackedFit(net(max_epochs=2), X, y)]
    )
    assert "NaN" in str(errors[0])
    assert errors[1] is None


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [
        (net(callbacks=[EpochScoring("accuracy")]), "callbacks"),
        (net(net_params={"optimizer__betas": (0.5, 0.9)}), "net_params"),
        (net(optimizer=torch.optim.RMSprop), "optimizer"),
        (type("Derived", (ImbalancedMLPClassifier,), {})(), "Derived"),
    ],
)
def test_what_cannot_be_stacked_says_why(classifier, reason):
    assert reason in why_not_stackable(classifier)


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (5,)},
        {"batch_size": 17},
        {"optimizer": "sgd"},
        {"batch_norm": False},
        {"activation": "tanh"},
        {"cosine_head": True},
        {"dropout": 0.0},
    ],
)
def test_other_shapes_get_a_stack_of_their_own(params):
    X, y = table()
    fits = [StackedFit(c, X, y) for c in (net(max_epochs=2), net(max_epochs=2, **params))]
    assert n_stacks(fits) == 2
    assert fit_stacked(fits) == [None, None]


def test_rows_that_are_shared_are_stored_once():
    X, y = table()
    fits = [StackedFit(net(random_state=seed), X, y) for seed in range(4)]
    training = _stacked.StackedTraining(
        [
            (number, fit.classifier, fit.classifier._prepare_fit(X, y, None, None))
            for number, fit in enumerate(fits)
        ]
    )
    assert len(training.rows.X) == len(X)


def test_warnings_are_those_of_a_single_fit():
    X, y = table()
    with warnings.catch_warnings(record=True) as alone:
        warnings.simplefilter("always")
        net(loss="minimax", max_epochs=1, batch_size=8).fit(X, y)
    with warnings.catch_warnings(record=True) as stacked:
        warnings.simplefilter("always")
        fit_stacked(
            [StackedFit(net(loss="minimax", max_epochs=1, batch_size=8), X, y) for _ in range(2)]
        )
    assert [str(w.message) for w in stacked] == 2 * [str(w.message) for w in alone]
    assert alone


@pytest.mark.gpu
def test_on_a_gpu_a_network_depends_on_itself_alone():
    X, y = table()
    classifiers = [net(device="cuda", random_state=seed, dropout=0.3) for seed in range(4)]
    together = [StackedFit(clone(c), X, y) for c in classifiers]
    assert fit_stacked(together) == [None] * 4
    for fit in together:
        alone = StackedFit(clone(fit.classifier), X, y)
        fit_stacked([alone])
        assert_same(fit.classifier, alone.classifier, X, tolerance=1e-3)


@pytest.mark.gpu
def test_without_dropout_a_gpu_gives_the_results_of_one_by_one():
    X, y = table()
    compare([net(device="cuda", dropout=0.0, random_state=seed) for seed in range(4)], X, y)
