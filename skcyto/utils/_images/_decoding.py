"""Turn image files, PIL images and arrays of every usual kind into 8-bit RGB.

What a network is shown must not depend on how a microscope's software happened to store the
picture, so each storage form has one rule:

- the orientation that EXIF states is applied;
- grayscale and palettes become RGB, CMYK by Pillow's own conversion;
- transparency is laid over white, the empty background of bright-field microscopy;
- 16-bit values are scaled by 255 / 65535 (never clipped at 255, never stretched image by image);
- of a file with several frames the first is taken.

Floating-point and signed pixels are refused, as nobody but their maker knows their range. What is
read, but may not be what its maker meant, is noted: see :mod:`skcyto.utils._images._notes`.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from skcyto.utils._images._notes import Note, ignore_note, note_dark, note_file

# Part of every embedding's fingerprint: raise it when a rule above changes.
READER_VERSION = 2

_EXIF_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES_WITH_ALPHA = {"LA", "PA", "RGBA", "RGBa"}
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF


def describe_reader() -> dict[str, object]:
    """Say what an image becomes depends on, beside its content.

    Returns
    -------
    description : dict
        Fit for JSON. Pillow shows files that are cut off where its
        ``ImageFile.LOAD_TRUNCATED_IMAGES`` is set: such pictures must not be taken for whole ones
        later.
    """
    described: dict[str, object] = {"version": READER_VERSION}
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        described["truncated"] = True
    return described


def count_pixels(data: bytes) -> int:
    """Read from a file's header how many pixels its picture has.

    Parameters
    ----------
    data : bytes
        Content of the file.

    Returns
    -------
    n_pixels : int
        0 where it cannot be told: :func:`decode_image` says why.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:  # Each of Pillow's readers fails in its own way.
        return 0


def decode_image(data: bytes, note: Note = ignore_note) -> Image.Image:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        Content of a file in any format that Pillow reads.
    note : callable
        Told what of the file is lost or doubtful.

    Returns
    -------
    image : PIL.Image.Image
        In mode "RGB", upright.

    Raises
    ------
    ValueError
        If the bytes are empty or no image, the image is too large, or the pixels have no defined
        range.
    OSError
        If the image is truncated or damaged.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgb = to_rgb(image, note)
            note_file(image, note)
            return rgb
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"too large for one image: cut it into tiles, or raise PIL.Image.MAX_IMAGE_PIXELS if "
            f"it may be squeezed into one ({error})"
        ) from None


def to_rgb(image: Image.Image, note: Note = ignore_note) -> Image.Image:
    """Convert a PIL image to upright 8-bit RGB; the image given is left as it was.

    Parameters
    ----------
    image : PIL.Image.Image
        In any mode. One whose file turns out damaged is closed: Pillow would hand out the half
        that it had decoded when asked again.
    note : callable
        Told what is doubtful.

    Returns
    -------
    image : PIL.Image.Image
        In mode "RGB".

    Raises
    ------
    ValueError
        If the mode holds floating-point, signed or 32-bit values, or the image is closed.
    """
    if min(image.size) == 0:
        raise ValueError(f"the image has no pixels: its size is {image.size}")
    _check_storage(image)
    deep = any(";16" in str(tile) for tile in getattr(image, "tile", []))
    _load(image)
    # Not before: for some formats, to ask for the orientation decodes, and hides what fails; and
    # TIFF files are turned by Pillow itself.
    orientation = _orientation(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        rgb = Image.fromarray(_read_16_bit(image, note)).convert("RGB")
        deep = False
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined range: store 8 or 16 bits")
    elif image.mode == "La":
        rgb = _over_white(image.convert("LA").convert("RGBA"))
    elif image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        rgb = _over_white(image.convert("RGBA"))
    else:
        rgb = image.convert("RGB")
    if deep:  # Of 16-bit colour, Pillow keeps the upper 8 bits.
        note_dark(256 * max(high for _, high in rgb.getextrema()), note)
    if orientation in _TRANSPOSITIONS:
        rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
    return rgb


def array_to_rgb(array: np.ndarray, note: Note = ignore_note) -> np.ndarray:
    """Convert one image given as an array to 8-bit RGB.

    Parameters
    ----------
    array : ndarray of shape (height, width), (height, width, 1), (height, width, 3) or \
            (height, width, 4)
        Of dtype uint8 or uint16; a fourth channel is opacity.
    note : callable
        Told what is doubtful.

    Returns
    -------
    rgb : ndarray of shape (height, width, 3)
        Of dtype uint8, C-contiguous.

    Raises
    ------
    ValueError
        If shape or dtype is none of the above.
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"an array of dtype {array.dtype} has no defined range: give uint8 (0 to 255) or "
            "uint16 (0 to 65535)"
        )
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"an array of shape {array.shape} is no image: its shape must be (height, width), "
            "(height, width, 1), (height, width, 3) or (height, width, 4)"
        )
    if array.size == 0:
        raise ValueError(f"the image has no pixels: its shape is {array.shape}")
    if array.dtype == np.uint16:
        note_dark(int(array[:, :, :3].max()), note)
        array = _scale_16_bit(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    elif array.shape[2] == 4:
        array = np.asarray(_over_white(Image.fromarray(np.ascontiguousarray(array))))
    return np.ascontiguousarray(array)


def _check_storage(image: Image.Image) -> None:
    """Refuse what Pillow reads wrongly, and what has no range."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    n_bits = max(tags.get(_BITS, (1,)))
    if max(tags.get(_SAMPLE_FORMAT, (1,))) == 2 and n_bits <= 16:
        raise ValueError("signed pixels have no defined range: store 8 or 16 bits without sign")
    uncompressed = image.info.get("compression") == "raw"
    if tags.get(_PLANAR) == 2 and uncompressed and n_bits == 16:
        raise ValueError(
            "16-bit colour in one plane a colour, which Pillow misreads: store the colours of a "
            "pixel together (planarconfig='contig' in tifffile), or give the pixels as an array"
        )


def _load(image: Image.Image) -> None:
    if getattr(image, "tile", None) and getattr(image, "fp", image) is None:
        raise ValueError(
            "the PIL image was closed before its pixels were read: call its load() within the "
            "'with' block, or give the path"
        )
    try:
        image.load()
    except MemoryError:
        raise
    except Exception:
        image.close()
        raise


def _read_16_bit(image: Image.Image, note: Note) -> np.ndarray:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if tags.get(_BITS) == (12,):
        return _scale_16_bit(values, 4095)
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0:
        values = 65535 - values  # White is zero, which Pillow heeds in 8 bits alone.
    scaled = _scale_16_bit(values)
    note_dark(int(values.max()), note)
    return scaled


def _scale_16_bit(values: np.ndarray, maximum: int = 65535) -> np.ndarray:
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65535):
        raise ValueError(
            f"32-bit pixels from {values.min()} to {values.max()} have no defined range: "
            "store 8 or 16 bits"
        )
    return ((values.astype(np.uint32) * 255 + maximum // 2) // maximum).astype(np.uint8)


def _over_white(rgba: Image.Image) -> Image.Image:
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1  # Damaged metadata beside good pixels: viewers show such an image as stored.
