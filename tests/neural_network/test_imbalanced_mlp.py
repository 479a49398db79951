"""ImbalancedMLPClassifier as a user meets it."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn import set_config
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EpochScoring, GradientNormClipping

from skcyto.exceptions import ImbalanceWarning, MissingClassWarning
from skcyto.losses import LDAM, BalancedSoftmax, CVaR, Focal, available, get_loss
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._samplers import SAMPLERS

QUICK = {"hidden_layer_sizes": (16,), "max_epochs": 15, "batch_size": 32, "random_state": 0}
# No source of chance and one batch: what weights mean exactly.
EXACT = {
    "hidden_layer_sizes": (8,),
    "batch_size": 10_000,
    "dropout": 0.0,
    "batch_norm": False,
    "validation_fraction": None,
    "max_epochs": 20,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "random_state": 0,
}


def data(n=300, n_classes=3, weights=None, seed=0, p=10):
    X, y = make_classification(
        n,
        p,
        n_informative=6,
        n_classes=n_classes,
        n_clusters_per_class=1,
        weights=weights,
        random_state=seed,
    )
    return StandardScaler().fit_transform(X), y


# Probabilities and predictions --------------------------------------------------------------


@pytest.mark.parametrize("loss", available())
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_probabilities_sum_to_one_and_predict_is_their_argmax(loss):
    X, y = data(weights=[0.7, 0.2, 0.1])
    labels = np.array(["healthy", "rubbish", "unhealthy"])[y]
    model = ImbalancedMLPClassifier(**QUICK, loss=loss).fit(X, labels)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (probabilities >= 0).all()
    assert np.array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities, rtol=1e-6)
    assert roc_auc_score(labels, probabilities, multi_class="ovr") > 0.6


@pytest.mark.parametrize("n_classes", [2, 3, 7, 100])
def test_number_of_classes(n_classes):
    rng = np.random.RandomState(0)
    y = np.arange(4 * n_classes) % n_classes
    X = rng.randn(len(y), 5) + rng.randn(n_classes, 5)[y]
    model = ImbalancedMLPClassifier(**QUICK).fit(X, y)
    assert model.predict_proba(X).shape == (len(y), n_classes)


@settings(
    deadline=None,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    labels=st.one_of(
        st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=4, unique=True),
        st.lists(st.integers(-1000, 1000), min_size=2, max_size=4, unique=True),
        st.just([False, True]),
    ),
    common=st.integers(1, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_labels_with_a_rare_class(labels, common, seed):
    counts = [common] * (len(labels) - 1) + [1]
    y = np.repeat(np.array(labels), counts)
    X = np.random.RandomState(seed).randn(len(y), 3)
    model = ImbalancedMLPClassifier((4,), max_epochs=2, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImbalanceWarning)
        model.fit(X, y)
    assert set(model.predict(X)) <= set(model.classes_)
    assert set(model.classes_) == set(y)
    probabilities = model.predict_proba(X)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


# What is learnt from which rows --------------------------------------------------------------


def test_class_counts_are_those_of_the_rows_that_train():
    X, y = data(n=400, weights=[0.8, 0.15, 0.05])
    model = ImbalancedMLPClassifier(**QUICK, validation_fraction=0.25, class_weight="max_ratio")
    model.fit(X, y)
    counts = np.bincount(y)
    np.testing.assert_allclose(model.class_counts_, counts - np.round(counts * 0.25), atol=1)
    assert model.class_counts_.sum() == 300
    np.testing.assert_allclose(model.class_weight_, model.class_counts_.max() / model.class_counts_)


def test_ps3c_weights():
    y = np.repeat(["rubbish", "healthy", "unhealthy"], [50371, 28895, 5814])
    X = np.zeros((len(y), 1))
    model = ImbalancedMLPClassifier(
        (1,), max_epochs=1, batch_size=len(y), validation_fraction=None, class_weight="max_ratio"
    ).fit(X, y)
    weights = dict(zip(model.classes_, model.class_weight_.round(3), strict=True))
    assert weights == {"rubbish": 1.0, "healthy": 1.743, "unhealthy": 8.664}


def test_validation_rows_change_nothing_but_the_choice_of_the_epoch():
    from skcyto.neural_network._inner_split import inner_split
    from skcyto.utils._random import draw_seed

    X, y = data(n=200, weights=[0.7, 0.2, 0.1])
    split_seed = draw_seed(np.random.RandomState(0))
    _, valid = inner_split(y, validation_fraction=0.2, random_state=split_seed)
    changed = X.copy()
    changed[valid] += 100
    settings_ = {
        **QUICK,
        "validation_fraction": 0.2,
        "lr_scheduler": "cosine",
        "restore_best_weights": False,
        "loss": "ldam",
    }
    first = ImbalancedMLPClassifier(**settings_).fit(X, y)
    second = ImbalancedMLPClassifier(**settings_).fit(changed, y)
    assert np.array_equal(first.class_counts_, second.class_counts_)
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    assert first.history_[0]["valid_loss"] != second.history_[0]["valid_loss"]


def test_groups_reach_the_inner_split_through_a_pipeline():
    X, y = data(n=300, n_classes=2)
    groups = np.repeat(np.arange(30), 10)
    # Every group carries its own mark; a network that saw a validation group would know it.
    seen = []

    class Spy(ImbalancedMLPClassifier):
        def fit(self, X, y, *, sample_weight=None, groups=None):
            seen.append(groups)
            return super().fit(X, y, sample_weight=sample_weight, groups=groups)

    set_config(enable_metadata_routing=True)
    try:
        pipeline = make_pipeline(StandardScaler(), Spy(**QUICK).set_fit_request(groups=True))
        cross_validate(pipeline, X, y, cv=GroupKFold(3), params={"groups": groups})
    finally:
        set_config(enable_metadata_routing=False)
    assert len(seen) == 3
    assert all(fold is not None and len(fold) == 200 for fold in seen)


def test_no_group_is_on_both_sides_of_the_inner_split(monkeypatch):
    from skcyto.neural_network._mlp import _classifier as module

    splits = []
    original = module.inner_split
    monkeypatch.setattr(
        module, "inner_split", lambda *a, **k: splits.append(original(*a, **k)) or splits[-1]
    )
    X, y = data(n=300, n_classes=2)
    groups = np.array([f"slide {i}" for i in np.random.RandomState(0).randint(40, size=300)])
    ImbalancedMLPClassifier(**QUICK, validation_fraction=0.2).fit(X, y, groups=groups)
    train, valid = splits[0]
    assert not set(groups[train]) & set(groups[valid])
    assert len(valid) > 30


# Sample weights ------------------------------------------------------------------------------


LOSSES_WITH_WEIGHTS = [name for name in available() if get_loss(name).supports_sample_weight]


@pytest.mark.parametrize("loss", LOSSES_WITH_WEIGHTS)
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_sample_weight_two_is_duplication(loss):
    X, y = data(n=60)
    weight = np.random.RandomState(0).randint(1, 4, size=60)
    rows = np.repeat(np.arange(60), weight)
    weighted = ImbalancedMLPClassifier(**EXACT, loss=loss).fit(X, y, sample_weight=weight)
    repeated = ImbalancedMLPClassifier(**EXACT, loss=loss).fit(X[rows], y[rows])
    assert np.array_equal(weighted.class_counts_, repeated.class_counts_)
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("loss", LOSSES_WITH_WEIGHTS)
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_sample_weight_zero_is_removal(loss):
    X, y = data(n=90)
    weight = np.ones(90)
    weight[::3] = 0
    kept = weight > 0
    # Mini-batches, dropout, batch normalisation and validation rows included.
    weighted = ImbalancedMLPClassifier(**QUICK, loss=loss).fit(X, y, sample_weight=weight)
    removed = ImbalancedMLPClassifier(**QUICK, loss=loss).fit(
        X[kept], y[kept], sample_weight=np.ones(kept.sum())
    )
    assert np.array_equal(weighted.predict_proba(X), removed.predict_proba(X))


@pytest.mark.parametrize("loss", sorted(set(available()) - set(LOSSES_WITH_WEIGHTS)))
def test_losses_without_sample_weight_refuse_it(loss):
    X, y = data(n=60)
    with pytest.raises(ValueError, match="sample_weight"):
        ImbalancedMLPClassifier(**EXACT, loss=loss).fit(X, y, sample_weight=np.arange(60) + 1.0)


# Losses, weights, priors ---------------------------------------------------------------------


def test_weighted_cross_entropy_is_balanced_class_weight():
    X, y = data(weights=[0.7, 0.2, 0.1])
    named = ImbalancedMLPClassifier(**QUICK, loss="wce").fit(X, y)
    spelled = ImbalancedMLPClassifier(**QUICK, class_weight="balanced").fit(X, y)
    assert np.array_equal(named.predict_proba(X), spelled.predict_proba(X))
    counts = named.class_counts_
    np.testing.assert_allclose(named.class_weight_, counts.sum() / (3 * counts), rtol=1e-6)


def test_class_weight_by_label_whatever_the_order_of_keys():
    X, y = data()
    labels = np.array(["b", "c", "a"])[y]
    one, two = (
        ImbalancedMLPClassifier(**QUICK, class_weight=w).fit(X, labels)
        for w in ({"a": 5, "b": 1, "c": 2}, {"c": 2, "a": 5, "b": 1})
    )
    assert one.class_weight_.tolist() == [5, 1, 2]
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))


def test_loss_parameters_are_searched():
    X, y = data()
    search = GridSearchCV(
        ImbalancedMLPClassifier(**QUICK, loss=Focal()), {"loss__gamma": [0.5, 3.0]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.loss_.gamma in (0.5, 3.0)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 2
    search = GridSearchCV(
        ImbalancedMLPClassifier(**QUICK), {"loss": ["ce", Focal(), LDAM()]}, cv=2
    ).fit(X, y)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


def test_loss_given_by_name_takes_parameters():
    model = ImbalancedMLPClassifier(loss="focal").set_params(loss__gamma=0.7)
    assert model.loss == Focal(gamma=0.7)
    with pytest.raises(ValueError, match="gama"):
        ImbalancedMLPClassifier(loss="focal").set_params(loss__gama=0.7)


def test_clone_leaves_the_loss_alone():
    loss = Focal(gamma=3)
    model = ImbalancedMLPClassifier(loss=loss)
    copy = clone(model)
    assert copy.loss == loss
    assert copy.loss is not loss


def test_ldam_gets_a_cosine_head_and_misses_it():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK, loss="ldam").fit(X, y)
    logits = model.net_.module_.eval()(torch.from_numpy(X.astype(np.float32)))
    assert logits.abs().max() <= 1 + 1e-6
    with pytest.warns(ImbalanceWarning, match="cosine_head"):
        ImbalancedMLPClassifier(**QUICK, loss="ldam", cosine_head=False).fit(X, y)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"class_weight": "balanced"},
        {"loss": "balanced_softmax"},
        {"loss": "logit_adjusted"},
        {"sampler": "balanced"},
        {"sampler": "grouped"},
        {"sampler": "balanced", "class_weight": {1: 3.0}},
        {"sampler": "grouped", "loss": "logit_adjusted"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_prior_correction_brings_log_loss_back(kwargs):
    rng = np.random.RandomState(0)
    y = (rng.rand(12_000) < 1 / 21).astype(int)
    X = rng.randn(12_000, 5) + 0.9 * y[:, None]
    train, test = slice(0, 6000), slice(6000, None)
    # Long enough for plain cross-entropy to learn the prior of the rare class too.
    common = {
        "hidden_layer_sizes": (),
        "max_epochs": 60,
        "batch_size": 500,
        "learning_rate": 0.05,
        "weight_decay": 0.0,
        "lr_scheduler": "cosine",
        "random_state": 0,
    }

    def loss_of(**settings_):
        model = ImbalancedMLPClassifier(**common, **settings_).fit(X[train], y[train])
        return log_loss(y[test], model.predict_proba(X[test]))

    plain, biased = loss_of(), loss_of(**kwargs)
    corrected = loss_of(**kwargs, predict_proba_prior="train")
    assert biased > 1.5 * plain
    assert abs(corrected / plain - 1) < 0.05


def test_array_prior_of_the_training_rows_is_the_train_prior():
    X, y = data(weights=[0.7, 0.2, 0.1])
    settings_ = {**QUICK, "loss": BalancedSoftmax()}
    train = ImbalancedMLPClassifier(**settings_, predict_proba_prior="train").fit(X, y)
    prior = train.class_counts_ / train.class_counts_.sum()
    array = ImbalancedMLPClassifier(**settings_, predict_proba_prior=prior).fit(X, y)
    np.testing.assert_allclose(train.predict_proba(X), array.predict_proba(X), atol=1e-6)


def test_draws_per_row_are_what_the_samplers_draw():
    X, y = data(weights=[0.7, 0.2, 0.1])
    model = ImbalancedMLPClassifier(**QUICK, validation_fraction=None)
    counts = model.fit(X, y).class_counts_
    np.testing.assert_array_equal(model.draws_per_row_, 1)
    for sampler, tolerance in {"balanced": 0.1, "grouped": 0, "stratified": 0}.items():
        model.set_params(sampler=sampler, batch_size=7).fit(X, y)
        drawn = SAMPLERS[sampler](y, 7, random_state=0)
        rows = np.concatenate([np.concatenate(drawn.epoch_batches()) for _ in range(50)])
        expected = np.unique(y[rows], return_counts=True)[1] / 50 / counts
        np.testing.assert_allclose(model.draws_per_row_, expected, rtol=max(tolerance, 1e-12))
        assert model.draws_per_row_.min() < model.draws_per_row_.max()


def test_prior_has_no_correction_for_focal():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK, loss="focal", predict_proba_prior="train")
    with pytest.raises(ValueError, match="CalibratedClassifierCV"):
        model.fit(X, y).predict_proba(X)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sampler": "balanced", "class_weight": "balanced"}, "corrected 2 times over"),
        ({"sampler": "balanced", "loss": "logit_adjusted"}, "corrected 2 times over"),
        ({"class_weight": "balanced", "loss": "balanced_softmax"}, "corrected 2 times over"),
        ({"sampler": "grouped", "class_weight": "balanced"}, "corrected 2 times over"),
        ({"loss": "minimax", "batch_size": 16}, "sampler='stratified'"),
        ({"loss": "group_dro", "batch_size": 16}, "sampler='stratified'"),
        ({"loss": "soft_f1", "batch_size": 16}, "sampler='stratified'"),
    ],
    ids=str,
)
def test_settings_that_clash_warn(kwargs, message):
    X, y = data(weights=[0.85, 0.1, 0.05])
    with pytest.warns(ImbalanceWarning, match=message):
        ImbalancedMLPClassifier(**{**QUICK, "max_epochs": 1, **kwargs}).fit(X, y)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"loss": "minimax", "sampler": "grouped"},
        {"loss": "group_dro", "sampler": "stratified"},
        {"loss": "class_balanced"},
        {"loss": LDAM(drw_start=0.5), "class_weight": "effective"},
        {"sampler": "balanced"},
        {"sampler": "stratified", "class_weight": "balanced"},
    ],
    ids=str,
)
def test_settings_that_belong_together_do_not_warn(kwargs):
    X, y = data(weights=[0.85, 0.1, 0.05])
    model = ImbalancedMLPClassifier(**{**QUICK, "max_epochs": 2, **kwargs}).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_class_balanced_refuses_other_class_weights():
    X, y = data()
    with pytest.raises(ValueError, match="sets the class weights itself"):
        ImbalancedMLPClassifier(**QUICK, loss="class_balanced", class_weight="balanced").fit(X, y)


@pytest.mark.parametrize("loss", ["minimax", "group_dro"])
def test_class_weights_cancel_in_group_losses(loss):
    X, y = data()
    settings_ = {**EXACT, "loss": loss}
    plain = ImbalancedMLPClassifier(**settings_).fit(X, y)
    weighted = ImbalancedMLPClassifier(**settings_, class_weight={0: 1000, 1: 0.01}).fit(X, y)
    np.testing.assert_allclose(weighted.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_deferred_weights_start_late():
    X, y = data(weights=[0.85, 0.1, 0.05])
    settings_ = {**QUICK, "restore_best_weights": False, "max_epochs": 10, "lr_scheduler": None}
    losses = {
        start: ImbalancedMLPClassifier(
            **settings_, loss=LDAM(drw_start=start), class_weight="balanced"
        )
        .fit(X, y)
        .history_
        for start in (0.5, 0.9)
    }
    early, late = ([row["train_loss"] for row in losses[start]] for start in (0.5, 0.9))
    assert early[:5] == late[:5]
    assert early[5] != late[5]


def test_class_absent_from_a_fold_is_no_class_of_it():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK, loss="ldam").fit(X[y != 1], y[y != 1])
    assert model.classes_.tolist() == [0, 2]


def test_two_cases_of_a_class():
    X, y = data()
    rows = np.concatenate([np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:2]])
    for loss in ("ce", "ldam", "balanced_softmax"):
        model = ImbalancedMLPClassifier(**QUICK, loss=loss).fit(X[rows], y[rows])
        assert model.class_counts_[2] >= 1


# The training itself -------------------------------------------------------------------------


def test_same_seed_same_bits_whatever_n_jobs():
    X, y = data(n=400, p=60)
    model = make_pipeline(
        StandardScaler(), ImbalancedMLPClassifier((256, 128), max_epochs=6, random_state=3)
    )
    cv = StratifiedKFold(4, shuffle=True, random_state=0)
    one, two = (
        cross_val_score(model, X, y, cv=cv, n_jobs=n_jobs, scoring="neg_log_loss")
        for n_jobs in (1, 2)
    )
    assert np.array_equal(one, two)


def test_threads_give_the_same_bits_as_one():
    X, y = data(120)
    model = ImbalancedMLPClassifier(**{**QUICK, "max_epochs": 30, "dropout": 0.5})

    def probabilities(n_jobs):
        with parallel_config(backend="threading"):
            return cross_val_predict(
                model, X, y, cv=StratifiedKFold(6), method="predict_proba", n_jobs=n_jobs
            )

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    np.testing.assert_array_equal(probabilities(3), probabilities(1))
    assert torch.equal(torch.rand(2), expected)  # what the caller draws is left alone


def test_seed_matters_and_global_generators_are_left_alone():
    X, y = data()
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    first = ImbalancedMLPClassifier(**QUICK).fit(X, y)
    assert (torch.rand(1).item(), np.random.rand()) == before
    second = ImbalancedMLPClassifier(**{**QUICK, "random_state": 1}).fit(X, y)
    assert not np.array_equal(first.predict_proba(X), second.predict_proba(X))


def test_best_epoch_is_restored():
    X, y = data(n=150, p=30)
    y = np.random.RandomState(0).permutation(y)
    settings_ = {**QUICK, "max_epochs": 60, "learning_rate": 0.02, "validation_fraction": 0.3}
    model = ImbalancedMLPClassifier(**settings_).fit(X, y)
    losses = [row["valid_loss"] for row in model.history_]
    assert model.n_iter_ == len(losses) == 60
    assert model.best_epoch_ == int(np.argmin(losses)) + 1 < 60
    shorter = ImbalancedMLPClassifier(
        **{**settings_, "max_epochs": model.best_epoch_, "restore_best_weights": False}
    ).fit(X, y)
    assert np.array_equal(shorter.predict_proba(X), model.predict_proba(X))


def test_early_stopping_stops():
    X, y = data(n=150, p=30)
    y = np.random.RandomState(0).permutation(y)
    model = ImbalancedMLPClassifier(
        **{**QUICK, "max_epochs": 200, "learning_rate": 0.02},
        early_stopping=True,
        n_iter_no_change=5,
    ).fit(X, y)
    assert model.n_iter_ == model.best_epoch_ + 5 < 200


def test_schedulers():
    X, y = data()
    cosine = ImbalancedMLPClassifier(**QUICK, lr_scheduler="cosine").fit(X, y).history_
    rates = [row["learning_rate"] for row in cosine]
    expected = 1e-3 * (1 + np.cos(np.pi * np.arange(15) / 15)) / 2
    np.testing.assert_allclose(rates, expected)
    noise = np.random.RandomState(0).permutation(y)
    plateau = ImbalancedMLPClassifier(
        **{**QUICK, "max_epochs": 60, "learning_rate": 0.02}, lr_scheduler="plateau"
    ).fit(X, noise)
    rates = [row["learning_rate"] for row in plateau.history_]
    assert set(np.diff(np.log2(rates)).round(6)) == {0.0, -1.0}
    none = ImbalancedMLPClassifier(**QUICK, lr_scheduler=None).fit(X, y)
    assert "learning_rate" not in none.history_[0]


def test_fractions_of_the_number_of_features():
    X, y = data(p=10)
    model = ImbalancedMLPClassifier((0.5, 3), **{k: QUICK[k] for k in ("max_epochs",)}).fit(X, y)
    sizes = [m.out_features for m in model.net_.module_ if hasattr(m, "out_features")]
    assert sizes == [5, 3, 3]
    linear = ImbalancedMLPClassifier((), max_epochs=2).fit(X, y)
    assert len(linear.net_.module_) == 1


class _CountBatches(Callback):
    def on_train_begin(self, net, **kwargs):
        self.batches_ = 0

    def on_batch_end(self, net, training, **kwargs):
        self.batches_ += training


def test_skorch_callbacks_see_batches_and_do_not_change_the_result():
    X, y = data()
    counter = _CountBatches()
    plain = ImbalancedMLPClassifier(**QUICK).fit(X, y)
    watched = ImbalancedMLPClassifier(**QUICK, callbacks=[counter]).fit(X, y)
    assert not hasattr(counter, "batches_")
    (seen,) = [c for _, c in watched.net_.callbacks_ if isinstance(c, _CountBatches)]
    assert seen.batches_ == 15 * 9
    np.testing.assert_allclose(watched.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(
        [row["train_loss"] for row in watched.history_],
        [row["train_loss"] for row in plain.history_],
        rtol=1e-5,
    )


def test_skorch_scoring_and_clipping_work():
    X, y = data()
    model = ImbalancedMLPClassifier(
        **QUICK,
        callbacks=[
            ("clip", GradientNormClipping(1.0)),
            ("loss", EpochScoring(lambda net, X, y: 1.0, name="constant")),
        ],
        net_params={"optimizer__betas": (0.8, 0.9)},
    ).fit(X, y)
    assert model.net_.history[-1, "constant"] == 1.0
    assert model.net_.optimizer_.param_groups[0]["betas"] == (0.8, 0.9)


class _Interrupt(Callback):
    def on_epoch_begin(self, net, **kwargs):
        raise KeyboardInterrupt


def test_an_interrupt_by_the_user_is_not_swallowed():
    X, y = data()
    with pytest.raises(KeyboardInterrupt):
        ImbalancedMLPClassifier(**QUICK, callbacks=[_Interrupt()]).fit(X, y)


def test_divergence_is_an_error_that_says_what_to_do():
    X, y = data()
    with pytest.raises(ValueError, match=r"training diverged.*StandardScaler"):
        ImbalancedMLPClassifier(**{**EXACT, "learning_rate": 1e30}).fit(X, y)


def test_a_last_batch_of_one_row_trains():
    X, y = data(n=33)
    model = ImbalancedMLPClassifier(**{**QUICK, "validation_fraction": None}).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_pickle_keeps_predictions_and_not_the_data():
    X, y = data(n=3000, p=50)
    model = ImbalancedMLPClassifier(**QUICK).fit(X, y)
    blob = pickle.dumps(model)
    assert len(blob) < 100_000 < X.nbytes
    assert np.array_equal(pickle.loads(blob).predict_proba(X), model.predict_proba(X))


def test_refitting_starts_afresh():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK)
    first = model.fit(X, y).predict_proba(X)
    assert np.array_equal(model.fit(X, y).predict_proba(X), first)


def test_data_frame_names_are_kept_and_checked():
    X, y = data()
    table = pd.DataFrame(X, columns=[f"feature {i}" for i in range(10)])
    model = ImbalancedMLPClassifier(**QUICK).fit(table, y)
    assert model.feature_names_in_[0] == "feature 0"
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[table.columns[::-1]])


# Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss": "focall"}, "loss='focall' is unknown. Did you mean 'focal'"),
        ({"loss": 3}, "loss"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (-0.5,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": ("a",)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (True,)}, "hidden_layer_sizes"),
        ({"class_weight": {"x": 2}}, "no weight for any of the classes"),
        ({"class_weight": {0: -1}}, r"class_weight of \[0\]"),
        ({"class_weight": {0: float("nan")}}, r"class_weight of \[0\]"),
        ({"predict_proba_prior": [0.5, 0.5]}, "must hold 3 positive probabilities"),
        ({"predict_proba_prior": [0.5, 0.4, 0.3]}, "sum to 1"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
        ({"device": "nonsense"}, "no torch device"),
        ({"dropout": 1.0}, "dropout"),
        ({"sampler": "smote"}, "sampler"),
        ({"lr_scheduler": "step"}, "lr_scheduler"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(kwargs, message):
    X, y = data()
    with pytest.raises(ValueError, match=message):
        ImbalancedMLPClassifier(**{**QUICK, **kwargs}).fit(X, y)


def test_class_weight_of_an_unknown_label_is_said():
    X, y = data()
    with pytest.warns(MissingClassWarning, match=r"\['bothcells'\]"):
        ImbalancedMLPClassifier(**QUICK, class_weight={0: 2, "bothcells": 1}).fit(X, y)


def test_bad_rows_are_refused():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK)
    with pytest.raises(ValueError, match="at least 2 classes"):
        model.fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match=r"every sample_weight is 0|at least one non-zero"):
        model.fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="Negative values"):
        model.fit(X, y, sample_weight=np.full(len(X), -1.0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, np.linspace(0, 1, len(X)))


def test_cvar_parameter_objects_are_losses_too():
    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK, loss=CVaR(alpha=0.7)).fit(X, y)
    assert model.loss_ == CVaR(alpha=0.7)


@pytest.mark.gpu
def test_trained_on_a_gpu_loads_without_one(tmp_path):
    import subprocess
    import sys

    X, y = data()
    model = ImbalancedMLPClassifier(**QUICK, device="cuda").fit(X, y)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", model.predict_proba(X))
    code = (
        "import pickle, numpy as np, warnings; warnings.simplefilter('ignore');"
        "model = pickle.load(open('model.pkl', 'rb'));"
        "np.testing.assert_allclose(model.predict_proba(np.load('X.npy')),"
        " np.load('expected.npy'), atol=1e-4)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, None] * 20, r"groups is missing for 20 rows, the first in rows \[2, 5"),
        ([0.0, 1.0, np.nan] * 20, "groups is missing for 20 rows"),
        (np.zeros((60, 2)), r"X holds 60 rows, groups has shape \(60, 2\)"),
        ([0, 1], r"groups has shape \(2,\)"),
        (np.array([0, "b", 1] * 20, dtype=object), "groups holds values of the types int, str"),
    ],
)
def test_bad_groups_are_named(groups, message):
    X, y = data(60)
    with pytest.raises(ValueError, match=message):
        ImbalancedMLPClassifier(**QUICK).fit(X, y, groups=groups)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, "a", 2.5] * 20, "labels of the types float, int, str, which have no common order"),
        (np.array([1, "a", 2.5] * 20, dtype=object), "labels of the types float, int, str"),
        (["a", None, "b"] * 20, r"missing labels: 20, the first in rows \[1, 4"),
    ],
)
def test_bad_labels_are_named(y, message):
    X, _ = data(60)
    with pytest.raises(ValueError, match=message):
        ImbalancedMLPClassifier(**QUICK).fit(X, y)


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        ("batch_size", "batch_size"),
        ("callbacks", "callbacks"),
        ("lr", "learning_rate"),
        ("iterator_train__drop_last", "sampler or batch_size"),
        ("module__dropout", "hidden_layer_sizes, activation"),
        ("criterion", "loss"),
    ],
)
def test_net_params_leave_the_training_whole(key, parameter):
    X, y = data(60)
    model = ImbalancedMLPClassifier(**QUICK, net_params={key: 10})
    with pytest.raises(ValueError, match=f"net_params\\['{key}'\\].*parameter {parameter}"):
        model.fit(X, y)


def test_batches_of_one_row_need_no_batch_norm():
    X, y = data(60)
    settings_ = {**QUICK, "batch_size": 1, "max_epochs": 1}
    with pytest.raises(ValueError, match=r"batch_size=1 leaves nothing.*batch_norm=False"):
        ImbalancedMLPClassifier(**settings_).fit(X, y)
    ImbalancedMLPClassifier(**settings_, batch_norm=False).fit(X, y)


@pytest.mark.parametrize("sampler", [None, "balanced", "stratified", "grouped"])
def test_integers_of_numpy_are_integers(sampler):
    """As a grid over ``2 ** np.arange(4, 8)`` sets them."""
    X, y = data()
    settings_ = {**QUICK, "max_epochs": 2, "sampler": sampler}
    plain = ImbalancedMLPClassifier(**settings_).fit(X, y)
    numbers = {"max_epochs": 2, "batch_size": 32, "n_iter_no_change": 15}
    settings_ |= {name: np.int64(number) for name, number in numbers.items()}
    other = ImbalancedMLPClassifier(**settings_).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), other.predict_proba(X))


# Optimisers and kinds of input ----------------------------------------------------------------


def test_optimizers_without_weight_decay():
    X, y = data()
    settings = {**QUICK, "batch_size": 300, "max_epochs": 60, "optimizer": torch.optim.Rprop}
    with pytest.raises(ValueError, match=r"Rprop has no weight decay.*set weight_decay=0"):
        ImbalancedMLPClassifier(**settings).fit(X, y)
    assert ImbalancedMLPClassifier(**settings, weight_decay=0).fit(X, y).score(X, y) > 0.8


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "LBFGS evaluates the loss several times a step"),
        (dict, "dict is no subclass of torch.optim.Optimizer"),
    ],
)
def test_optimizers_that_cannot_train(optimizer, message):
    with pytest.raises(ValueError, match=message):
        ImbalancedMLPClassifier(**QUICK, optimizer=optimizer, weight_decay=0).fit(*data())


def test_a_single_layer_as_an_int():
    X, y = data()
    one, listed = (
        ImbalancedMLPClassifier(**{**QUICK, "hidden_layer_sizes": sizes}).fit(X, y)
        for sizes in (8, (8,))
    )
    assert one.net_.module_[0].out_features == 8
    np.testing.assert_array_equal(one.predict_proba(X), listed.predict_proba(X))


@pytest.mark.parametrize(("dtype", "kind"), [("Int64", "i"), ("boolean", "b"), ("UInt8", "u")])
def test_nullable_labels_keep_their_type(dtype, kind):
    X, y = data(n_classes=2)
    model = ImbalancedMLPClassifier(**QUICK).fit(X, pd.Series(y).astype(dtype))
    assert model.classes_.dtype.kind == kind
    assert model.predict(X).dtype.kind == kind


def test_groups_as_tuples():
    X, y = data()
    pairs = [(f"patient {i // 6}", i // 3 % 2) for i in range(len(y))]
    joined, tuples = (
        ImbalancedMLPClassifier(**QUICK).fit(X, y, groups=groups).predict_proba(X)
        for groups in ([f"{a} {b}" for a, b in pairs], pairs)
    )
    np.testing.assert_array_equal(joined, tuples)


def test_tensors_under_array_api_dispatch():
    """In a process of its own, since scipy reads the variable when it is imported."""
    code = """
import numpy as np, torch
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.neural_network import ImbalancedMLPClassifier
X, y = make_classification(100, 6, random_state=0)
X = X.astype("float32")
model = ImbalancedMLPClassifier((4,), max_epochs=2, random_state=0)
expected = model.fit(X, y).predict_proba(X)
kept = CorrelationTTestFilter().fit(X, y).get_support()
tensors = torch.tensor(X), torch.tensor(y)
with config_context(array_api_dispatch=True):
    model.fit(*tensors)
    np.testing.assert_array_equal(model.predict_proba(tensors[0]), expected)
    np.testing.assert_array_equal(model.predict(tensors[0]), expected.argmax(axis=1))
    make_pipeline(StandardScaler(), model).fit(*tensors).predict_proba(tensors[0])
    selector = CorrelationTTestFilter().fit(*tensors)
    np.testing.assert_array_equal(selector.get_support(), kept)
    np.testing.assert_array_equal(np.asarray(selector.transform(tensors[0])), X[:, kept])
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
