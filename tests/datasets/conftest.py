"""Small folders of images to load."""

import zlib

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def put(tmp_path):
    """Write a small image, or text where the name is no image's, below the test's folder."""

    def write(name, content=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        elif path.suffix.lower() in (".png", ".jpg", ".bmp"):
            # Another picture for each name: the same one under two labels is a problem.
            seed = zlib.crc32(name.encode())
            pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            path.write_bytes(f"not an image, {name}".encode())
        return path

    return write
