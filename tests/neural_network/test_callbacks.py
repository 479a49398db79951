"""skorch's own callbacks in ImbalancedMLPClassifier(callbacks=[...])."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EpochScoring,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
)

from skcyto.neural_network import ImbalancedMLPClassifier

X, y = make_classification(120, 6, n_informative=4, random_state=0)


def fit(*callbacks, **settings):
    settings = {"hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0, **settings}
    return ImbalancedMLPClassifier(callbacks=list(callbacks), **settings).fit(X, y)


@pytest.mark.parametrize("loss", ["ce", "ldam", "logit_adjusted", "vector_scaling"])
def test_scoring_functions_see_probabilities(loss):
    """Of the loss's own kind: what the classifier itself would say at the last epoch."""
    seen = []

    def area(net, X_valid, y_valid):
        seen.append((net.predict_proba(X_valid), np.asarray(y_valid)))
        return roc_auc_score(y_valid, seen[-1][0][:, 1])

    scoring = EpochScoring(area, name="area", lower_is_better=False)
    classifier = fit(scoring, loss=loss, restore_best_weights=False)
    proba, labels = seen[-1]
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert proba.min() >= 0
    assert classifier.net_.history[-1, "area"] == pytest.approx(roc_auc_score(labels, proba[:, 1]))


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "neg_log_loss", "f1_macro"])
def test_scorers_by_name(name):
    history = fit(EpochScoring(name, name="scored", lower_is_better=False)).net_.history
    assert np.isfinite(history[:, "scored"]).all()


def test_log_loss_of_an_epoch_is_that_of_the_history():
    """With cross-entropy and no weights the validation loss is the log-loss."""
    scoring = EpochScoring("neg_log_loss", name="scored", lower_is_better=False)
    history = fit(scoring, validation_fraction=0.3).net_.history
    np.testing.assert_allclose(-np.array(history[:, "scored"]), history[:, "valid_loss"], rtol=1e-5)


def test_scoring_of_batches():
    history = fit(BatchScoring("neg_log_loss", name="scored")).net_.history
    assert np.isfinite(history[:, "scored"]).all()


@pytest.mark.parametrize("monitor", ["valid_loss_best", None])
def test_checkpoint_keeps_the_weights(tmp_path, monitor):
    classifier = fit(
        Checkpoint(dirname=tmp_path, monitor=monitor, f_criterion=None), restore_best_weights=False
    )
    kept = torch.load(tmp_path / "params.pt", weights_only=True)
    best = np.flatnonzero(classifier.net_.history[:, "valid_loss_best"])[-1]
    if monitor is None or best == len(classifier.net_.history) - 1:
        for name, tensor in classifier.net_.module_.state_dict().items():
            torch.testing.assert_close(kept[name], tensor)
    losses = classifier.net_.history[:, "valid_loss"]
    assert best == np.argmin(losses)


def test_training_goes_on_from_a_checkpoint(tmp_path):
    fit(Checkpoint(dirname=tmp_path, monitor=None))
    again = fit(LoadInitState(Checkpoint(dirname=tmp_path, monitor=None)))
    assert len(again.net_.history) == 6


def test_a_scheduler_of_the_users_takes_the_place_of_the_default():
    classifier = fit(LRScheduler("StepLR", step_size=1, gamma=0.1), learning_rate=0.01)
    kinds = [type(callback) for _, callback in classifier.net_.callbacks_]
    assert sum(issubclass(kind, LRScheduler) for kind in kinds) == 1
    rate = classifier.net_.optimizer_.param_groups[0]["lr"]
    assert rate == pytest.approx(0.01 * 0.1**2) or rate == pytest.approx(0.01 * 0.1**3)


def test_sizes_are_not_set_from_outside():
    with pytest.raises(ValueError, match="InputShapeSetter has nothing to set"):
        fit(InputShapeSetter())


def test_probabilities_of_the_net_are_those_of_the_classifier():
    classifier = fit(loss="ldam")
    net = classifier.net_.predict_proba(torch.as_tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(net, classifier.predict_proba(X), atol=1e-5)
