"""Deferred class weights with every other setting left alone: they are not thrown away."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification

import skcyto
from skcyto.losses import LDAM, Criterion, Loss
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.neural_network._stacked._fit import StackedFit, make_stacks, train_stack
from skcyto.neural_network._transformer._loop import FineTuning

# Weights come into force with epoch 17 of 20.
DEFERRED = {"loss": LDAM(drw_start=0.8), "class_weight": "effective", "max_epochs": 20}
SMALL = {"hidden_layer_sizes": (16,), "random_state": 0, "device": "cpu"}


def table(n=300, seed=0):
    X, y = make_classification(
        n, 10, n_informative=5, weights=[0.9], class_sep=0.7, random_state=seed
    )
    return X.astype(np.float32), y


def noise(n=150):
    """Classes that nothing predicts: the validation loss soon rises."""
    rng = np.random.RandomState(0)
    return rng.randn(n, 30).astype(np.float32), (np.arange(n) % 5 == 0).astype(int)


def fit_mlp(X, y, **params):
    return ImbalancedMLPClassifier(**{**SMALL, **DEFERRED, **params}).fit(X, y)


def losses_of(model, key="valid_loss"):
    return np.array([row[key] for row in model.history_])


# ImbalancedMLPClassifier ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("validation_fraction", [0.1, None])
def test_the_best_epoch_is_one_with_weights(seed, validation_fraction):
    X, y = table()
    settings = {"random_state": seed, "validation_fraction": validation_fraction}
    model = fit_mlp(X, y, **settings)
    losses = losses_of(model, "train_loss" if validation_fraction is None else "valid_loss")
    assert losses[:16].min() < losses[16:].min(), "the test shows nothing otherwise"
    assert model.best_epoch_ == 17 + np.argmin(losses[16:])
    unweighted = fit_mlp(X, y, **settings, loss=LDAM(), class_weight=None, max_epochs=16)
    assert not np.array_equal(model.predict_proba(X), unweighted.predict_proba(X))


def test_the_weights_of_the_best_epoch_come_back():
    X, y = noise()
    params = {"learning_rate": 0.02, "validation_fraction": 0.3, "lr_scheduler": None}
    model = fit_mlp(X, y, **params, loss=LDAM(drw_start=0.5), max_epochs=40)
    assert 20 < model.best_epoch_ < 40, "the test shows nothing otherwise"
    # The same epochs, and none after the best one.
    shorter = fit_mlp(
        X,
        y,
        **params,
        loss=LDAM(drw_start=20 / model.best_epoch_),
        max_epochs=model.best_epoch_,
        restore_best_weights=False,
    )
    assert np.array_equal(losses_of(shorter), losses_of(model)[: model.best_epoch_])
    assert np.array_equal(shorter.predict_proba(X), model.predict_proba(X))


def test_early_stopping_counts_from_the_first_epoch_with_weights():
    X, y = noise()
    params = {"learning_rate": 0.02, "max_epochs": 60, "loss": LDAM(drw_start=0.5)}
    model = fit_mlp(X, y, **params, early_stopping=True, n_iter_no_change=3)
    losses = losses_of(model)
    assert np.argmin(losses[:30]) < 20, "without patience for the first stage it would end here"
    assert model.best_epoch_ > 30
    assert model.n_iter_ == model.best_epoch_ + 3 < 60
    # A patience of one epoch, the shortest there is, neither.
    assert fit_mlp(X, y, **params, early_stopping=True, n_iter_no_change=1).n_iter_ > 30


def test_early_stopping_stops_where_no_weights_are_to_come():
    X, y = noise()
    settings = {"max_epochs": 60, "early_stopping": True, "n_iter_no_change": 3}
    model = fit_mlp(X, y, **settings, loss=LDAM(), learning_rate=0.02)
    assert model.n_iter_ == model.best_epoch_ + 3 < 30


def test_the_plateau_begins_anew_and_keeps_the_learning_rate():
    X, y = table()
    # So large a weight that no loss after the switch comes near to those before it.
    model = fit_mlp(X, y, class_weight={1: 50.0}, reduction="count", max_epochs=40)
    losses, rates = losses_of(model), losses_of(model, "learning_rate")
    assert losses[32:].min() > losses[:32].min(), "the test shows nothing otherwise"
    expected, best, misses = [1e-3], np.inf, 0
    for epoch, loss in enumerate(losses[:-1]):
        if epoch == 32:
            best, misses = np.inf, 0
        better = loss < best * (1 - 1e-4)
        best, misses = (loss, 0) if better else (best, misses + 1)
        expected.append(expected[-1] * (0.5 if misses > 5 else 1))
        misses = 0 if misses > 5 else misses
    np.testing.assert_allclose(rates, expected)


def test_stacked_networks_are_those_trained_alone():
    X, y = noise()
    shared = {**SMALL, **DEFERRED, "learning_rate": 0.02}
    stops = {"early_stopping": True, "n_iter_no_change": 2}
    variants = [
        {},
        {"loss": LDAM(drw_start=0.5), **stops},
        {"loss": LDAM(drw_start=0.3), "max_epochs": 30, "reduction": "count"},
        {"loss": LDAM(), **stops},
        {"loss": LDAM(drw_start=0.6), "validation_fraction": None, **stops},
        {"loss": LDAM(drw_start=0.4), "class_weight": {1: 9.0}, "restore_best_weights": False},
        {"loss": LDAM(drw_start=0.5), "lr_scheduler": "cosine", "max_epochs": 11},
    ]
    fits = [StackedFit(ImbalancedMLPClassifier(**{**shared, **v}), X, y) for v in variants]
    for stack in make_stacks(fits):
        assert train_stack([fits[number] for number in stack])[1] == [None] * len(stack)
    for fit in fits:
        stacked, alone = fit.classifier, clone(fit.classifier).fit(X, y)
        # Equal to rounding, so that the epoch that is best, or the last, may be a neighbour.
        n = min(stacked.n_iter_, alone.n_iter_)
        for key in ("train_loss", "valid_loss", "learning_rate"):
            if key in alone.history_[0]:
                both = losses_of(stacked, key)[:n], losses_of(alone, key)[:n]
                np.testing.assert_allclose(*both, rtol=1e-3)
        if (stacked.best_epoch_, stacked.n_iter_) == (alone.best_epoch_, alone.n_iter_):
            np.testing.assert_allclose(stacked.predict_proba(X), alone.predict_proba(X), atol=1e-3)
    assert fits[0].classifier.best_epoch_ > 16
    assert len({fit.classifier.n_iter_ for fit in fits}) > 3


@pytest.mark.parametrize("how", ["pickle", "save"])
def test_a_model_that_is_read_back_knows_that_weights_are_in_force(how, tmp_path):
    X, y = table()
    model = fit_mlp(
        X, y, loss=LDAM(max_margin=0.0, scale=5.0, drw_start=0.8), predict_proba_prior="train"
    )
    assert model.net_.criterion_.log_prior_correction().abs().max() > 1
    if how == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        again = skcyto.load(skcyto.save(model, tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


class RescaledCriterion(Criterion):
    """A loss of somebody's own: ten times as large from the seventh epoch on."""

    factor = 1.0

    def set_epoch(self, epoch):
        self.factor = 10.0 if epoch >= 6 else 1.0

    def training_stage(self, epoch):
        return int(epoch >= 6)

    def sample_losses(self, logits, target):
        return self.factor * super().sample_losses(logits, target)


class Rescaled(Loss):
    name = "rescaled"

    def make_criterion(self, class_counts, *, class_weight, reduction, max_epochs):
        return RescaledCriterion(class_counts, class_weight=class_weight, reduction=reduction)


def test_a_loss_of_ones_own_can_have_stages():
    X, y = noise()
    model = fit_mlp(X, y, loss=Rescaled(), class_weight=None, learning_rate=0.02)
    assert model.best_epoch_ == 7 + np.argmin(losses_of(model)[6:])
    stopped = fit_mlp(
        X,
        y,
        loss=Rescaled(),
        class_weight=None,
        learning_rate=0.02,
        early_stopping=True,
        n_iter_no_change=1,
    )
    assert stopped.n_iter_ == stopped.best_epoch_ + 1 >= 8


# EVA02Classifier -----------------------------------------------------------------------------

# Weights come into force with epoch 4 of 6.
FINE_TUNED = {"loss": LDAM(drw_start=0.5), "max_epochs": 6, "drop_path": 0.2}


@pytest.fixture
def rare(images):
    """Images of which few are of the class "none"."""
    X, y = images
    kept = np.flatnonzero((y != "none") | (np.arange(len(y)) < 12))
    return X[kept], y[kept]


def same_network(one, other):
    pairs = zip(
        one.network_.state_dict().values(), other.network_.state_dict().values(), strict=True
    )
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("validation_fraction", [0.2, None])
def test_fine_tuning_keeps_an_epoch_with_weights(rare, make_classifier, validation_fraction):
    params = {**FINE_TUNED, "validation_fraction": validation_fraction}
    weights = {"none": 40.0}
    deferred = make_classifier(**params, class_weight=weights, reduction="count").fit(*rare)
    losses = losses_of(deferred, "train_loss" if validation_fraction is None else "valid_loss")
    assert losses[:3].min() < losses[3:].min(), "the test shows nothing otherwise"
    assert deferred.best_epoch_ == 4 + np.argmin(losses[3:])
    params |= {"loss": LDAM(), "max_epochs": 3}
    unweighted = make_classifier(**params).fit(*rare)
    assert not same_network(deferred, unweighted)


@pytest.mark.usefixtures("one_thread")
def test_the_plateau_of_fine_tuning_begins_anew(rare, make_classifier):
    classifier = make_classifier(
        loss=LDAM(drw_start=0.5),
        class_weight={"none": 1000.0},
        reduction="count",
        max_epochs=8,
        learning_rate=1e-12,  # nothing is learnt: the loss stays what it is but for the switch
        augment=None,
        freeze=6,
    ).fit(*rare)
    # Three misses, halved after the fourth epoch. The fifth is the best again, and three more
    # misses are complete with the eighth: without the new start it would be halved before.
    rates = losses_of(classifier, "learning_rate")
    np.testing.assert_allclose(rates, [1e-12] * 4 + [5e-13] * 4)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("epoch", [3, 4, 5])  # the switch comes next, has come, is long past
def test_fine_tuning_goes_on_about_the_switch(
    rare, make_classifier, tmp_path, monkeypatch, epoch, restore
):
    params = {
        **FINE_TUNED,
        "class_weight": {"none": 40.0},
        "reduction": "count",
        "validation_fraction": 0.2,
        "restore_best_weights": restore,
    }
    expected = make_classifier(**params).fit(*rare)
    train = FineTuning._train

    def interrupted(self, number, stream, advance):
        if number == epoch:
            raise KeyboardInterrupt
        return train(self, number, stream, advance)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "_train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_classifier(**params, checkpoint=tmp_path).fit(*rare)
    # Goes on, and is not repeated when it is asked for once more.
    for _ in range(2):
        resumed = make_classifier(**params, checkpoint=tmp_path).fit(*rare)
        assert resumed.best_epoch_ == expected.best_epoch_ > 3
        for row, other in zip(resumed.history_, expected.history_, strict=True):
            assert {**row, "dur": 0} == {**other, "dur": 0}
        assert same_network(resumed, expected)
        assert resumed.criterion_.active_class_weight() is not None


@pytest.mark.usefixtures("one_thread")
def test_a_fine_tuned_model_that_is_read_back_knows_it_too(rare, make_classifier, tmp_path):
    model = make_classifier(**FINE_TUNED, class_weight="balanced").fit(*rare)
    again = skcyto.load(skcyto.save(model, tmp_path / "model"))
    assert isinstance(again, EVA02Classifier)
    assert again.criterion_.active_class_weight() is not None
    np.testing.assert_array_equal(again.predict_proba(rare[0]), model.predict_proba(rare[0]))
