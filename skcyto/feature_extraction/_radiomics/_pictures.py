"""What the pixels of a picture stand for: labels in a mask, intensities in an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem

_ONE_NUMBER = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PHOTOMETRIC = 262  # tag of TIFF
_WEBP_LOSSY = b"VP8 "  # its chunk of pixels, in other files VP8L
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def check_stored(picture: Any, role: str) -> None:
    """Refuse what the way of storing it leaves in doubt.

    Parameters
    ----------
    picture : PIL.Image.Image
        Opened, and not yet read.
    role : {"image", "mask"}

    Raises
    ------
    ScanProblem
    """
    white_is_zero = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    if white_is_zero and picture.mode != "1" and (role == "mask" or picture.mode != "L"):
        raise ScanProblem(
            f"the {role} is a TIFF file in which white is stored as 0, so that its numbers may be "
            "meant as they are or inverted: save it again with black as 0"
        )
    if role == "mask" and _is_lossy(picture):
        raise ScanProblem(
            f"the mask is a {picture.format} file with lossy compression, which does not keep "
            "label values: save masks as PNG"
        )


def _is_lossy(picture: Any) -> bool:
    if picture.format == "WEBP":
        file = picture.fp
        file.seek(0)
        return _WEBP_LOSSY in file.read()
    return picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")


def intensities(picture: Any) -> NDArray[Any]:
    """Give a picture's gray values, or its red, green and blue ones.

    Parameters
    ----------
    picture : PIL.Image.Image

    Returns
    -------
    pixels : ndarray of shape (height, width) or (height, width, 3)
    """
    if picture.mode in _ONE_NUMBER:
        return np.asarray(picture)
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.convert("L"))
    if picture.mode == "P":
        index, colours = np.asarray(picture), _palette(picture)
        if (grays := _as_gray(index, colours)) is not None:
            return grays
    return np.asarray(picture.convert("RGB"))


def labels(picture: Any) -> NDArray[Any]:
    """Give a picture's label values.

    Parameters
    ----------
    picture : PIL.Image.Image

    Returns
    -------
    values : ndarray of shape (height, width)

    Raises
    ------
    ScanProblem
        If it does not say which pixels have which label.
    """
    values = _label_values(picture)
    # Drawing programs may show structures by what is transparent, in one colour with the rest.
    if "transparency" in picture.info or {"A", "a"} & set(picture.getbands()):
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        if ((alpha < 255) & (values != 0)).any():
            raise ScanProblem(
                "the mask is transparent where it is not 0: lay it over black, and save label "
                "values as a gray or palette image"
            )
    return values


def _label_values(picture: Any) -> NDArray[Any]:
    if picture.mode in _ONE_NUMBER:
        return np.asarray(picture)
    if picture.mode in ("P", "PA"):
        index = np.asarray(picture.getchannel(0) if picture.mode == "PA" else picture)
        return _labels_of_palette(index, _palette(picture))
    if picture.mode not in ("LA", "La", "RGB", "RGBA", "RGBX", "RGBa"):
        raise ScanProblem(
            f"the mask is a picture in {picture.mode} colours: save label values as a gray or "
            "palette image"
        )
    channels = np.asarray(picture.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise ScanProblem(
            "the mask is a colour image: save label values as a gray or palette image"
        )
    return channels[..., 0]


def _palette(picture: Any) -> NDArray[np.int64]:
    """Give the colours of a palette, one row for each index."""
    colours = np.zeros((256, 3), dtype=np.int64)
    known = np.array(picture.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    colours[: len(known)] = known
    return colours


def _as_gray(index: NDArray[Any], colours: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Give gray values, where a palette's colours are grays, each once."""
    used = np.unique(index)
    grays = colours[used, 0]
    if (colours[used] != grays[:, None]).any() or len(np.unique(grays)) < len(grays):
        return None
    return colours[:, 0].astype(np.uint8)[index]


def _labels_of_palette(index: NDArray[Any], colours: NDArray[np.int64]) -> NDArray[Any]:
    """Take a gray palette for the gray values, and the index of a colour palette for the label.

    Programs that reduce a picture to a palette number its colours as they like: the background of
    a black and white mask may have either index. Whoever draws labels in colours gives the
    background index 0, and nothing else the colour that shows it.
    """
    grays = _as_gray(index, colours)
    if grays is not None:
        return grays
    shown = {int(i): tuple(map(int, colours[i])) for i in np.unique(index)}
    background = shown.get(0)
    for colour, name in ((_BLACK, "black"), (_WHITE, "white")):
        if background is None or background in (_BLACK, colour):
            break
        elsewhere = [i for i, its in shown.items() if its == colour]
        if elsewhere:
            raise ScanProblem(
                f"the mask has a palette in which {name} is index {elsewhere[0]}, and index 0, the "
                f"background, has the colour {background}: save label values as a gray image, with "
                "0 for the background"
            )
    return index
