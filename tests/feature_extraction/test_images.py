"""Every storage form of an image becomes the RGB that a person would see."""

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from skcyto.utils._images._decoding import array_to_rgb, decode_image, to_rgb
from skcyto.utils._images._inputs import as_image_inputs, explain, list_bad_images

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def encode(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decoded(image, form="PNG", **options):
    result = decode_image(encode(image, form, **options))
    assert result.mode == "RGB"
    return np.asarray(result)


def gray_to_rgb(gray):
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def test_rgb_is_left_as_it_is():
    np.testing.assert_array_equal(decoded(Image.fromarray(RGB)), RGB)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_grayscale(form):
    np.testing.assert_array_equal(decoded(Image.fromarray(GRAY), form), gray_to_rgb(GRAY))


def test_one_bit():
    bits = GRAY > 127
    expected = gray_to_rgb(np.where(bits, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(decoded(Image.fromarray(bits)), expected)


def test_palette():
    image = Image.fromarray(GRAY % 4, mode=None)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    palette = np.arange(10, 130, 10, dtype=np.uint8).reshape(4, 3)
    assert image.mode == "P"
    np.testing.assert_array_equal(decoded(image), palette[GRAY % 4])


def test_transparency_is_laid_over_white():
    alpha = np.zeros(GRAY.shape, np.uint8)
    alpha[:, :3] = 255
    rgba = np.dstack([RGB, alpha])
    result = decoded(Image.fromarray(rgba))
    np.testing.assert_array_equal(result[:, :3], RGB[:, :3])
    assert (result[:, 3:] == 255).all()
    np.testing.assert_array_equal(array_to_rgb(rgba), result)


def test_half_transparency_is_mixed_with_white():
    rgba = np.full((2, 2, 4), (0, 100, 200, 128), np.uint8)
    expected = np.array([0, 100, 200]) * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(decoded(Image.fromarray(rgba))[0, 0], expected, atol=1)


def test_gray_with_alpha_and_transparent_palette_colour():
    alpha = np.where(GRAY > 100, 255, 0).astype(np.uint8)
    expected = gray_to_rgb(np.where(GRAY > 100, GRAY, 255).astype(np.uint8))
    np.testing.assert_array_equal(
        decoded(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha)])), expected
    )
    palette = Image.fromarray(GRAY % 2)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    result = decoded(palette, transparency=0)
    assert (result[GRAY % 2 == 0] == 255).all()
    assert (result[GRAY % 2 == 1] == (40, 50, 60)).all()


def test_cmyk():
    cmyk = Image.merge("CMYK", [Image.new("L", (4, 4), v) for v in (255, 0, 0, 0)])
    np.testing.assert_array_equal(decoded(cmyk, "TIFF")[0, 0], (0, 255, 255))
    jpeg = decoded(cmyk, "JPEG", quality=100)
    np.testing.assert_allclose(jpeg[0, 0], (0, 255, 255), atol=6)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_is_scaled_and_not_clipped(form):
    values = np.array([[0, 257, 25700, 65535]], np.uint16)
    expected = gray_to_rgb(np.array([[0, 1, 100, 255]], np.uint8))
    np.testing.assert_array_equal(decoded(Image.fromarray(values), form), expected)
    np.testing.assert_array_equal(array_to_rgb(values), expected)


def test_big_endian_16_bit():
    values = np.array([[0, 257, 25700, 65535]], np.uint16)
    image = Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(np.asarray(to_rgb(image))[0, :, 0], [0, 1, 100, 255])


def test_16_bit_values_in_32_bit_pixels():
    image = Image.fromarray(np.array([[0, 257, 25700, 65535]], np.int32))
    assert image.mode == "I"
    np.testing.assert_array_equal(np.asarray(to_rgb(image))[0, :, 0], [0, 1, 100, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """The eight orientations of a picture whose upper left corner alone is bright."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255
    # What a camera stores: the inverse of the turn that a viewer is told to make.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(store(upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = decoded(image, "PNG", exif=exif)
    np.testing.assert_array_equal(result, upright)
    jpeg = decoded(image, "JPEG", exif=exif, quality=100)
    np.testing.assert_allclose(jpeg, upright, atol=12)


def test_pil_image_given_is_not_changed():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encode(Image.fromarray(RGB), exif=exif)))
    assert to_rgb(image).size == (5, 7)
    assert image.size == (7, 5)


def test_first_frame_of_several():
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    result = decoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(result, gray_to_rgb(GRAY))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image"),
        (encode(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"), "floating-point"),
        (encode(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF"), "32-bit"),
    ],
)
def test_bad_files_say_why(data, message):
    with pytest.raises(ValueError, match=message):
        decode_image(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_truncated_file_is_an_error(form):
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, form)
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_bad_arrays_say_why(array, message):
    with pytest.raises(ValueError, match=message):
        array_to_rgb(array)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    )
)
def test_arrays_and_png_files_agree(array):
    if array.dtype == np.uint16 and array.shape[2] == 3:
        array = array[:, :, :1]  # Pillow writes no 16-bit colour
    rgb = array_to_rgb(array)
    assert rgb.shape == (*array.shape[:2], 3)
    assert rgb.dtype == np.uint8
    squeezed = array[:, :, 0] if array.shape[2] == 1 else array
    np.testing.assert_array_equal(decoded(Image.fromarray(squeezed)), rgb)


@pytest.fixture
def paths(tmp_path):
    files = []
    for i in range(3):
        path = tmp_path / f"cell{i}.png"
        Image.fromarray((RGB + i).astype(np.uint8)).save(path)
        files.append(path)
    return files


def contents(X):
    inputs = as_image_inputs(X)
    return [np.asarray(inputs.load(i).decode()) for i in range(len(inputs))]


def read(path):
    return np.asarray(Image.open(path))


FORMS = {
    "paths": lambda paths: paths,
    "strings": lambda paths: [str(p) for p in paths],
    "tuple": tuple,
    "array of str": lambda paths: np.array([str(p) for p in paths]),
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "column array": lambda paths: np.array([str(p) for p in paths]).reshape(-1, 1),
    "Series": lambda paths: pd.Series([str(p) for p in paths], index=[7, 8, 9]),
    "categorical Series": lambda paths: pd.Series([str(p) for p in paths], dtype="category"),
    "DataFrame": lambda paths: pd.DataFrame({"path": [str(p) for p in paths]}),
    "polars Series": lambda paths: pl.Series([str(p) for p in paths]),
    "polars DataFrame": lambda paths: pl.DataFrame({"path": [str(p) for p in paths]}),
    "PIL images": lambda paths: [Image.open(p) for p in paths],
    "array": lambda paths: np.stack([read(p) for p in paths]),
    "list of arrays": lambda paths: [read(p) for p in paths],
    "frame of arrays": lambda paths: pd.DataFrame({"image": [read(p) for p in paths]}),
    "mixed": lambda paths: [paths[0], Image.open(paths[1]), read(paths[2])],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(paths, form):
    for i, result in enumerate(contents(FORMS[form](paths))):
        np.testing.assert_array_equal(result, (RGB + i).astype(np.uint8))
    assert i == 2


def test_grayscale_array_and_differing_sizes():
    stack = np.stack([GRAY, GRAY])
    assert [c.shape for c in contents(stack)] == [(5, 7, 3)] * 2
    sizes = [np.zeros((3, 4, 3), np.uint8), np.zeros((6, 2), np.uint8)]
    assert [c.shape for c in contents(sizes)] == [(3, 4, 3), (6, 2, 3)]


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("cell.png", TypeError, "put it into a list"),
        (Image.fromarray(RGB), TypeError, "put it into a list"),
        (RGB, ValueError, "single image must be put into a list"),
        (GRAY, ValueError, "single image must be put into a list"),
        (np.zeros((2, 2), dtype=object), ValueError, r"\(n_images, 1\)"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), ValueError, r"\(2, 2, 2, 2, 2\)"),
        (pd.DataFrame({"path": ["a"], "label": [1]}), ValueError, "2 columns"),
        ([], ValueError, "0 sample"),
        (pd.DataFrame({"path": []}), ValueError, "0 sample"),
        (iter(["a.png"]), TypeError, "no sequence"),
        ({"a.png": 1}, TypeError, "no sequence"),
        (5, TypeError, "no sequence"),
    ],
)
def test_what_is_no_collection_of_images(X, error, message):
    with pytest.raises(error, match=message):
        as_image_inputs(X)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float64("nan"), "missing"),
        (pd.NA, "missing"),
        (pd.NaT, "missing"),
        (3, "int is neither"),
        (["a.png"], "list is neither"),
        ("/no/such/file.png", "no such file"),
        ("/", "a folder"),
        (np.zeros((2, 2), np.float64), "float64"),
    ],
)
def test_bad_items_say_why(item, message):
    inputs = as_image_inputs([item])
    with pytest.raises((OSError, ValueError)) as caught:
        inputs.load(0)
    assert message in explain(caught.value)


def test_digest_tells_contents_apart_and_nothing_else(paths, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    digests = [as_image_inputs([p]).load(0).digest for p in [*paths, copy]]
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]
    flat, wide = np.zeros((2, 6, 3), np.uint8), np.zeros((3, 4, 3), np.uint8)
    assert as_image_inputs([flat]).load(0).digest != as_image_inputs([wide]).load(0).digest
    assert (
        as_image_inputs([read(paths[0])]).load(0).digest
        == as_image_inputs([Image.open(paths[0])]).load(0).digest
    )


def test_list_of_bad_images_is_cut_at_twenty():
    inputs = as_image_inputs([f"cell{i}.png" for i in range(40)])
    text = list_bad_images(inputs, dict.fromkeys(range(5, 30), "no such file"))
    assert text.startswith("25 of 40 images")
    assert text.count("no such file") == 20
    assert "cell5.png (row 5)" in text
    assert "cell25.png" not in text
    assert text.endswith("and 5 more")
