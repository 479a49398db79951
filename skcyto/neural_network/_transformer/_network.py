"""The network that is fine-tuned: a model of timm, a head, and what of it is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import timm.optim
import torch
from torch import nn

from skcyto.neural_network._modules import CosineLinear
from skcyto.neural_network._transformer._lora import add_adapters
from skcyto.utils._backbones._source import BackboneInfo, BackboneSource
from skcyto.utils._backbones._transforms import normalize_pixels


class TransformerClassifier(nn.Module):
    """A network of timm with its own pooling and norm, and a head.

    Parameters
    ----------
    source : BackboneSource
        Where the transformer comes from.
    info : BackboneInfo
        Its description.
    n_classes : int
        Number of logits.
    cosine_head : bool, default=False
        Let the logits be cosines.
    freeze : int, default=0
        Number of lowest blocks that keep their weights, and with them the patch embedding.
    drop_path : float, default=0.0
        Rate of stochastic depth at the last block; it grows linearly from the first.
    gradient_checkpointing : bool, default=False
        Compute activations again in the backward pass instead of keeping them.
    head_hidden_size : int or None, default=None
        Width of a hidden layer of the head; None for a linear head.
    lora_rank : int, default=0
        Breadth of adapters that are trained in place of the network; 0 for none.
    lora_alpha : float or None, default=None
        Divided by the rank, the factor of what they add; None for a factor of 1.
    lora_targets : {"qkv", "attention", "all"} or sequence of str, default="qkv"
        Which layers get one.

    Raises
    ------
    ValueError
        If the model has no blocks to freeze, or fewer, no layers to adapt, or cannot checkpoint its
        gradients.
    """

    def __init__(
        self,
        source: BackboneSource,
        info: BackboneInfo,
        n_classes: int,
        *,
        cosine_head: bool = False,
        freeze: int = 0,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
        head_hidden_size: int | None = None,
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        lora_targets: str | Sequence[str] = "qkv",
    ) -> None:
        super().__init__()
        self.backbone = source.create(**({"drop_path_rate": drop_path} if drop_path else {}))
        if gradient_checkpointing:
            _checkpoint_gradients(self.backbone, info.model_name)
        self.head = _make_head(info.pooled_dim, head_hidden_size, n_classes, cosine_head)
        for name in ("mean", "std"):
            value = torch.tensor(info.data_config[name]).reshape(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self._frozen = _freeze(self.backbone, freeze, info.model_name) if freeze else []
        self.is_adapted = lora_rank > 0
        if lora_rank:
            add_adapters(
                self.backbone, lora_rank, lora_alpha, lora_targets, freeze, info.model_name
            )
            norms = (
                m for m in self.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
            )
            self._frozen.extend(norms)

    mean: torch.Tensor
    std: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits.

        Parameters
        ----------
        images : torch.Tensor of shape (n_images, 3, image_size, image_size)
            8-bit RGB, on any device.

        Returns
        -------
        logits : torch.Tensor of shape (n_images, n_classes)
        """
        pixels = normalize_pixels(images, self.mean, self.std)
        if pixels.is_cuda:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.backbone(pixels)
        if isinstance(self.head, nn.Linear):
            return self.head(features)
        # Small, and cosines of half precision would lose the digits that margins are made of.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def train(self, mode: bool = True) -> TransformerClassifier:
        """Switch the mode; what is frozen stays as it is at prediction."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Return the state without what is frozen: with adapters, these and the head."""
        frozen = {name for name, p in self.named_parameters() if not p.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name not in frozen}

    def load_trained_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`trained_state` gave; a whole state is taken, too."""
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or set(missing) & self.trained_state().keys():
            raise ValueError(
                f"weights of another network: {', '.join([*unexpected, *missing][:3])}"
            )

    def parameter_groups(
        self, learning_rate: float, weight_decay: float, layer_decay: float
    ) -> list[dict[str, Any]]:
        """Group the weights that are trained by learning rate and weight decay.

        Parameters
        ----------
        learning_rate : float
            Of the head.
        weight_decay : float
            Of matrices; biases, norms, tokens and position embeddings have none.
        layer_decay : float
            Factor of the learning rate from one layer to the one below, as timm groups them.

        Returns
        -------
        groups : list of dict
            As an optimiser takes them.
        """
        # timm groups the layers of a whole model: the head in its place is layer by layer the same
        # as if timm had made it.
        model = _with_head(self.backbone, self.head)
        no_decay: set[str] = getattr(model, "no_weight_decay", set)()
        groups = timm.optim.param_groups_layer_decay(
            model, weight_decay, no_weight_decay_list=no_decay, layer_decay=layer_decay
        )
        for group in groups:
            group["lr"] = learning_rate * group["lr_scale"]
        return groups


def _make_head(n_features: int, n_hidden: int | None, n_classes: int, cosine: bool) -> nn.Module:
    width = n_features if n_hidden is None else n_hidden
    last: nn.Module
    if cosine:
        last = CosineLinear(width, n_classes)
    else:
        last = nn.Linear(width, n_classes)
        nn.init.trunc_normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
    if n_hidden is None:
        return last
    return nn.Sequential(nn.Linear(n_features, n_hidden), nn.GELU(), last)


def head_names(backbone: nn.Module) -> tuple[str, ...]:
    """Name the layers that timm calls the classifier; two in models that are distilled."""
    names = getattr(backbone, "pretrained_cfg", {}).get("classifier") or "head"
    return (names,) if isinstance(names, str) else tuple(names)


def _with_head(backbone: nn.Module, head: nn.Module) -> nn.Module:
    """Copy a model, not its weights, with a classifier in the place that timm has for it."""
    model = copy.copy(backbone)
    model._modules = dict(backbone._modules)
    parent = model
    *above, last = head_names(backbone)[0].split(".")
    for name in above:  # such as "head.fc", beside a norm that is none of the classifier's
        child = parent._modules[name]
        assert child is not None
        copied = copy.copy(child)
        copied._modules = dict(child._modules)
        parent._modules[name] = parent = copied
    parent._modules[last] = head
    return model


def _freeze(backbone: nn.Module, n_blocks: int, model_name: str) -> list[nn.Module]:
    """Take weights out of the training; return the modules that hold nothing but these."""
    blocks = getattr(backbone, "blocks", None)
    if blocks is None or n_blocks > len(blocks):
        has = "no blocks that could be frozen" if blocks is None else f"{len(blocks)} blocks"
        raise ValueError(f"freeze={n_blocks}, but model_name={model_name!r} has {has}")
    # Modules stand in the order of their use: what comes after the blocks, such as norms and an
    # attention pool, is trained; what comes before, and tokens and positions, is not.
    children = list(backbone.named_children())
    place = [name for name, _ in children].index("blocks")
    above = [name for name, _ in children[place + 1 :]]
    trained = tuple(f"{name}." for name in above) + tuple(
        f"blocks.{i}." for i in range(n_blocks, len(blocks))
    )
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    return [*(module for _, module in children[:place]), *blocks[:n_blocks]]


def _checkpoint_gradients(backbone: nn.Module, model_name: str) -> None:
    try:
        backbone.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"gradient_checkpointing=True, but timm has none for model_name={model_name!r}: leave "
            "it out, and take a smaller batch_size with grad_accumulation"
        ) from error
