"""What the tests of images and embeddings share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_paths(tmp_path):
    """Twelve small image files of different content and size."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    paths = []
    for i in range(12):
        pixels = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        path = folder / f"cell{i:02d}.png"
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return paths
