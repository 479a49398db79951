"""What a saved model holds of an EVA02Classifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._persistence import building_network, take_part, write_modules
from skcyto.utils._random import torch_seed


def save_classifier_state(state: dict[str, Any], weights: Path) -> dict[str, Any]:
    """Return the attributes of a classifier without its network, and write the tensors.

    Parameters
    ----------
    state : dict
        All attributes.
    weights : Path
        Where the tensors of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = state | {"device": str(state["device"]), "checkpoint": None}
    if isinstance(state["weights"], os.PathLike):
        state["weights"] = os.fspath(state["weights"])
    network, criterion = state.pop("network_", None), state.pop("criterion_", None)
    if network is not None:
        write_modules(weights, {"network": network, "criterion": criterion})
    return state


def load_classifier_state(state: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """Turn what :func:`save_classifier_state` gave into attributes, building the network anew.

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
    state = state | {"checkpoint": None}
    if "classes_" not in state:
        return state
    # Models saved by earlier releases have none of these.
    state.setdefault("_backbone_name", state.get("model_name"))
    state.setdefault("_backbone_size", state.get("image_size"))
    state.setdefault("_backbone_options", {})
    with building_network("EVA02Classifier", weights) as tensors:
        name, size = state["_backbone_name"], state["_backbone_size"]
        options = BackboneOptions.from_dict(state["_backbone_options"])
        with torch_seed(0):
            network = TransformerClassifier(
                BackboneSource(name, size, None, options=options),
                describe_backbone(name, size, options),
                len(state["classes_"]),
                cosine_head=state["loss_"].needs_cosine_head,
                gradient_checkpointing=bool(state["gradient_checkpointing"]),
            )
        network.load_state_dict(take_part(tensors, "network."))
        criterion = rebuild_criterion(state)
        criterion.load_state_dict(take_part(tensors, "criterion."))
    return state | {"network_": network.eval(), "criterion_": criterion}
