"""What a saved model holds of an EVA02Classifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from skcyto.exceptions import PretrainedWeightsError
from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._persistence import building_network, take_part, write_modules
from skcyto.utils._random import torch_seed
from skcyto.utils._warnings import warn

_LATER_PARAMETERS: dict[str, Any] = {
    **dict.fromkeys(("model_kwargs", "crop_mode", "fill", "views", "head_hidden_size")),
    "warmup_epochs": 0,
    "ema_decay": None,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "lora_rank": 0,
    "lora_alpha": None,
    "lora_targets": "qkv",
}


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
    if callable(state["augment"]):
        warn(
            f"augment={state['augment']!r} is code, which a saved model holds none of: it is "
            "saved with augment=None, which changes no prediction",
            UserWarning,
        )
        state["augment"] = None
    state.pop("_adapted_source", None)  # All weights are written.
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
    # Models saved by earlier releases have not all parameters.
    state = _LATER_PARAMETERS | state | {"checkpoint": None}
    if "classes_" not in state:
        return state
    state.setdefault("_backbone_name", state.get("model_name"))
    state.setdefault("_backbone_size", state.get("image_size"))
    state.setdefault("_backbone_options", {})
    with building_network("EVA02Classifier", weights) as tensors:
        network = _build_network(state, None)
        network.load_state_dict(take_part(tensors, "network."))
        criterion = rebuild_criterion(state)
        criterion.load_state_dict(take_part(tensors, "criterion."))
    return state | {"network_": network.eval(), "criterion_": criterion}


def pack_network(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a pickle holds of a network with adapters in its place: these, and the head.

    Parameters
    ----------
    state : dict
        All attributes of a fitted classifier.

    Returns
    -------
    packed : dict
        The trained tensors on the CPU, where the rest is from, and what that was; all tensors
        where the model was loaded from a file of :func:`skcyto.save`, which knows no such place.
    """
    source, network = state.get("_adapted_source"), state["network_"]
    tensors = network.state_dict() if source is None else network.trained_state()
    return {
        "source": source,
        "identity": None if source is None else state["_weights_identity"],
        "tensors": {name: value.detach().cpu() for name, value in tensors.items()},
    }


def unpack_network(state: dict[str, Any]) -> TransformerClassifier:
    """Build a network around what :func:`pack_network` gave.

    Parameters
    ----------
    state : dict
        All attributes, with what was packed for the network.

    Returns
    -------
    network : TransformerClassifier

    Raises
    ------
    PretrainedWeightsError
        If the pretrained weights cannot be had, or are not those of the fit any more.
    """
    packed = state["network_"]
    source = packed["source"]
    if source is not None and source.identify_weights() != packed["identity"]:
        raise PretrainedWeightsError(
            f"the weights of model_name={source.model_name!r}, to which this pickle adds adapters, "
            f"are not those that fit saw (then: {packed['identity']}; now: "
            f"{source.identify_weights()}): fit again"
        )
    network = _build_network(state, source)
    network.load_trained_state(packed["tensors"])
    return network.eval()


def _build_network(state: dict[str, Any], source: BackboneSource | None) -> TransformerClassifier:
    """Build the network of a fitted classifier; without a source, for weights that are at hand."""
    name, size = state["_backbone_name"], state["_backbone_size"]
    options = BackboneOptions.from_dict(state["_backbone_options"])
    if source is None:
        source = BackboneSource(name, size, None, options=options)
    with torch_seed(0):
        return TransformerClassifier(
            source,
            describe_backbone(name, size, options),
            len(state["classes_"]),
            cosine_head=state["loss_"].needs_cosine_head,
            freeze=state["freeze"],
            gradient_checkpointing=bool(state["gradient_checkpointing"]),
            head_hidden_size=state["head_hidden_size"],
            lora_rank=state["lora_rank"],
            lora_alpha=state["lora_alpha"],
            lora_targets=state["lora_targets"],
        )
