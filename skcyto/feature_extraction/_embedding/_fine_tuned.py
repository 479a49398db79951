"""Networks of an embedder that were fine-tuned on the images given to its `fit`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from skcyto.exceptions import InvalidImageError, InvalidInputWarning
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._request import OPTION_NAMES
from skcyto.utils._backbones._source import BackboneInfo, describe_backbone
from skcyto.utils._images._inputs import ImageInputs, list_bad_images
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from torch import nn

    from skcyto.neural_network import EVA02Classifier

_OF_THE_NETWORK = (
    *("model_name", "weights", "image_size"),
    *OPTION_NAMES,
)


@dataclass(frozen=True)
class FineTunedSource:
    """A backbone that a fitted classifier holds, as a :class:`BackboneSource`.

    Attributes
    ----------
    classifier : EVA02Classifier
        Fitted; its network is copied, never changed.
    identity : str
        The same if, and only if, the weights are the same.
    """

    classifier: EVA02Classifier
    identity: str

    @classmethod
    def of(cls, classifier: EVA02Classifier) -> FineTunedSource:
        """Take the backbone of a fitted classifier.

        Parameters
        ----------
        classifier : EVA02Classifier
            Fitted.

        Returns
        -------
        source : FineTunedSource
        """
        digest = hashlib.blake2b(digest_size=20)
        state = classifier.network_.backbone.state_dict()
        for name, tensor in sorted(state.items()):
            values = tensor.numpy(force=True)
            digest.update(f"{name} {values.dtype} {values.shape} ".encode())
            digest.update(values.tobytes())
        return cls(classifier, f"fine-tuned {digest.hexdigest()}")

    @property
    def model_name(self) -> str:
        """Name of the timm model."""
        return self.classifier._backbone_name

    @property
    def image_size(self) -> int | None:
        """Height and width of the input; None for the model's own."""
        return self.classifier._backbone_size

    @property
    def options(self) -> BackboneOptions:
        """How it differs from what timm says of the name."""
        return BackboneOptions.from_dict(self.classifier._backbone_options)

    def describe(self) -> BackboneInfo:
        """Look up what is known of the backbone without its weights."""
        return describe_backbone(self.model_name, self.image_size, self.options)

    @property
    def weights(self) -> str:
        """In place of a path."""
        return self.identity

    def identify_weights(self) -> str:
        """Return a text that is the same if, and only if, the weights are the same."""
        return self.identity

    def create(self) -> nn.Module:
        """Copy the backbone, its adapters merged, in float32 on the CPU and in evaluation mode.

        Returns
        -------
        model : torch.nn.Module
            A timm model without a classifier.
        """
        from skcyto.neural_network._transformer._lora import merge_adapters

        model = copy.deepcopy(self.classifier.network_.backbone).cpu()
        merge_adapters(model)
        if hasattr(model, "set_grad_checkpointing"):
            model.set_grad_checkpointing(False)
        return model.float().eval()


def fine_tune(
    finetune: EVA02Classifier,
    inputs: ImageInputs,
    X: Any,
    y: Any,
    *,
    sample_weight: Any,
    groups: Any,
    leave_out_bad: bool,
) -> FineTunedSource:
    """Fit a clone of a classifier, and take its backbone.

    Parameters
    ----------
    finetune : EVA02Classifier
        Not fitted, and left so.
    inputs : ImageInputs
        The images of `X`.
    X, y, sample_weight, groups : object
        As for its `fit`.
    leave_out_bad : bool
        Whether images that cannot be read are left out, with a warning, or are an error.

    Returns
    -------
    source : FineTunedSource

    Raises
    ------
    InvalidImageError
        If images cannot be read and are not to be left out, or none can be read.
    """
    data = {"X": X, "y": y, "sample_weight": sample_weight, "groups": groups}
    try:
        return FineTunedSource.of(clone(finetune).fit(**data))
    except InvalidImageError as error:
        # `bad` is None where an image went bad in the middle of the training: whether to begin it
        # again is not for us to say.
        if not leave_out_bad or error.bad is None or len(error.bad) == len(inputs):
            raise
        bad = error.bad
    warn(
        f"{list_bad_images(inputs, bad)}\nThey were left out of the fine-tuning.",
        InvalidInputWarning,
    )
    good = np.setdiff1d(np.arange(len(inputs)), list(bad))
    for name, values in data.items():
        if values is not None and not np.isscalar(values):  # One weight may stand for all.
            data[name] = _safe_indexing(values, good)
    return FineTunedSource.of(clone(finetune).fit(**data))


def check_same_network(
    finetune: EVA02Classifier, params: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Refuse parameters of an embedder that describe another network than its `finetune` does.

    Parameters
    ----------
    finetune : EVA02Classifier
        Says which network it is.
    params, defaults : mapping
        The embedder's parameters, and what they are where nothing is said.

    Raises
    ------
    ValueError
        If one of them says something else.
    """
    for name in _OF_THE_NETWORK:
        own, theirs = params[name], getattr(finetune, name)
        if not _equal(own, defaults[name]) and not _equal(own, theirs):
            raise ValueError(
                f"{name}={own!r}, but finetune has {name}={theirs!r}. With finetune, the network "
                f"is the one that it describes: give {name} to it, and leave it out here"
            )


def _equal(one: Any, other: Any) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
