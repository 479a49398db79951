import numpy as np
import pytest
from PIL import Image

from skcyto.datasets import (
    load_image_folder,
    make_cell_images,
    write_image_folder,
    write_image_mask_folder,
    write_ps3c_folder,
)

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)


def test_image_folder_round_trip(tmp_path):
    cells = make_cell_images(9, image_size=32, random_state=0)
    index = write_image_folder(tmp_path / "new", cells.images, cells.target, groups=cells.groups)
    data = load_image_folder(index.parent, index=index, group_column="group")
    assert data.target.tolist() == cells.target.tolist()
    assert data.groups.tolist() == cells.groups.tolist()
    assert all("synthetic_cell" in path for path in data.paths)
    for path, image in zip(data.paths, cells.images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_images_of_differing_sizes_and_integer_classes(tmp_path):
    images = [np.zeros((8, 9, 3), np.uint8), np.zeros((5, 4), np.uint8)]
    write_image_folder(tmp_path, images, [1, 0], prefix="mine")
    data = load_image_folder(tmp_path)
    assert data.target.tolist() == [0, 1]
    assert data.paths[0].endswith("0/mine_0002.png")


@pytest.mark.parametrize(
    ("write", "error", "match"),
    [
        (lambda r: write_image_folder(r, IMAGES, ["a"]), ValueError, "inconsistent numbers"),
        (
            lambda r: write_image_folder(r, IMAGES / 255, ["a", "b"]),
            ValueError,
            r"images\[0\] must",
        ),
        (lambda r: write_image_folder(r, IMAGES, ["a/b", "c"]), ValueError, "cannot name a folder"),
        (lambda r: write_image_folder(r, IMAGES, ["", "c"]), ValueError, "cannot name a folder"),
        (lambda r: write_image_folder(r, IMAGES[:0], []), ValueError, "no image to write"),
        (lambda r: write_image_folder(r.parent, IMAGES, [1, 2]), FileExistsError, "not empty"),
        (lambda r: write_ps3c_folder(r, IMAGES), ValueError, "pass y"),
        (lambda r: write_ps3c_folder(r, IMAGES, ["healthy", "x"]), ValueError, "y holds 'x'"),
        (lambda r: write_ps3c_folder(r, IMAGES, split="val"), ValueError, "split='val'"),
        (
            lambda r: write_image_mask_folder(r, IMAGES, IMAGES[:, :4, :, 0]),
            ValueError,
            r"masks\[0\] has the shape \(4, 8\)",
        ),
        (
            lambda r: write_image_mask_folder(r, IMAGES, IMAGES[..., 0].astype(int)),
            ValueError,
            r"masks\[0\] must be a uint8",
        ),
    ],
)
def test_wrong_input_writes_nothing(tmp_path, write, error, match):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(error, match=match):
        write(tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"]
