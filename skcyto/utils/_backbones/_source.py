"""Describe the image models of timm and build them with weights from wherever the user has them."""

from __future__ import annotations

import copy
import difflib
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from skcyto.utils._backbones._folder import find_folder, find_weights
from skcyto.utils._backbones._options import NO_OPTIONS, BackboneOptions, with_layers
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
    """What is known of a network without its weights.

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
    pooled_dim : int
        Length of timm's own pooled feature, on which a head stands.
    has_tokens : bool
        Whether the network is a vision transformer that keeps a token for each patch.
    takes_image_size : bool
        Whether the size of the input is an argument of the architecture; others take any.
    n_activations : int
        Numbers that the layers of a network without tokens give for one image; 0 with tokens.
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
    pooled_dim: int
    has_tokens: bool
    takes_image_size: bool
    n_activations: int
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
    hub : str or None
        Where on the Hugging Face Hub the weights file is from, to fetch it where it is missing.
    """

    model_name: str
    image_size: int | None
    weights: str | None
    seed: int = 0
    options: BackboneOptions = NO_OPTIONS
    hub: str | None = None

    def describe(self) -> BackboneInfo:
        """Look up what is known of the backbone without its weights."""
        return describe_backbone(self.model_name, self.image_size, self.options)

    def identify_weights(self) -> str:
        """Return a text that is the same if, and only if, the weights are the same."""
        import timm
        import torch

        args = "".join(f" {name}={value!r}" for name, value in self.options.model_args)
        if self.weights is None:
            # Initialisers change from release to release.
            return f"random {self.seed} timm {timm.__version__} torch {torch.__version__}{args}"
        if self.weights == "pretrained":
            return f"pretrained {pretrained_origin(self.model_name)}{args}"
        return f"file {hash_weights_file(self._find_file(self.weights))}{args}"

    def _find_file(self, path: str) -> str:
        if self.hub is None or os.path.isfile(path):
            return path
        # A pickle that was made on another machine.
        return find_weights(self.hub, find_folder(self.hub))

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
        kwargs = {**with_layers(dict(self.options.model_args)), **kwargs}
        if self.image_size is not None and info.takes_image_size:
            kwargs["img_size"] = info.image_size
        with torch_seed(self.seed):
            if self.weights is None:
                model = _create_timm_model(self.model_name, **kwargs)
            elif self.weights == "pretrained":
                model = load_pretrained_model(self.model_name, **kwargs)
            else:
                model = load_weights_file(self.model_name, self._find_file(self.weights), **kwargs)
        return model.float().eval()


@lru_cache(maxsize=32)
def describe_backbone(
    model_name: str,
    image_size: int | None = None,
    options: BackboneOptions = NO_OPTIONS,
) -> BackboneInfo:
    """Look up a model of timm, without weights.

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
        If timm knows no such model, it does not take these arguments, or not this size.
    """
    import timm

    args = with_layers(dict(options.model_args))
    takes_image_size = True
    if image_size is None:
        try:
            model = _create_skeleton(model_name, **args)
        except (TypeError, AssertionError, AttributeError, KeyError) as error:
            if not args:
                raise
            raise ValueError(
                f"model_name={model_name!r} cannot be built with the arguments "
                f"{dict(options.model_args)}: {textwrap.shorten(str(error), 300)}. Look at "
                "model_kwargs, or the config.json of the weights"
            ) from error
    else:
        own = describe_backbone(model_name, None, options)
        if own.has_tokens:
            _check_size(own, image_size)
        try:
            model = _create_skeleton(model_name, img_size=image_size, **args)
        except TypeError as error:
            if own.has_tokens:
                raise ValueError(
                    f"model_name={model_name!r} does not take another image size than its own "
                    f"({error}); leave image_size=None"
                ) from error
            takes_image_size = False
            model = _create_skeleton(model_name, **args)
    data_config = timm.data.resolve_model_data_config(model) | options.preprocessing()
    if image_size is None:
        image_size = data_config["input_size"][-1]
    data_config["input_size"] = (3, image_size, image_size)
    has_tokens = _has_tokens(model)
    if has_tokens:
        pooled_dim, n_activations = model.num_features, 0
    else:
        pooled_dim, n_activations = _try_out(model, model_name, image_size)
    return BackboneInfo(
        model_name=model_name,
        image_size=image_size,
        patch_size=_find_patch_size(model) if has_tokens else 1,
        embedding_dim=model.num_features,
        pooled_dim=pooled_dim,
        has_tokens=has_tokens,
        takes_image_size=takes_image_size,
        n_activations=n_activations,
        n_prefix_tokens=model.num_prefix_tokens if has_tokens else 0,
        has_class_token=has_tokens and getattr(model, "cls_token", None) is not None,
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


def _has_tokens(model: nn.Module) -> bool:
    return getattr(model, "num_prefix_tokens", None) is not None and hasattr(model, "blocks")


def _try_out(model: nn.Module, model_name: str, image_size: int) -> tuple[int, int]:
    """Return length of the pooled feature and number of activations, by sending an image through.

    No patch size says which sizes a network without tokens takes. On torch's "meta" device nothing
    is computed.
    """
    import torch

    counts: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            counts.append(output.numel())

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            shape = (1, 3, image_size, image_size)
            features = model.eval()(torch.zeros(shape, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"model_name={model_name!r} does not take images of image_size={image_size}: "
            f"{textwrap.shorten(str(error), 200)}; leave image_size=None for its own"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise ValueError(
            f"model_name={model_name!r} ({type(model).__name__}) gives no feature vector for an "
            "image: choose another model"
        )
    return features.shape[1], sum(counts)


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
