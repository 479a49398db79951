"""Describe timm vision transformers and build them with weights from wherever the user has them."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from skcyto.utils._backbones._options import NO_OPTIONS, BackboneOptions
from skcyto.utils._backbones._weights import (
    hash_weights_file,
    load_pretrained_model,
    load_weights_file,
    pretrained_origin,
)
from skcyto.utils._random import torch_seed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a vision transformer without its weights.

    Attributes
    ----------
    model_name : str
        Name given to timm.
    image_size : int
        Height and width of the input, in pixels.
    patch_size : int
        Height and width of a patch, in pixels; 16 where the model does not tell.
    embedding_dim : int
        Length E of a token.
    n_prefix_tokens : int
        Tokens before the patch tokens: class token, distillation token, registers.
    has_class_token : bool
        Whether the first of them is a class token.
    n_parameters : int
        Weights, without those of a classifier.
    data_config : mapping
        timm's own preprocessing: input size, interpolation, mean, std, crop.
    final_norm : torch.nn.Module
        The norm after the last block, without its weights; an identity where there is none.
    options : BackboneOptions
        How it differs from what timm says of the name.
    """

    model_name: str
    image_size: int
    patch_size: int
    embedding_dim: int
    n_prefix_tokens: int
    has_class_token: bool
    n_parameters: int
    data_config: Mapping[str, Any]
    final_norm: nn.Module
    options: BackboneOptions = NO_OPTIONS


@dataclass(frozen=True)
class BackboneSource:
    """Everything that determines a backbone and its weights.

    Attributes
    ----------
    model_name : str
        Name of a timm model.
    image_size : int or None
        Height and width of the input; None for the model's own.
    weights : str or None
        "pretrained", the path of a weights file, or None for random weights.
    seed : int
        Seed of random weights.
    options : BackboneOptions
        How it differs from what timm says of the name.
    """

    model_name: str
    image_size: int | None
    weights: str | None
    seed: int = 0
    options: BackboneOptions = NO_OPTIONS

    def describe(self) -> BackboneInfo:
        """Look up what is known of the backbone without its weights."""
        return describe_backbone(self.model_name, self.image_size, self.options)

    def identify_weights(self) -> str:
        """Return a text that is the same if, and only if, the weights are the same."""
        import timm
        import torch

        if self.weights is None:
            # Initialisers change from release to release.
            return f"random {self.seed} timm {timm.__version__} torch {torch.__version__}"
        if self.weights == "pretrained":
            return f"pretrained {pretrained_origin(self.model_name)}"
        args = "".join(f" {name}={value!r}" for name, value in self.options.model_args)
        return f"file {hash_weights_file(self.weights)}{args}"

    def create(self, **kwargs: Any) -> nn.Module:
        """Build the model, without a classifier, in float32 on the CPU and in evaluation mode.

        Parameters
        ----------
        **kwargs : dict
            Given to :func:`timm.create_model`.

        Returns
        -------
        model : torch.nn.Module
            A timm model made with ``num_classes=0``.

        Raises
        ------
        PretrainedWeightsError
            If the weights are missing, out of reach or do not fit.
        """
        info = self.describe()
        kwargs = {**dict(self.options.model_args), **kwargs}
        if self.image_size is not None:
            kwargs["img_size"] = info.image_size
        with torch_seed(self.seed):
            if self.weights is None:
                model = _create_timm_model(self.model_name, **kwargs)
            elif self.weights == "pretrained":
                model = load_pretrained_model(self.model_name, **kwargs)
            else:
                model = load_weights_file(self.model_name, self.weights, **kwargs)
        return model.float().eval()


def resolve_weights_path(weights: str | os.PathLike[str] | None) -> str | None:
    """Make a `weights` parameter independent of the current folder.

    Parameters
    ----------
    weights : str, path or None
        "pretrained", None or a path.

    Returns
    -------
    weights : str or None
        "pretrained", None or an absolute path.
    """
    if weights is None or weights == "pretrained":
        return weights
    return os.path.abspath(os.path.expanduser(weights))


@lru_cache(maxsize=32)
def describe_backbone(
    model_name: str,
    image_size: int | None = None,
    options: BackboneOptions = NO_OPTIONS,
) -> BackboneInfo:
    """Look up a vision transformer of timm, without weights.

    Parameters
    ----------
    model_name : str
        Name of a timm model.
    image_size : int or None, default=None
        Height and width of the input; None for the model's own.
    options : BackboneOptions
        How the model differs from what timm says of the name.

    Returns
    -------
    info : BackboneInfo

    Raises
    ------
    ValueError
        If timm knows no such model, the model is no vision transformer, or cannot take this size.
    """
    import timm

    if ":" in model_name:
        raise ValueError(
            f"model_name={model_name!r} names a place, not a model: give the name of timm's "
            "architecture, and the file as weights='/path/to/model.safetensors'"
        )
    model_args = dict(options.model_args)
    if image_size is None:
        model = _create_skeleton(model_name, **model_args)
        _check_tokens(model_name, model)
    else:
        _check_size(describe_backbone(model_name, None, options), image_size)
        try:
            model = _create_skeleton(model_name, img_size=image_size, **model_args)
        except TypeError as error:
            raise ValueError(
                f"model_name={model_name!r} does not take another image size than its own "
                f"({error}); leave image_size=None"
            ) from error
    data_config = timm.data.resolve_model_data_config(model) | options.preprocessing()
    if image_size is None:
        image_size = data_config["input_size"][-1]
    data_config["input_size"] = (3, image_size, image_size)
    return BackboneInfo(
        model_name=model_name,
        image_size=image_size,
        patch_size=_find_patch_size(model),
        embedding_dim=model.num_features,
        n_prefix_tokens=model.num_prefix_tokens,
        has_class_token=getattr(model, "cls_token", None) is not None,
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        data_config=data_config,
        final_norm=copy.deepcopy(find_final_norm(model)),
        options=options,
    )


def find_final_norm(model: nn.Module) -> nn.Module:
    """Return the norm that a vision transformer applies after its last block.

    timm puts it before the pooling (`norm`, most models) or after it (`fc_norm`, EVA-02 and BEiT);
    the other one is an identity. A few models have neither.

    Parameters
    ----------
    model : torch.nn.Module
        A timm vision transformer.

    Returns
    -------
    norm : torch.nn.Module
    """
    from torch import nn

    norms = [getattr(model, name, None) for name in ("norm", "fc_norm")]
    kept = [n for n in norms if n is not None and not isinstance(n, nn.Identity)]
    if not kept:
        return nn.Identity()
    return kept[0] if len(kept) == 1 else nn.Sequential(*kept)


def _create_timm_model(model_name: str, **kwargs: Any) -> nn.Module:
    import timm

    try:
        return timm.create_model(model_name, num_classes=0, **kwargs)
    except RuntimeError as error:
        if "Unknown model" not in str(error) and "Invalid pretrained tag" not in str(error):
            raise
        alike = difflib.get_close_matches(model_name.split(".")[0], timm.list_models(), n=5)
        hint = f"; names like it: {', '.join(alike)}" if alike else ""
        raise ValueError(
            f"model_name={model_name!r} is no model of timm {timm.__version__} ({error}){hint}. "
            "timm.list_models() gives all names"
        ) from error


def _create_skeleton(model_name: str, **kwargs: Any) -> nn.Module:
    """Build a model without paying for its weights, where this timm can."""
    import torch

    try:
        with torch.device("meta"):
            return _create_timm_model(model_name, **kwargs)
    except (RuntimeError, NotImplementedError):
        # Older releases of timm compute numbers with tensors while they build a model.
        with torch_seed(0):
            return _create_timm_model(model_name, **kwargs)


def _check_tokens(model_name: str, model: nn.Module) -> None:
    if getattr(model, "num_prefix_tokens", None) is None or not hasattr(model, "blocks"):
        raise ValueError(
            f"model_name={model_name!r} ({type(model).__name__}) is no vision transformer, which "
            "would keep a token for each patch: choose one, such as "
            "'eva02_base_patch14_448.mim_in22k_ft_in22k_in1k' or 'vit_small_patch14_dinov2'"
        )


def _find_patch_size(model: nn.Module) -> int:
    embedding = getattr(model, "patch_embed", None)
    if embedding is None:
        return 16
    # Behind a convolutional stem, patches are larger than the patch embedding itself knows.
    size = (
        embedding.feat_ratio()
        if hasattr(embedding, "feat_ratio")
        else getattr(embedding, "patch_size", 16)
    )
    return size if isinstance(size, int) else size[0]


def _check_size(info: BackboneInfo, image_size: int) -> None:
    patch = info.patch_size
    if image_size % patch:
        low = image_size // patch * patch
        sizes = f"{low} or {low + patch}" if low else f"{patch}"
        raise ValueError(
            f"image_size={image_size} is no multiple of the patch size {patch} of "
            f"model_name={info.model_name!r}: pixels at the border would be lost; use {sizes}"
        )
