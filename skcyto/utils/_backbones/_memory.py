"""Estimate the memory that a network needs on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skcyto.utils._backbones._source import BackboneInfo

if TYPE_CHECKING:
    import torch
    from torch import nn

# Bytes that autograd keeps for one number of one token in one block: the largest that was counted
# over plain, EVA-02, EVA-02 CLIP, BEiT and DINOv2 transformers is 94 in float32, 59 with autocast.
_BLOCK_BYTES = {4: 96, 2: 60}
# A checkpointed block keeps its input only.
_CHECKPOINT_BYTES = 4
# Weights in float32, and their copies of half precision that autocast makes.
_WEIGHT_BYTES = {4: 4, 2: 6}
# Of a weight that is trained: its gradient, two means of Adam and the copy of the best epoch.
_TRAINED_BYTES = 16


def inference_memory(info: BackboneInfo, batch_size: int, precision: torch.dtype) -> int:
    """Estimate what a forward pass without gradients needs at most.

    Parameters
    ----------
    info : BackboneInfo
        Describes the network.
    batch_size : int
        Images of one pass.
    precision : torch.dtype
        What the network computes in.

    Returns
    -------
    n_bytes : int
    """
    weights = info.n_parameters * _WEIGHT_BYTES[precision.itemsize]
    # A network without tokens keeps few of its layers' outputs at a time; counted whole, they are
    # an upper bound.
    layers = _tokens(info) * _BLOCK_BYTES[precision.itemsize] + info.n_activations * 4
    return weights + batch_size * (_pixels(info) + layers)


def training_memory(
    network: nn.Module,
    info: BackboneInfo,
    batch_size: int,
    precision: torch.dtype,
    *,
    gradient_checkpointing: bool = False,
) -> int:
    """Estimate what training needs at most.

    Parameters
    ----------
    network : torch.nn.Module
        With a timm transformer as its ``backbone``; weights that are not trained take no gradient.
    info : BackboneInfo
        Describes the transformer.
    batch_size : int
        Images of one backward pass.
    precision : torch.dtype
        What the network computes in.
    gradient_checkpointing : bool, default=False
        Whether activations are computed again in the backward pass.

    Returns
    -------
    n_bytes : int
    """
    n_trained = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    blocks = getattr(network.backbone, "blocks", [network.backbone])
    n_blocks = sum(any(p.requires_grad for p in block.parameters()) for block in blocks)
    block = _BLOCK_BYTES[precision.itemsize]
    # Beside what is kept, the backward pass works on one block at a time.
    kept = n_blocks * (_CHECKPOINT_BYTES if gradient_checkpointing else block) + block
    weights = info.n_parameters * _WEIGHT_BYTES[precision.itemsize] + n_trained * _TRAINED_BYTES
    # Without tokens: each layer's output, and the gradient with respect to it.
    layers = _tokens(info) * kept + info.n_activations * 8
    return weights + batch_size * (_pixels(info) + layers)


def _tokens(info: BackboneInfo) -> int:
    """Return how many numbers the tokens of an image are."""
    if not info.has_tokens:
        return 0
    n_tokens = (info.image_size // info.patch_size) ** 2 + info.n_prefix_tokens
    return n_tokens * info.embedding_dim


def _pixels(info: BackboneInfo) -> int:
    """Return the bytes of an image: 8-bit, then float32 before and after the normalisation."""
    return 3 * info.image_size**2 * 9
