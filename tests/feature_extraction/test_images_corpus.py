"""Files of every format that Pillow writes, damaged and turned: nothing wrong goes through."""

import io
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import ExifTags, Image

from skcyto.utils._images._decoding import decode_image

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16")
# Where the stored turn is undone: the inverse of what a viewer is told to do.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def make_picture():
    """A smooth picture without any symmetry, with some noise to give the codecs work."""
    y, x = np.mgrid[:40, :56]
    rng = np.random.default_rng(0)
    smooth = np.stack([4 * x, 6 * y, 2 * x + 2 * y], axis=2) + rng.integers(0, 9, (40, 56, 3))
    return smooth.clip(0, 255).astype(np.uint8)


def encode(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pillow_raises(data):
    """Whether Pillow itself, asked in the plainest way, refuses the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:
        return True
    return False


def skcyto_raises(data):
    try:
        decode_image(data)
    except Exception:
        return True
    return False


def make_corpus():
    """One file of each format and mode that Pillow can write and read here, in all compressions."""
    Image.init()
    picture = Image.fromarray(make_picture())
    corpus = {}
    for form in sorted(Image.SAVE):
        for mode in MODES:
            image = picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)
            variants = [{}]
            if form == "TIFF":
                codes = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
                variants = [{"compression": code} for code in codes]
            elif form in ("WEBP", "JPEG2000"):
                variants = [{}, {"lossless": True} if form == "WEBP" else {"irreversible": True}]
            for options in variants:
                try:
                    data = encode(image, form, **options)
                    with Image.open(io.BytesIO(data)) as again:
                        again.load()
                        found = again.format
                except Exception:  # Not for this mode, not in this build, or write-only.
                    continue
                corpus[f"{form} {found} {mode} {options}"] = data
    return corpus


def damage(data, rng, n_each):
    """Yield damaged copies: bits flipped, bytes zeroed, the end cut off."""
    for _ in range(n_each):
        position = int(rng.integers(len(data)))
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(rng.integers(8))
        yield "bit flipped", bytes(flipped)
        start = int(rng.integers(len(data)))
        zeroed = bytearray(data)
        zeroed[start : start + 64] = bytes(len(zeroed[start : start + 64]))
        yield "bytes zeroed", bytes(zeroed)
        yield "cut", data[: int(rng.integers(1, len(data)))]


def compare_damaged(n_each):
    rng = np.random.default_rng(0)
    files, raised, silent = Counter(), Counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, on damaged metadata
        for name, data in make_corpus().items():
            for kind, damaged in damage(data, rng, n_each):
                files[kind] += 1
                if pillow_raises(damaged):
                    raised[kind] += 1
                    if not skcyto_raises(damaged):
                        silent.append((name, kind))
    return files, raised, silent


def test_what_pillow_refuses_is_refused():
    files, raised, silent = compare_damaged(4)
    assert not silent
    # Enough of it, and of each kind, that the comparison says something.
    assert files.total() > 500
    assert all(raised[kind] > 50 for kind in ("bit flipped", "bytes zeroed", "cut"))


@pytest.mark.slow
def test_what_pillow_refuses_is_refused_in_many_files(capsys):
    files, raised, silent = compare_damaged(100)
    with capsys.disabled():
        print(
            f"\n{files.total()} damaged files, {raised.total()} refused by Pillow itself: ", end=""
        )
        print(f"{len(silent)} of these silent in skcyto")
    assert not silent
    assert files.total() > 10_000


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "JPEG2000", "MPO", "BMP"])
def test_all_orientations(form):
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    upright = make_picture()
    corners = np.zeros((64, 96, 3), np.uint8)
    corners[:16, :16] = 255
    n_files = 0
    for expected in (upright, corners):
        for orientation, store in STORED.items():
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = orientation
            stored = Image.fromarray(np.ascontiguousarray(store(expected)))
            carries = form not in ("JPEG2000", "BMP")
            data = encode(stored, form, **({"exif": exif} if carries else {}))
            result = np.asarray(decode_image(data)).astype(int)
            wanted = expected if carries else np.asarray(stored)
            assert result.shape == wanted.shape, orientation
            assert np.abs(result - wanted).mean() < 6, orientation
            n_files += 1
    assert n_files == 16


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_orientations_of_tiff_in_every_mode(compression):
    upright = make_picture()
    for orientation, store in STORED.items():
        stored = Image.fromarray(np.ascontiguousarray(store(upright)))
        for mode in ("L", "RGB", "RGBA", "I;16"):
            image = stored.convert("L").convert(mode) if mode == "I;16" else stored.convert(mode)
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = orientation
            data = encode(image, "TIFF", exif=exif, compression=compression)
            plain = Image.fromarray(upright)
            plain = plain.convert("L").convert(mode) if mode == "I;16" else plain.convert(mode)
            expected = decode_image(encode(plain, "PNG"))
            np.testing.assert_array_equal(
                np.asarray(decode_image(data)), np.asarray(expected), f"{mode} {orientation}"
            )


def test_a_damaged_pil_image_stays_damaged():
    """Pillow hands out the half-decoded picture when its load is called again."""
    data = bytearray(encode(Image.fromarray(make_picture()), "PNG"))
    data[len(data) // 2] ^= 1
    image = Image.open(io.BytesIO(bytes(data)))
    from skcyto.utils._images._decoding import to_rgb

    for _ in range(3):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            to_rgb(image)
