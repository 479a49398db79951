"""Note what of an image file is lost or doubtful, though it can be read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from PIL import Image, ImageFile

from skcyto.exceptions import InvalidInputWarning
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some

Note = Callable[[str], None]

_DARK = 4095  # 12 bits
_SLIDE_PIXELS = 50_000_000  # more than cameras take; at this size a cell is lost in the squeeze
_MAX_PAGES = 64
_MAX_NAMED = 5
_EXTRA_SAMPLES, _DESCRIPTION = 338, 270  # tags of TIFF
# Of these, further frames are what the format is made for: animations and bursts.
_WITH_FRAMES = {"AVIF", "GIF", "PNG", "WEBP"}


def ignore_note(text: str) -> None:
    """Take no notice."""


def note_dark(maximum: int, note: Note) -> None:
    """Note 16-bit pixels that look as if they had fewer bits.

    Parameters
    ----------
    maximum : int
        Largest value.
    note : callable
        Told so.
    """
    if 0 < maximum <= _DARK:
        note(
            "its 16-bit values are all below 4096, as if they were 12 bits in 16, and it becomes "
            "almost black: multiply the values by 16 (65535 is white) and store it again"
        )


def note_file(image: Image.Image, note: Note) -> None:
    """Note channels, pages and slides of a file of which the network does not see all.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened from a file, and loaded. Left at another page.
    note : callable
        Told what is lost.
    """
    width, height = image.size
    if width * height > _SLIDE_PIXELS:
        note(
            "a whole slide as one image: squeezed into the network's input its cells are lost; "
            "cut it into tiles"
        )
    tags = getattr(image, "tag_v2", {})
    if 0 in tags.get(_EXTRA_SAMPLES, ()):
        note("it has further channels beside its colours, which are left out")
    if image.format == "TIFF":
        _note_pages(image, str(tags.get(_DESCRIPTION, "")), note)
    elif image.format in _WITH_FRAMES and getattr(image, "is_animated", False):
        note("it has several frames, of which the first is taken")


def _note_pages(image: Image.Image, description: str, note: Note) -> None:
    sizes = _list_page_sizes(image)
    areas = [width * height for width, height in sizes]
    # ImageJ writes the planes of large stacks without pages of their own.
    planes = re.search(r"^images=(\d+)", description, re.MULTILINE)
    if max(areas) > areas[0]:
        note(
            "its first page, which is taken, is smaller than a later one: a thumbnail or label? "
            "Store the page that is meant as a file of its own"
        )
    elif areas.count(areas[0]) > 1 or (
        planes is not None and description.startswith("ImageJ=") and int(planes[1]) > 1
    ):
        note(
            "it has several pages of one size, of which the first is taken: channels, slices or "
            "times of the others are lost. Merge channels into RGB, or store pages as files"
        )


def _list_page_sizes(image: Image.Image) -> list[tuple[int, int]]:
    sizes = [image.size]
    if not getattr(image, "is_animated", False):
        return sizes
    try:
        while len(sizes) < _MAX_PAGES:
            image.seek(len(sizes))
            sizes.append(image.size)
    except Exception:
        # The end, or damage behind the page that is taken.
        return sizes
    return sizes


class ImageNotes:
    """Notes on images, collected from several threads to be said once.

    Examples
    --------
    >>> from skcyto.utils._images._notes import ImageNotes
    >>> notes = ImageNotes()
    >>> notes.of("a.tif")("it has several frames")
    >>> notes.of("b.tif")("it has several frames")
    >>> print(notes)
    2 images are read, but: it has several frames. Namely a.tif, b.tif
    """

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Note:
        """Return what takes the notes on one image.

        Parameters
        ----------
        name : str
            The image.

        Returns
        -------
        note : callable
        """

        def note(text: str) -> None:
            with self._lock:
                self._names.setdefault(text, []).append(name)

        return note

    def __str__(self) -> str:
        lines = []
        for text, names in sorted(self._names.items()):
            shown = list_some(sorted(names), _MAX_NAMED)
            head = "1 image is" if len(names) == 1 else f"{len(names)} images are"
            lines.append(f"{head} read, but: {text}. Namely {shown}")
        return "\n".join(lines)

    def warn(self) -> None:
        """Say them in one warning, if there are any."""
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            warn(
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: files that are cut off count as whole "
                "images, gray where pixels are missing. Set it to False to have them named",
                InvalidInputWarning,
            )
        if self._names:
            warn(str(self), InvalidInputWarning)
