"""What the classifiers share: parameters of the training, predictions, and the epochs' record."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions

from skcyto.losses import Criterion, Loss, get_loss
from skcyto.losses._criterion import REDUCTIONS
from skcyto.neural_network._imbalance import CLASS_WEIGHTS
from skcyto.neural_network._samplers import SAMPLERS
from skcyto.neural_network._stages import find_best_epoch, monitored_loss
from skcyto.neural_network._training import LR_SCHEDULERS

#: Constraints of the parameters that all of them have.
TRAINING_PARAMETERS: dict[str, list[Any]] = {
    "loss": [str, Loss],  # any string, since `get_loss` has an error that names the nearest
    "class_weight": [StrOptions(set(CLASS_WEIGHTS)), dict, None],
    "reduction": [StrOptions(set(REDUCTIONS))],
    "sampler": [StrOptions(set(SAMPLERS)), None],
    "predict_proba_prior": [StrOptions({"train"}), "array-like", None],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "lr_scheduler": [StrOptions(set(LR_SCHEDULERS)), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
    "early_stopping": ["boolean"],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "restore_best_weights": ["boolean"],
    "device": [str, torch.device],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class NeuralClassifierMixin(ClassifierMixin):
    """Predictions from a network's scores, under the prior that is asked for."""

    loss: str | Loss
    predict_proba_prior: str | ArrayLike | None
    classes_: NDArray
    draws_per_row_: NDArray[np.float64]

    @abstractmethod
    def _network_scores(self, X: Any) -> tuple[torch.Tensor, Criterion]:
        """Compute float64 scores on the CPU, and name the criterion that they come from."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``loss__gamma`` works with a loss that is given by its name too.

        Parameters
        ----------
        **params : dict
            As for every estimator of scikit-learn.

        Returns
        -------
        self : estimator
        """
        nested = any(name.startswith("loss__") for name in params)
        if nested and isinstance(params.get("loss", self.loss), str):
            params["loss"] = get_loss(params.get("loss", self.loss))
        return super().set_params(**params)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Compute the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Rows or images.

        Returns
        -------
        probabilities : ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``; rows sum to one.
        """
        return torch.softmax(self._scores(X), dim=1).numpy()

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Compute the logarithm of the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Rows or images.

        Returns
        -------
        log_probabilities : ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``; finite even where a probability is 0 to rounding.
        """
        return torch.log_softmax(self._scores(X), dim=1).numpy()

    def predict(self, X: Any) -> NDArray:
        """Predict the most probable class.

        Parameters
        ----------
        X : as in `fit`
            Rows or images.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Of the type of ``classes_``.
        """
        scores = self._scores(X)
        return self.classes_[scores.argmax(dim=1).numpy()]

    def _scores(self, X: Any) -> torch.Tensor:
        """Compute scores whose softmax are the probabilities."""
        scores, criterion = self._network_scores(X)
        prior = self.predict_proba_prior
        if prior is None:
            return scores
        if np.isnan(self.draws_per_row_).any():
            raise ValueError(
                f"predict_proba_prior={prior!r} needs draws_per_row_, which the version of skcyto "
                "that saved this model did not keep: fit it again"
            )
        if not isinstance(prior, str):
            prior = check_prior(prior, self.classes_)
        correction = criterion.log_prior_correction(prior).to("cpu", torch.float64)
        # A class shown k times as often looks k times as frequent, whatever its weights.
        return scores + correction - torch.from_numpy(self.draws_per_row_).log()

    def _keep_history(self, history: Sequence[Mapping[str, Any]], criterion: Criterion) -> None:
        """Keep what users look at, and which epoch was the best."""
        self.history_ = [dict(row) for row in history]
        self.n_iter_ = len(self.history_)
        monitor = monitored_loss(self.history_[0])
        self.best_epoch_ = find_best_epoch([row[monitor] for row in self.history_], criterion)


def check_prior(prior: Any, classes: NDArray) -> NDArray[np.float64] | None:
    """Check a `predict_proba_prior` that is given as an array.

    Parameters
    ----------
    prior : str, array-like or None
        As the user gave it.
    classes : ndarray of shape (n_classes,)
        Labels.

    Returns
    -------
    prior : ndarray of float, or None where it is none or a name
    """
    if prior is None or isinstance(prior, str):
        return None
    try:
        shares = np.asarray(prior, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"predict_proba_prior={prior!r} must be None, 'train' or one number a class"
        ) from error
    n_classes = len(classes)
    if shares.shape != (n_classes,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"predict_proba_prior={prior!r} must hold {n_classes} positive "
            f"probabilities that sum to 1, in the order of the classes {classes.tolist()}"
        )
    return shares
