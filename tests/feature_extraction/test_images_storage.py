"""How microscopes store pictures: depth, planes, pages, and what of a file is not seen."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from skcyto.exceptions import InvalidImageError, InvalidInputWarning
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.utils._backbones._source import describe_backbone
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._images._decoding import array_to_rgb, decode_image, to_rgb
from skcyto.utils._images._inputs import as_image_inputs
from skcyto.utils._images._notes import ImageNotes
from skcyto.utils._prefetch import WeightGate

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def make_tiff(
    strips, shape, *, bits, photometric, planar=1, order="<", compress=False, extra=(), signed=False
):
    """Write a TIFF file by hand, with tags that Pillow's own writer never sets."""
    n_samples = len(bits)
    if compress:
        strips = [zlib.compress(strip) for strip in strips]
    height, width = shape
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, list(bits)),
        (259, 3, [8 if compress else 1]),
        (262, 3, [photometric]),
        (273, 4, [0] * len(strips)),
        (277, 3, [n_samples]),
        (278, 4, [height]),
        (279, 4, [len(strip) for strip in strips]),
        (284, 3, [planar]),
    ]
    if extra:
        entries.append((338, 3, list(extra)))
    entries.append((339, 3, [2 if signed else 1] * n_samples))
    beyond = 8 + 2 + 12 * len(entries) + 4
    large = [e for e in entries if len(e[2]) * (2 if e[1] == 3 else 4) > 4]
    start = beyond + sum(len(v) * (2 if t == 3 else 4) for _, t, v in large)
    offsets = np.cumsum([start, *(len(strip) for strip in strips[:-1])]).tolist()
    entries = [(tag, kind, offsets if tag == 273 else v) for tag, kind, v in entries]
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    ifd, tail = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        packed = struct.pack(order + "HI"[kind == 4] * len(values), *values)
        ifd += struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) > 4:
            ifd += struct.pack(order + "I", beyond + len(tail))
            tail += packed
        else:
            ifd += packed.ljust(4, b"\0")
    return head + ifd + b"\0" * 4 + tail + b"".join(strips)


def note_texts(data):
    notes = []
    decode_image(data, notes.append)
    return notes


def tiff_of_pages(*pages, **options):
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero(bits, compress):
    top = 2**bits - 1
    values = (top - GRAY.astype(int) * (top // 255)).astype(f"<u{bits // 8}")
    data = make_tiff([values.tobytes()], GRAY.shape, bits=[bits], photometric=0, compress=compress)
    np.testing.assert_array_equal(np.asarray(decode_image(data))[..., 0], GRAY)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [1, 2])
def test_colour_in_planes_is_right_or_refused(bits, planar, compress, order):
    values = (RGB.astype(int) * (257 if bits == 16 else 1)).astype(f"{order}u{bits // 8}")
    strips = [values.tobytes()]
    if planar == 2:
        strips = [values[..., i].tobytes() for i in range(3)]
    data = make_tiff(
        strips,
        GRAY.shape,
        bits=[bits] * 3,
        photometric=2,
        planar=planar,
        compress=compress,
        order=order,
    )
    if planar == 2 and bits == 16 and not compress:
        with pytest.raises(ValueError, match="one plane a colour"):
            decode_image(data)
    else:
        np.testing.assert_array_equal(np.asarray(decode_image(data)), RGB)


def test_12_bits_packed_are_scaled_by_their_own_range():
    values = np.array([[0, 4095, 2048, 16]])
    packed = "".join(f"{value:012b}" for value in values[0])
    strip = int(packed, 2).to_bytes(6, "big")
    data = make_tiff([strip], (1, 4), bits=[12], photometric=1)
    result = np.asarray(decode_image(data))[0, :, 0]
    np.testing.assert_array_equal(result, np.round(values[0] * 255 / 4095))
    assert note_texts(data) == []


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_refused(bits):
    values = GRAY.astype(f"<i{bits // 8}")
    data = make_tiff([values.tobytes()], GRAY.shape, bits=[bits], photometric=1, signed=True)
    with pytest.raises(ValueError, match="signed pixels"):
        decode_image(data)


def test_12_bits_in_16_are_noted():
    gray = GRAY.astype("<u2") * 16
    assert (
        "multiply the values by 16"
        in note_texts(make_tiff([gray.tobytes()], GRAY.shape, bits=[16], photometric=1))[0]
    )
    rgb = RGB.astype("<u2") * 16
    assert (
        "almost black"
        in note_texts(make_tiff([rgb.tobytes()], GRAY.shape, bits=[16] * 3, photometric=2))[0]
    )
    for array in (gray, rgb):
        notes = []
        array_to_rgb(array, notes.append)
        assert "almost black" in notes[0]
        array_to_rgb(array * 16, notes.append)
        assert len(notes) == 1


def test_extra_channels_are_noted():
    five = np.dstack([RGB, GRAY, GRAY])
    data = make_tiff([five.tobytes()], GRAY.shape, bits=[8] * 5, photometric=2, extra=(0, 0))
    np.testing.assert_array_equal(np.asarray(decode_image(data)), RGB)
    assert "further channels" in note_texts(data)[0]


def test_pages_are_noted_where_something_is_lost():
    whole, thumbnail = Image.new("L", (40, 30), 200), Image.new("L", (8, 6), 200)
    assert "several pages of one size" in note_texts(tiff_of_pages(whole, whole))[0]
    assert "thumbnail" in note_texts(tiff_of_pages(thumbnail, whole))[0]
    assert note_texts(tiff_of_pages(whole, thumbnail)) == []  # a pyramid: nothing is lost
    assert note_texts(tiff_of_pages(whole)) == []
    stack = tiff_of_pages(whole, tiffinfo={270: "ImageJ=1.53t\nimages=3\nchannels=3\n"})
    assert "several pages of one size" in note_texts(stack)[0]


def test_animations_and_slides_are_noted(monkeypatch):
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert "several frames" in note_texts(file.getvalue())[0]
    monkeypatch.setattr("skcyto.utils._images._notes._SLIDE_PIXELS", 1000)
    assert "whole slide" in note_texts(tiff_of_pages(Image.new("L", (40, 30))))[0]


def test_notes_name_the_images_once():
    notes = ImageNotes()
    for i in range(7):
        notes.of(f"slide{i}.tif")("it has several frames")
    with pytest.warns(InvalidInputWarning, match=r"7 images .*slide4\.tif and 2 more"):
        notes.warn()


def make_embedder(**params):
    return EVA02TokenEmbedder(
        "eva02_tiny_patch14_224", weights=None, image_size=14, random_state=0, **params
    )


@pytest.mark.filterwarnings("ignore:weights=None")
def test_embedder_warns_of_lost_pages(tmp_path):
    path = tmp_path / "channels.tif"
    path.write_bytes(tiff_of_pages(Image.new("L", (16, 16), 9), Image.new("L", (16, 16))))
    with pytest.warns(InvalidInputWarning, match=r"1 image is read, but.*channels\.tif"):
        make_embedder().fit_transform([path])


def test_bombs_say_what_to_do(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = io.BytesIO()
    Image.new("L", (30, 30)).save(file, "PNG")
    with pytest.raises(ValueError, match="cut it into tiles"):
        decode_image(file.getvalue())


def test_strips_are_refused_where_their_ends_would_be_cut_off():
    strip = Image.new("RGB", (1, 4000))
    cropped = make_transform(describe_backbone("vit_tiny_patch16_224"))
    with pytest.raises(ValueError, match="1 x 4000 pixels"):
        cropped(strip)
    assert cropped(Image.new("RGB", (3, 100))).shape == (3, 224, 224)
    squashed = make_transform(describe_backbone("eva02_base_patch14_448"))
    assert squashed.transforms[0].__class__.__name__ == "Resize"
    assert squashed(strip).shape == (3, 448, 448)


def test_closed_pil_images_say_so(tmp_path):
    path = tmp_path / "cell.png"
    Image.fromarray(RGB).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ValueError, match="closed before its pixels were read"):
        to_rgb(image)
    with Image.open(path) as image:
        image.load()
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), RGB)


@pytest.mark.filterwarnings("ignore:weights=None")
def test_truncated_images_do_not_stay_in_the_cache(tmp_path, monkeypatch):
    path = tmp_path / "cut.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:6000])
    embedder = make_embedder(cache=tmp_path / "cache").fit([path])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(InvalidInputWarning, match="LOAD_TRUNCATED_IMAGES is set"):
        embedder.transform([path])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with pytest.raises(InvalidImageError, match="truncated"):
        embedder.transform([path])


class Tiles:
    """Tiles made on demand, that never end by themselves."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.asked.append(index)
        assert index < 1000
        return np.full((16, 16, 3), index % 256, np.uint8)


@pytest.mark.filterwarnings("ignore:weights=None")
def test_lazy_sequences_are_read_once():
    tiles = Tiles()
    features = make_embedder(n_jobs=1).fit_transform(tiles)
    assert sorted(tiles.asked) == [0, 1, 2, 3, 4]
    whole = make_embedder().fit_transform([tiles[i] for i in range(5)])
    np.testing.assert_allclose(features, whole, rtol=1e-5, atol=1e-5)
    assert as_image_inputs(tiles).name(3) == "row 3"


def test_gate_lets_one_in_whatever_it_weighs_and_others_when_there_is_room():
    gate = WeightGate(10)
    with gate.hold(100):
        assert gate.held == 100
    with warnings.catch_warnings(), gate.hold(4), gate.hold(6):
        assert gate.held == 10
    assert gate.held == 0
