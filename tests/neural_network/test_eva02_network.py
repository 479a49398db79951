"""What is frozen, and how gradients are checkpointed, in transformers of every build."""

import numpy as np
import pytest
import timm
import torch

from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.neural_network._transformer._network import TransformerClassifier, _freeze
from skcyto.utils._backbones._source import BackboneSource

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("tnt_s_patch16_224", {"pixel_embed", "proj", "cls_token", "patch_pos"}, {"norm"}),
        ("naflexvit_base_patch16_gap", {"embeds"}, {"fc_norm"}),
        ("naflexvit_base_patch16_map", {"embeds"}, {"norm", "attn_pool"}),
        ("vit_base_patch16_siglip_224", {"patch_embed", "pos_embed"}, {"norm", "attn_pool"}),
        ("eva02_tiny_patch14_224", {"patch_embed", "cls_token", "pos_embed"}, {"fc_norm"}),
    ],
)
def test_freeze_takes_what_is_below_and_nothing_above(name, below, above):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    _freeze(model, 2, name)
    frozen = {n for n, weight in model.named_parameters() if not weight.requires_grad}
    trained = {n for n, weight in model.named_parameters() if weight.requires_grad}
    tops = {name.split(".")[0] for name in frozen}, {name.split(".")[0] for name in trained}
    assert below <= tops[0]
    assert above <= tops[1]
    assert tops[0] & tops[1] == {"blocks"}
    assert {n.split(".")[1] for n in frozen if n.startswith("blocks.")} == {"0", "1"}


def test_checkpointing_that_timm_has_not_is_named():
    source = BackboneSource("convit_tiny", None, None)
    with pytest.raises(ValueError, match="gradient_checkpointing=True, but timm has none"):
        TransformerClassifier(source, source.describe(), 2, gradient_checkpointing=True)


@pytest.mark.filterwarnings("ignore:weights=None")
def test_models_without_prefix_tokens_give_the_mean_of_their_patches():
    name, images = "vit_base_patch16_siglip_gap_224", RNG.integers(0, 255, (2, 3, 32, 32))
    embedder = EVA02TokenEmbedder(
        name, "image", weights=None, image_size=32, final_norm=False, crop_pct=1.0
    )
    pixels = images.astype(np.uint8).transpose(0, 2, 3, 1)
    features = embedder.fit_transform(pixels)
    model = embedder._source.create()
    # Whatever norm there is, in its place: after the pool.
    with torch.inference_mode():
        model.norm = torch.nn.Identity()
        tokens = model.forward_features((torch.tensor(images) / 255 - 0.5) / 0.5)
    assert tokens.shape[1] == 4
    np.testing.assert_allclose(features, tokens.mean(1).numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="tokens must be 'image'"):
        EVA02TokenEmbedder(name, "class", weights=None, image_size=32).fit(pixels)
