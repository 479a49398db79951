"""What the tests of fine-tuning share."""

import numpy as np
import pytest
import torch
from PIL import Image

from skcyto.neural_network import EVA02Classifier

SMALL = {
    "weights": None,
    "image_size": 32,
    "learning_rate": 2e-3,
    "batch_size": 8,
    "max_epochs": 2,
    "random_state": 0,
}


@pytest.fixture
def make_classifier():
    """Make a classifier with a network of 0.3 million weights, on 32 pixels."""

    def make(model_name="test_vit", **params):
        return EVA02Classifier(model_name, **{**SMALL, **params})

    return make


@pytest.fixture
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_images(n_images=36, size=32, seed=0):
    """Draw three classes that differ in which part of the image is dark."""
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 256, (n_images, size, size, 3), dtype=np.uint8)
    y = np.arange(n_images) % 3
    images[y == 1, : size // 2] //= 3
    images[y == 2] //= 3
    return images, np.array(["high", "low", "none"])[y]


@pytest.fixture
def images():
    return make_images()


@pytest.fixture
def image_files(tmp_path, images):
    X, y = images
    paths = []
    for i, pixels in enumerate(X):
        paths.append(str(tmp_path / f"cell{i:02d}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths, y
