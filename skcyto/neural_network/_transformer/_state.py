"""What a saved model holds of an EVA02Classifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import InvalidModelError, PretrainedWeightsError
from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._transformer._network import TransformerClassifier, head_and_adapters
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._persistence import read_tensors, take_part, write_tensors
from skcyto.utils._random import torch_seed
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from skcyto.neural_network._transformer._classifier import EVA02Classifier


def save_classifier_state(classifier: EVA02Classifier, weights: Path) -> dict[str, Any]:
    """Return the attributes of a classifier without its network, and write the tensors.

    Parameters
    ----------
    classifier : EVA02Classifier
        Fitted or not.
    weights : Path
        Where the tensors of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = dict(vars(classifier))
    state["device"] = str(classifier.device)
    state["checkpoint"] = None
    if isinstance(classifier.weights, os.PathLike):
        state["weights"] = os.fspath(classifier.weights)
    if callable(classifier.augment):
        warn(
            f"augment={classifier.augment!r} is code, which a saved model holds none of: it is "
            "saved with augment=None, which changes no prediction",
            UserWarning,
        )
        state["augment"] = None
    state.pop("_adapted_source", None)  # All weights are written.
    network, criterion = state.pop("network_", None), state.pop("criterion_", None)
    if network is not None:
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"criterion.{name}": value for name, value in criterion.state_dict().items()}
        write_tensors(weights, tensors)
    return state


def load_classifier_state(
    classifier: EVA02Classifier, state: dict[str, Any], weights: Path | None
) -> None:
    """Take back what :func:`save_classifier_state` gave, building the network anew.

    Parameters
    ----------
    classifier : EVA02Classifier
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
    classifier.__dict__.update(state, checkpoint=None)
    if "classes_" not in state:
        return
    if weights is None:
        raise InvalidModelError(f"the weights of {type(classifier).__name__} are missing")
    tensors = read_tensors(weights)
    try:
        _complete(classifier)
        network = _build_network(classifier, None)
        network.load_state_dict(take_part(tensors, "network."))
        criterion = rebuild_criterion(classifier)
        criterion.load_state_dict(take_part(tensors, "criterion."))
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(
            f"the network of {type(classifier).__name__} cannot be built from what was saved: "
            f"{error}"
        ) from error
    classifier.network_, classifier.criterion_ = network.eval(), criterion


def pack_network(classifier: EVA02Classifier) -> dict[str, Any]:
    """Return what a pickle holds of a network with adapters in its place: these, and the head.

    Parameters
    ----------
    classifier : EVA02Classifier
        Fitted.

    Returns
    -------
    packed : dict
        The trained tensors on the CPU, where the rest is from, and what that was; all tensors
        where the model was loaded from a file of :func:`skcyto.save`, which knows no such place.
    """
    source = getattr(classifier, "_adapted_source", None)
    network = classifier.network_
    state = network.state_dict() if source is None else network.trained_state()
    return {
        "source": source,
        "identity": None if source is None else classifier._weights_identity,
        "tensors": {name: value.detach().cpu() for name, value in state.items()},
    }


def unpack_network(classifier: EVA02Classifier, packed: dict[str, Any]) -> TransformerClassifier:
    """Build a network around what :func:`pack_network` gave.

    Parameters
    ----------
    classifier : EVA02Classifier
        With its parameters and attributes.
    packed : dict
        As returned there.

    Returns
    -------
    network : TransformerClassifier

    Raises
    ------
    PretrainedWeightsError
        If the pretrained weights cannot be had, or are not those of the fit any more.
    """
    source = packed["source"]
    if source is not None and source.identify_weights() != packed["identity"]:
        raise PretrainedWeightsError(
            f"the weights of model_name={source.model_name!r}, to which this pickle adds adapters, "
            f"are not those that fit saw (then: {packed['identity']}; now: "
            f"{source.identify_weights()}): fit again"
        )
    network = _build_network(classifier, source)
    network.load_trained_state(packed["tensors"])
    return network.eval()


def _build_network(
    classifier: EVA02Classifier, source: BackboneSource | None
) -> TransformerClassifier:
    """Build the network of a fitted classifier; without a source, for weights that are at hand."""
    size = classifier._backbone_size
    options = BackboneOptions.from_dict(classifier._backbone_options)
    if source is None:
        source = BackboneSource(classifier._backbone_name, size, None, options=options)
    with torch_seed(0):
        return TransformerClassifier(
            source,
            describe_backbone(classifier._backbone_name, size, options),
            len(classifier.classes_),
            cosine_head=classifier.loss_.needs_cosine_head,
            freeze=classifier.freeze,
            gradient_checkpointing=bool(classifier.gradient_checkpointing),
            **head_and_adapters(classifier),
        )


def _complete(classifier: EVA02Classifier) -> None:
    """Give a model of an earlier release what it has not."""
    defaults: dict[str, Any] = dict.fromkeys(
        ("model_kwargs", "crop_mode", "fill", "views", "head_hidden_size", "lora_alpha")
    )
    defaults |= {"ema_decay": None, "mixup_alpha": 0.0, "cutmix_alpha": 0.0, "warmup_epochs": 0}
    defaults |= {"lora_rank": 0, "lora_targets": "qkv", "_backbone_options": {}}
    defaults["_backbone_name"] = classifier.model_name
    defaults["_backbone_size"] = classifier.image_size
    for name, value in defaults.items():
        classifier.__dict__.setdefault(name, value)
