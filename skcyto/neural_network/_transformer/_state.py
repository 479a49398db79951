"""What a saved model holds of an EVA02Classifier; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import InvalidModelError
from skcyto.neural_network._imbalance import rebuild_criterion
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._persistence import read_tensors, take_part, write_tensors
from skcyto.utils._random import torch_seed

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
        # Models saved by earlier releases have neither.
        classifier.__dict__.setdefault("_backbone_size", classifier.image_size)
        classifier.__dict__.setdefault("_backbone_options", {})
        size = classifier._backbone_size
        options = BackboneOptions.from_dict(classifier._backbone_options)
        info = describe_backbone(classifier.model_name, size, options)
        with torch_seed(0):
            network = TransformerClassifier(
                BackboneSource(classifier.model_name, size, None, options=options),
                info,
                len(classifier.classes_),
                cosine_head=classifier.loss_.needs_cosine_head,
                gradient_checkpointing=bool(classifier.gradient_checkpointing),
            )
        network.load_state_dict(take_part(tensors, "network."))
        criterion = rebuild_criterion(classifier)
        criterion.load_state_dict(take_part(tensors, "criterion."))
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(
            f"the network of {type(classifier).__name__} cannot be built from what was saved: "
            f"{error}"
        ) from error
    classifier.network_, classifier.criterion_ = network.eval(), criterion
