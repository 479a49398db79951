"""Low-rank adapters of linear layers, which are trained in place of the layers' own weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils import parametrize

# Which layers get an adapter, by the end of their names.
TARGETS = {
    "qkv": ("qkv", "q_proj", "k_proj", "v_proj"),
    "attention": ("qkv", "q_proj", "k_proj", "v_proj", "attn.proj"),
    "all": ("",),
}
_WEIGHT = ".parametrizations.weight"


class LowRank(nn.Module):
    """What is added to a weight: the product of two thin matrices, of which one begins at zero.

    As a parametrization of the weight, and no layer of its own, it reaches networks that hand a
    layer's weight on instead of calling the layer, as BEiT and EVA do.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_outputs, n_inputs)
        Of the layer.
    rank : int
        Breadth of the matrices.
    scale : float
        Factor of their product.
    """

    def __init__(self, weight: torch.Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1], device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the adapted weight."""
        return weight + self.scale * (self.up @ self.down)


def add_adapters(
    backbone: nn.Module,
    rank: int,
    alpha: float | None,
    targets: str | Sequence[str],
    n_frozen: int,
    model_name: str,
) -> None:
    """Give linear layers adapters, and freeze all else.

    Parameters
    ----------
    backbone : torch.nn.Module
        Changed in place.
    rank : int
        Breadth of the adapters.
    alpha : float or None
        Divided by the rank, the factor of what they add; None for a factor of 1.
    targets : {"qkv", "attention", "all"} or sequence of str
        Which layers; names, or ends of names, as ``backbone.named_modules()`` gives them.
    n_frozen : int
        Number of lowest blocks that get none.
    model_name : str
        For messages.

    Raises
    ------
    ValueError
        If there is no such layer, or one is narrower than the adapters.
    """
    ends = TARGETS[targets] if isinstance(targets, str) else tuple(targets)
    if not all(isinstance(end, str) for end in ends):
        raise ValueError(f"lora_targets={targets!r} must hold names of layers, or ends of these")
    below = tuple(f"blocks.{i}." for i in range(n_frozen))
    linear = {name: m for name, m in backbone.named_modules() if isinstance(m, nn.Linear)}
    chosen = [m for name, m in linear.items() if name.endswith(ends) and not name.startswith(below)]
    if not chosen:
        if linear:
            remedy = (
                f"its linear layers are {', '.join(sorted({n.split('.')[-1] for n in linear}))}"
            )
        else:
            remedy = "it has no linear layers at all: train it whole, or from a block on by freeze"
        raise ValueError(
            f"lora_rank={rank}: model_name={model_name!r} has no linear layer that "
            f"lora_targets={targets!r} names; {remedy}"
        )
    narrowest = min(min(layer.weight.shape) for layer in chosen)
    if rank > narrowest:
        raise ValueError(
            f"lora_rank={rank} is more than the {narrowest} that a layer of model_name="
            f"{model_name!r} has: the adapters would be larger than what they adapt"
        )
    backbone.requires_grad_(False)
    scale = 1.0 if alpha is None else alpha / rank
    for layer in chosen:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, scale))


def merge_adapters(backbone: nn.Module) -> None:
    """Add what the adapters say to the weights themselves, in place."""
    for module in list(backbone.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def merged_state(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's weights as they would be after a merge, and leave it as it is."""
    state = {}
    for name, value in backbone.state_dict().items():
        layer, mark, rest = name.partition(_WEIGHT)
        if not mark:
            state[name] = value
        elif rest == ".original":
            state[f"{layer}.weight"] = backbone.get_submodule(layer).weight.detach()
    return state
