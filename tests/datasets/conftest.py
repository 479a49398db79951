"""Small folders of images to load."""

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
            Image.fromarray(np.full((4, 4, 3), 100, np.uint8)).save(path)
        else:
            path.write_bytes(f"not an image, {name}".encode())
        return path

    return write
