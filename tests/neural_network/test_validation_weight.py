"""The loss that chooses the best epoch is the one that training minimises."""

import warnings

import numpy as np
import pytest
from sklearn.utils import check_random_state

from skcyto.exceptions import ImbalanceWarning
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._inner_split import inner_split
from skcyto.neural_network._samplers import validation_weight
from skcyto.neural_network._stacked._fit import StackedFit, train_stack
from skcyto.utils._random import draw_seed

LOG_ODDS = np.log(9)


@pytest.fixture(scope="module")
def shifted_normals():
    # P(1 | x) = 1 / (1 + 9 exp(-(1.5 x - 1.125))) by Bayes' rule.
    rng = np.random.default_rng(0)
    y = (rng.random(30_000) < 0.1).astype(int)
    return rng.normal(size=(30_000, 1)) + 1.5 * y[:, None], y


def make(sampler, class_weight, **params):
    # Many rows: twice corrected, few of the frequent class count, and estimates scatter.
    settings = {
        "max_epochs": 25,
        "learning_rate": 0.02,
        "batch_size": 512,
        "validation_fraction": 0.2,
    }
    return ImbalancedMLPClassifier(
        (), sampler=sampler, class_weight=class_weight, predict_proba_prior="train",
        random_state=0, device="cpu", **(settings | params),
    )  # fmt: skip


@pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
@pytest.mark.parametrize("sampler", ["balanced", "grouped"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_probabilities_of_the_training_prior_are_right(
    sampler, class_weight, stacked, shifted_normals
):
    X, y = shifted_normals
    classifier = make(sampler, class_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImbalanceWarning)  # the imbalance is corrected twice
        if stacked:
            assert train_stack([StackedFit(classifier, X, y)])[1] == [None]
        else:
            classifier.fit(X, y)
    x = np.quantile(X, np.linspace(0.01, 0.99, 50))[:, None]
    expected = 1 / (1 + np.exp(LOG_ODDS + 1.125 - 1.5 * x[:, 0]))
    np.testing.assert_allclose(classifier.predict_proba(x)[:, 1], expected, atol=0.05)


def test_validation_loss_is_the_one_that_balanced_batches_minimise(shifted_normals):
    X, y = (part[:2000] for part in shifted_normals)
    classifier = make("balanced", {1: 3.0}, max_epochs=2, restore_best_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImbalanceWarning)  # the imbalance is corrected twice
        classifier.fit(X, y)
    split_seed = draw_seed(check_random_state(0))
    train, valid = inner_split(y, validation_fraction=0.2, random_state=split_seed)
    classifier.set_params(predict_proba_prior=None)
    loss = -classifier.predict_log_proba(X[valid])[np.arange(len(valid)), y[valid]]
    # Each class is drawn equally often, and class 1 weighs three times as much.
    weight = np.array([1.0, 3.0]) / np.bincount(y[train])
    expected = np.average(loss, weights=weight[y[valid]])
    assert classifier.history_[-1]["valid_loss"] == pytest.approx(expected, rel=1e-4)


def test_validation_rows_weigh_as_often_as_their_class_is_drawn():
    codes = np.array([0, 1, 1])
    given = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(validation_weight(np.array([0.5, 5]), codes, None), [0.5, 5, 5])
    np.testing.assert_allclose(validation_weight(np.array([0.5, 5]), codes, given), [0.5, 10, 20])
    assert validation_weight(np.ones(2), codes, None) is None
    assert validation_weight(np.ones(2), codes, given) is given
