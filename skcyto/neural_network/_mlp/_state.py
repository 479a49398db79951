"""What a saved model holds of an ImbalancedMLPClassifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import InvalidModelError
from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._modules import MLPModule
from skcyto.neural_network._training import OPTIMIZERS, TrainingNet
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._persistence import (
    read_tensors,
    take_part,
    without_training_code,
    write_tensors,
)
from skcyto.utils._random import torch_seed

if TYPE_CHECKING:
    from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier

_MODULE_KEYS = {
    "n_features",
    "n_classes",
    "hidden_layer_sizes",
    "activation",
    "batch_norm",
    "dropout",
    "cosine_head",
}


def save_mlp_state(classifier: ImbalancedMLPClassifier, weights: Path) -> dict[str, Any]:
    """Return the attributes of a classifier without its net, and write the net's tensors.

    Parameters
    ----------
    classifier : ImbalancedMLPClassifier
        Fitted or not.
    weights : Path
        Where the tensors of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = without_training_code(classifier, dict(vars(classifier)), OPTIMIZERS)
    net = state.pop("net_", None)
    if net is None:
        return state
    # As JSON: plain numbers and names, whatever a file claims them to be.
    state["_saved_module"] = json.dumps(net.get_params_for("module"))
    write_tensors(
        weights,
        {
            **{f"module.{name}": tensor for name, tensor in net.module_.state_dict().items()},
            **{f"criterion.{name}": tensor for name, tensor in net.criterion_.state_dict().items()},
        },
    )
    return state


def load_mlp_state(
    classifier: ImbalancedMLPClassifier, state: dict[str, Any], weights: Path | None
) -> None:
    """Take back what :func:`save_mlp_state` gave, building the net anew.

    Parameters
    ----------
    classifier : ImbalancedMLPClassifier
        Changed in place.
    state : dict
        As returned there.
    weights : Path or None
        The tensors of a fitted classifier.

    Raises
    ------
    InvalidModelError
        If the network cannot be built as described, or the tensors do not fit it.
    """
    state = dict(state)
    described = state.pop("_saved_module", None)
    classifier.__dict__.update(state)
    if described is None:
        return
    if weights is None:
        raise InvalidModelError(f"the weights of {type(classifier).__name__} are missing")
    tensors = read_tensors(weights)
    try:
        settings = json.loads(described)
        if set(settings) != _MODULE_KEYS:
            raise ValueError(f"its network is described by {sorted(settings)}")
        criterion = rebuild_criterion(classifier)
        net = TrainingNet(
            MLPModule,
            criterion=criterion,
            lr=classifier.learning_rate,
            max_epochs=classifier.max_epochs,
            batch_size=classifier.batch_size,
            device=resolve_device(classifier.device),
            verbose=0,
            **{f"module__{name}": value for name, value in settings.items()},
        )
        with torch_seed(0):
            net.initialize()
        net.module_.load_state_dict(take_part(tensors, "module."))
        net.criterion_.load_state_dict(take_part(tensors, "criterion."))
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(
            f"the network of {type(classifier).__name__} cannot be built from what was saved: "
            f"{error}"
        ) from error
    classifier.net_ = net
