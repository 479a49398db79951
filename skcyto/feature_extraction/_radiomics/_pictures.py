"""What the pixels of a picture stand for: labels in a mask, intensities in an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem

_ONE_NUMBER = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


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
    _check_opaque(picture)
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


def _check_opaque(picture: Any) -> None:
    """Refuse masks that show their structures by what is transparent, as drawing programs do."""
    if "A" not in picture.getbands() and "a" not in picture.getbands():
        return
    low, high = picture.getchannel(len(picture.getbands()) - 1).getextrema()
    if low != high:
        raise ScanProblem(
            "the mask is transparent in places: lay it over black, and save label values as a gray "
            "or palette image"
        )


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
