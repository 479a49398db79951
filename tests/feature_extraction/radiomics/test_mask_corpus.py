"""Every kind of mask file that Pillow and SimpleITK write: read as written, or refused.

The label values are those of the array that was written; for a picture of several colours they are
the gray values or, for a palette of colours, the indices. What counts is that none is read as
something else without a word.
"""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features

from skcyto.feature_extraction._radiomics._cases import ScanProblem, Source
from skcyto.feature_extraction._radiomics._checks import geometry_difference
from skcyto.feature_extraction._radiomics._reading import read_mask

_ENDINGS = ("png", "tif", "bmp", "gif", "webp", "jpg")
_COLOURS = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def drawing(shape=(23, 31), values=(1, 2, 3)):
    """Boxes of some labels, none of which is where another lies mirrored or turned."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[..., 2:9, 3:12], mask[..., 4:15, 15:28], mask[..., 17:21, 2:20] = values
    return mask


def read(path, label_channel=None):
    """Read a mask; None where it is refused."""
    import SimpleITK as sitk

    try:
        mask = read_mask(Source(path=str(path)), label_channel)
    except ScanProblem:
        return None
    return SimpleNamespace(image=mask, values=sitk.GetArrayFromImage(mask))


def compare(files):
    """Count files read as written and refused; list those that are read as something else."""
    counts = {"read": 0, "refused": 0}
    differ = []
    for name, path, expected in files:
        found = read(path)
        if found is None:
            counts["refused"] += 1
        elif np.array_equal(found.values.squeeze(), expected.squeeze()):
            counts["read"] += 1
        else:
            differ.append(name)
    return counts, differ


def pictures(folder):
    """Pillow's pictures of one drawing: (name, path, what the labels are)."""
    mask = drawing()
    gray = drawing(values=(255, 128, 7))
    black_white = ((mask > 0) * 255).astype(np.uint8)
    alpha_of = Image.fromarray(black_white)
    palette = Image.fromarray(mask).convert("P")
    palette.putpalette(list(itertools.chain(*_COLOURS)))
    shuffled = Image.fromarray(np.array([2, 0, 1, 3], dtype=np.uint8)[mask]).convert("P")
    shuffled.putpalette(list(itertools.chain(*[_COLOURS[i] for i in (1, 2, 0, 3)])))
    inverted = Image.fromarray(black_white // 255 ^ 1).convert("P")
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    unset = Image.fromarray(mask).convert("P")
    unset.putpalette([0] * 768)
    made = {
        "1": (Image.fromarray(black_white > 0), black_white // 255),
        "L": (Image.fromarray(mask), mask),
        "L of 255": (Image.fromarray(gray), gray),
        "I;16": (Image.fromarray(mask.astype(np.uint16) * 300), mask.astype(int) * 300),
        "I": (Image.fromarray(mask.astype(np.int32) * 70000), mask.astype(int) * 70000),
        "F": (Image.fromarray(mask.astype(np.float32)), mask),
        "P of grays": (Image.fromarray(gray).convert("P"), gray),
        "P quantized": (Image.fromarray(gray).quantize(4), gray),
        "P quantized RGB": (Image.fromarray(black_white).convert("RGB").quantize(2), black_white),
        "P of colours": (palette, mask),
        "P inverted": (inverted, black_white),
        "P of colours, background not first": (shuffled, mask),
        "P without colours": (unset, mask),
        "P adaptive of colours": (palette.convert("RGB").quantize(4), mask),
        "PA": (palette.convert("PA"), mask),
        "LA opaque": (Image.fromarray(gray).convert("LA"), gray),
        "LA": (Image.merge("LA", [Image.new("L", mask.shape[::-1], 255), alpha_of]), black_white),
        "RGB gray": (Image.fromarray(gray).convert("RGB"), gray),
        "RGB": (palette.convert("RGB"), mask),
        "RGBA gray": (Image.fromarray(gray).convert("RGBA"), gray),
        "RGBA": (
            Image.merge("RGBA", [Image.new("L", mask.shape[::-1], 255)] * 3 + [alpha_of]),
            black_white // 255,  # as a GIF file, with what is transparent as index 0
        ),
        "CMYK": (Image.fromarray(gray).convert("CMYK"), gray),
        "YCbCr": (Image.fromarray(gray).convert("RGB").convert("YCbCr"), gray),
        "LAB": (Image.fromarray(np.dstack([gray] * 3)).convert("RGB"), gray),
        "HSV": (Image.fromarray(gray).convert("RGB").convert("HSV"), gray),
    }
    options = {
        "png": [{}, {"optimize": True}, {"bits": 4}, {"dpi": (300, 72)}],
        "tif": [
            {},
            {"compression": "tiff_lzw"},
            {"compression": "packbits"},
            {"compression": "tiff_adobe_deflate"},
            {"compression": "jpeg"},
            {"big_tiff": True},
            {"dpi": (72, 300)},
        ],
        "webp": [{"lossless": True, "exact": True}, {"quality": 50}],
        "gif": [{}, {"transparency": 0}, {"transparency": 1}],
    }
    for (mode, (picture, labels)), ending in itertools.product(made.items(), _ENDINGS):
        if ending == "webp" and not features.check("webp"):
            continue
        for number, option in enumerate(options.get(ending, [{}])):
            path = folder / f"{mode.replace(' ', '_').replace(';', '')}_{number}.{ending}"
            try:
                picture.save(path, **option)
            except (OSError, ValueError, KeyError, TypeError, SystemError):
                continue  # Pillow writes no such file
            yield f"{path.name} ({mode}, {option})", path, _as_shown(path, labels)


def _as_shown(path, labels):
    """Give the grays that Pillow shows, if the file holds grays: writing may have changed them."""
    with path.open("rb") as file, Image.open(file) as opened:
        if opened.mode in ("1", "I", "F") or opened.mode.startswith("I;16"):
            return labels
        shown = np.asarray(opened.convert("RGB"))
        if opened.mode == "P" and len(np.unique(shown)) < len(opened.getcolors()):
            return labels  # colours, or too few of them to tell the indices apart
        return shown[..., 0] if (shown == shown[..., :1]).all() else labels


def test_pictures(tmp_path):
    counts, differ = compare(pictures(tmp_path))
    print(counts)
    assert not differ, differ
    assert counts["read"] > 60
    assert counts["refused"] > 30


def test_orientations_are_those_of_pillow(tmp_path):
    """Eight orientations in each format that states one: as Pillow shows them, once."""
    from PIL import ImageOps

    files = []
    for ending, orientation in itertools.product(("png", "tif", "webp"), range(9)):
        path = tmp_path / f"{orientation}.{ending}"
        exif = Image.Exif()
        exif[0x0112] = orientation
        option = {"lossless": True} if ending == "webp" else {}
        picture = Image.fromarray(drawing())
        picture.save(path, exif=exif, **option)
        turned = picture.copy()
        turned.getexif()[0x0112] = orientation
        files.append((path.name, path, np.asarray(ImageOps.exif_transpose(turned))))
    counts, differ = compare(files)
    assert not differ, differ
    assert counts == {"read": 27, "refused": 0}


def volumes(folder):
    """SimpleITK's files of every pixel type, in every format it writes."""
    import SimpleITK as sitk

    endings = ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd", "hdr", "vtk", "gipl", "mrc", "tif")
    types = [getattr(sitk, name) for name in dir(sitk) if name.startswith(("sitkUInt", "sitkInt"))]
    types += [sitk.sitkFloat32, sitk.sitkFloat64]
    mask = drawing((5, 23, 31), values=(1, 2, 100))
    mask[0], mask[4] = 0, 0
    for ending, pixel_type, ndim in itertools.product(endings, types, (2, 3)):
        array = mask if ndim == 3 else mask[2]
        image = sitk.Cast(sitk.GetImageFromArray(array), pixel_type)
        path = folder / f"{image.GetPixelIDTypeAsString().replace(' ', '_')}_{ndim}.{ending}"
        for compress in (False, True):
            try:
                sitk.WriteImage(image, str(path), compress)
            except RuntimeError:
                continue  # the format has no such pixels
            yield f"{path.name}, compressed={compress}", path, array


def test_volumes(tmp_path):
    counts, differ = compare(volumes(tmp_path))
    print(counts)
    assert not differ, differ
    assert counts["read"] > 200


@pytest.mark.parametrize("ending", ["png", "tif", "nrrd", "mha", "nii.gz"])
@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_channels(tmp_path, ending, n_channels):
    """Of several channels one must be chosen, and it is that one, in every format."""
    import SimpleITK as sitk

    mask = drawing()
    layers = [
        np.ascontiguousarray((mask == 1 + number % 3) * np.uint8(number + 1))
        for number in range(n_channels)
    ]
    image = sitk.GetImageFromArray(np.dstack(layers), isVector=True)
    path = tmp_path / f"mask.{ending}"
    try:
        sitk.WriteImage(image, str(path))
    except RuntimeError:
        pytest.skip("the format has no such pixels")
    assert read(path) is None
    if ending in ("nrrd", "mha", "nii.gz"):
        for channel, layer in enumerate(layers):
            np.testing.assert_array_equal(read(path, channel).values.squeeze(), layer)


@pytest.mark.parametrize(
    ("name", "tags", "reason"),
    [
        ("white.tif", {262: 0}, "white is stored as 0"),
        ("lossy.webp", {}, "WEBP file with lossy compression"),
        ("lossy.tif", {}, "TIFF file with lossy compression"),
    ],
)
def test_what_is_left_in_doubt(tmp_path, name, tags, reason):
    """Numbers that may be meant inverted, and those that compression has changed."""
    option = {"quality": 80} if name == "lossy.webp" else {}
    option |= {"compression": "jpeg"} if name == "lossy.tif" else {}
    Image.fromarray(drawing()).save(tmp_path / name, tiffinfo=tags, **option)
    with pytest.raises(ScanProblem, match=reason):
        read_mask(Source(path=str(tmp_path / name)), None)


def test_sixteen_bits_a_channel_are_not_halved(tmp_path):
    import SimpleITK as sitk

    deep = drawing().astype(np.uint16) * 300
    path = tmp_path / "deep.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.dstack([deep] * 3), isVector=True), str(path))
    with pytest.raises(ScanProblem, match="16 bits a channel"):
        read_mask(Source(path=str(path)), None)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_space(tmp_path, ending):
    """Spacing, origin and each of the 48 ways to lay axes are kept, and differences are seen."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(drawing((5, 23, 31)))
    path = tmp_path / f"mask.{ending}"
    n_seen = 0
    for order, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        image.SetDirection((np.eye(3)[list(order)] * signs).ravel().tolist())
        image.SetSpacing((0.5, 0.75, 3.0))
        image.SetOrigin((-10.5, 20.25, 7.0))
        sitk.WriteImage(image, str(path))
        found = read(path)
        assert geometry_difference(image, found.image, 1e-5) is None
        np.testing.assert_array_equal(found.values, sitk.GetArrayViewFromImage(image))
        for moved in (_moved(image, spacing=0.01), _moved(image, origin=0.01)):
            assert geometry_difference(moved, found.image, None) is not None
        n_seen += 1
    assert n_seen == 48


def _moved(image, spacing=0.0, origin=0.0):
    import SimpleITK as sitk

    other = sitk.Image(image)
    other.SetSpacing([value + spacing for value in image.GetSpacing()])
    other.SetOrigin([value + origin for value in image.GetOrigin()])
    return other


def test_damaged_pictures_are_refused(tmp_path):
    """Cut and overwritten files: refused, or read as they were."""
    rng = np.random.default_rng(0)
    mask = drawing()
    n_tried = n_refused = 0
    for ending in ("png", "tif", "bmp", "gif"):
        path = tmp_path / f"mask.{ending}"
        Image.fromarray(mask).save(path)
        whole = path.read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            place = int(rng.integers(len(whole)))
            if rng.random() < 0.5:
                content = content[:place]
            elif ending == "png":
                content[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(content))
            found = read(path)
            n_tried += 1
            n_refused += found is None
            assert found is None or np.array_equal(found.values, mask), (ending, place)
    assert n_tried == 160
    assert n_refused > 60
