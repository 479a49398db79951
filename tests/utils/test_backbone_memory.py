"""What a transformer is expected to need on a device, against what autograd really keeps."""

import pytest
import torch
from torch import nn

from skcyto.utils._backbones._memory import inference_memory, training_memory
from skcyto.utils._backbones._source import BackboneSource, describe_backbone

MODELS = [
    "eva02_tiny_patch14_224",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "beit_base_patch16_224",
    "eva02_base_patch16_clip_224",
]


class Network(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


def make_network(model_name, image_size, n_frozen=0, checkpointing=False):
    backbone = BackboneSource(model_name, image_size, None).create().train()
    backbone.set_grad_checkpointing(checkpointing)
    if n_frozen:
        for name, weight in backbone.named_parameters():
            blocks = tuple(f"blocks.{i}." for i in range(n_frozen, len(backbone.blocks)))
            weight.requires_grad_(name.startswith(blocks))
    return Network(backbone)


def count_kept(network, image_size, batch_size, precision):
    """Return the bytes that autograd keeps, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # alive, so that none has its place
        return tensor

    images = torch.rand(batch_size, 3, image_size, image_size)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        network.backbone(images)
    return sum(n_bytes for n_bytes, _ in kept.values())


def compare(model_name, image_size, precision, n_frozen=0, checkpointing=False):
    """Return what one image more is expected to need, and what autograd keeps of it."""
    info = describe_backbone(model_name, image_size)
    network = make_network(model_name, image_size, n_frozen, checkpointing)
    one, three = (
        training_memory(network, info, n, precision, gradient_checkpointing=checkpointing)
        for n in (1, 3)
    )
    kept = [count_kept(network, image_size, n, precision) for n in (1, 3)]
    return (three - one) / 2, (kept[1] - kept[0]) / 2


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model_name", MODELS)
def test_an_image_is_expected_to_need_what_autograd_keeps_of_it(model_name, precision):
    size = 112 if "patch14" in model_name else None
    expected, kept = compare(model_name, describe_backbone(model_name, size).image_size, precision)
    # Never less, and not so much more that devices would stand idle.
    assert kept <= expected <= 2 * kept


def test_frozen_blocks_and_checkpointed_ones_need_less():
    plain, _ = compare("eva02_tiny_patch14_224", 112, torch.float32)
    frozen, kept_frozen = compare("eva02_tiny_patch14_224", 112, torch.float32, n_frozen=6)
    few, kept_few = compare("eva02_tiny_patch14_224", 112, torch.float32, checkpointing=True)
    assert kept_frozen <= frozen < 0.7 * plain
    assert kept_few <= few < 0.3 * plain


def test_weights_gradients_and_moments_are_counted():
    info = describe_backbone("vit_tiny_patch16_224")
    network = make_network("vit_tiny_patch16_224", None)
    n_weights = sum(weight.numel() for weight in network.parameters())
    assert info.n_parameters == n_weights
    per_image = training_memory(network, info, 2, torch.float32) - training_memory(
        network, info, 1, torch.float32
    )
    # Weight, gradient, two moments, the best epoch's copy: 4 bytes each.
    assert training_memory(network, info, 1, torch.float32) - per_image == 20 * n_weights
    assert inference_memory(info, 0, torch.float32) == 4 * n_weights


def test_inference_needs_no_more_than_a_block_at_a_time():
    info = describe_backbone("vit_tiny_patch16_224")
    network = make_network("vit_tiny_patch16_224", None)
    inference = inference_memory(info, 64, torch.float32)
    training = training_memory(network, info, 64, torch.float32)
    assert inference < training / 8
