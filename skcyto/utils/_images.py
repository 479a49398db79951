"""Turn image files, PIL images and arrays of every usual kind into 8-bit RGB.

What a network is shown must not depend on how a microscope's software happened to store the
picture, so each storage form has one rule:

- the orientation that EXIF states is applied;
- grayscale and palettes become RGB, CMYK by Pillow's own conversion;
- transparency is laid over white, the empty background of bright-field microscopy;
- 16-bit values are scaled by 255 / 65535 (never clipped at 255, never stretched image by image);
- of a file with several frames the first is taken.

Floating-point pixels are refused, as nobody but their maker knows their range.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

# Part of every embedding's fingerprint: raise it when a rule above changes.
READER_VERSION = 1

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
_MODES_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


def decode_image(data: bytes) -> Image.Image:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        Content of a file in any format that Pillow reads.

    Returns
    -------
    image : PIL.Image.Image
        In mode "RGB", upright.

    Raises
    ------
    ValueError
        If the bytes are empty or no image, or the pixels have no defined range.
    OSError
        If the image is truncated or damaged.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    with image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a PIL image to upright 8-bit RGB; the image given is left as it was.

    Parameters
    ----------
    image : PIL.Image.Image
        In any mode.

    Returns
    -------
    image : PIL.Image.Image
        In mode "RGB".

    Raises
    ------
    ValueError
        If the mode holds floating-point or 32-bit values.
    """
    if min(image.size) == 0:
        raise ValueError(f"the image has no pixels: its size is {image.size}")
    orientation = _orientation(image)
    image.load()
    if image.mode == "I" or image.mode.startswith("I;16"):
        rgb = Image.fromarray(_scale_16_bit(np.asarray(image))).convert("RGB")
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined range: store 8 or 16 bits")
    elif image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        rgb = _over_white(image.convert("RGBA"))
    else:
        rgb = image.convert("RGB")
    if orientation in _TRANSPOSITIONS:
        rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
    return rgb


def array_to_rgb(array: np.ndarray) -> np.ndarray:
    """Convert one image given as an array to 8-bit RGB.

    Parameters
    ----------
    array : ndarray of shape (height, width), (height, width, 1), (height, width, 3) or \
            (height, width, 4)
        Of dtype uint8 or uint16; a fourth channel is opacity.

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
        array = _scale_16_bit(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    elif array.shape[2] == 4:
        array = np.asarray(_over_white(Image.fromarray(np.ascontiguousarray(array))))
    return np.ascontiguousarray(array)


def _scale_16_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65535):
        raise ValueError(
            f"32-bit pixels from {values.min()} to {values.max()} have no defined range: "
            "store 8 or 16 bits"
        )
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


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
