"""Real cells through real weights."""

import csv

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from skcyto.feature_extraction import EVA02TokenEmbedder

DINO = "vit_small_patch14_dinov2"


@pytest.fixture
def weights(shared_data):
    return shared_data / "weights" / "vit_small_patch14_dinov2_224.fp16.safetensors"


def read_index(folder, n_images):
    """Every so manyeth file, so that all classes are among them."""
    with open(folder / "index.csv", newline="") as file:
        paths = [folder / row["file"] for row in csv.DictReader(file)]
    return paths[:: len(paths) // n_images]


def test_blood_cells_equal_a_bare_timm_loop(shared_data, weights, tmp_path):
    paths = read_index(shared_data / "cytology" / "bccd_crops64", 20)
    model = timm.create_model(
        DINO,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(weights)},
        num_classes=0,
        img_size=56,
    ).eval()
    config = timm.data.resolve_model_data_config(model, args={"input_size": (3, 56, 56)})
    transform = timm.data.create_transform(**config)
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(p).convert("RGB")) for p in paths])
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    embedder = EVA02TokenEmbedder(DINO, "class", weights=weights, image_size=56, cache=tmp_path)
    np.testing.assert_allclose(embedder.fit_transform(paths), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.fit_transform(paths), expected, atol=1e-5)
    assert embedder.n_forward_images_ == 0


def test_cervical_cells_agree_with_tokens_computed_elsewhere(shared_data, weights):
    """The reference squashed each cell to 112 pixels, where timm crops the centre for DINOv2."""
    folder = shared_data / "cytology" / "herlev"
    reference = np.load(folder / "herlev_dev_dinov2s_112_tokens.npz")
    chosen = np.arange(0, len(reference["path"]), 40)
    images = [
        Image.open(folder / "images" / str(reference["path"][i]).split("/", 1)[1])
        .convert("RGB")
        .resize((112, 112), Image.Resampling.BICUBIC)
        for i in chosen
    ]
    embedder = EVA02TokenEmbedder(DINO, "class", weights=weights, image_size=112)
    result = embedder.fit_transform(images)
    expected = reference["tokens"][chosen, 0].astype(np.float32)
    cosine = (result * expected).sum(1) / (
        np.linalg.norm(result, axis=1) * np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() > 0.9999  # the reference is stored in half precision
