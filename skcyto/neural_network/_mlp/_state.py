"""What a saved model holds of an ImbalancedMLPClassifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._modules import MLPModule
from skcyto.neural_network._training import OPTIMIZERS, TrainingNet
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._persistence import (
    building_network,
    take_part,
    without_training_code,
    write_modules,
)
from skcyto.utils._random import torch_seed

_MODULE_KEYS = {
    "n_features",
    "n_classes",
    "hidden_layer_sizes",
    "activation",
    "batch_norm",
    "dropout",
    "cosine_head",
}


def save_mlp_state(
    state: dict[str, Any], defaults: dict[str, Any], weights: Path
) -> dict[str, Any]:
    """Return the attributes of a classifier without its net, and write the net's tensors.

    Parameters
    ----------
    state : dict
        All attributes.
    defaults : dict
        What the parameters are by default.
    weights : Path
        Where the tensors of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = without_training_code(dict(state), defaults, OPTIMIZERS)
    net = state.pop("net_", None)
    if net is None:
        return state
    # As JSON: plain numbers and names, whatever a file claims them to be.
    state["_saved_module"] = json.dumps(net.get_params_for("module"))
    write_modules(weights, {"module": net.module_, "criterion": net.criterion_})
    return state


def load_mlp_state(state: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """Turn what :func:`save_mlp_state` gave into attributes, building the net anew.

    Parameters
    ----------
    state : dict
        As returned there.
    weights : Path or None
        The tensors of a fitted classifier.

    Returns
    -------
    state : dict
        All attributes.

    Raises
    ------
    InvalidModelError
        If the network cannot be built as described, or the tensors do not fit it.
    """
    state = dict(state)
    described = state.pop("_saved_module", None)
    if described is None:
        return state
    with building_network("ImbalancedMLPClassifier", weights) as tensors:
        settings = json.loads(described)
        if set(settings) != _MODULE_KEYS:
            raise ValueError(f"its network is described by {sorted(settings)}")
        net = TrainingNet(
            MLPModule,
            criterion=rebuild_criterion(state),
            lr=state["learning_rate"],
            max_epochs=state["max_epochs"],
            batch_size=state["batch_size"],
            device=resolve_device(state["device"]),
            verbose=0,
            **{f"module__{name}": value for name, value in settings.items()},
        )
        with torch_seed(0):
            net.initialize()
        net.module_.load_state_dict(take_part(tensors, "module."))
        net.criterion_.load_state_dict(take_part(tensors, "criterion."))
    return state | {"net_": net}
