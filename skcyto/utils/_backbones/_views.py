"""Several views of an image, whose tokens or log-probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image
from scipy.stats.qmc import Halton

if TYPE_CHECKING:
    import torch

VIEWS = ("flips", "dihedral")
# A window shows this share of the image's area at least.
_SMALLEST_WINDOW = 0.5


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    Attributes
    ----------
    turns : int
        Right angles by which the network's input is turned.
    mirrored : bool
        Whether it is mirrored before, left to right.
    window : tuple of 3 floats or None
        Edge, as a share of the image's, and position in the room that it leaves, of a window that
        is cut out before all else.
    """

    turns: int = 0
    mirrored: bool = False
    window: tuple[float, float, float] | None = None

    @property
    def name(self) -> str:
        """The same for two views that show the same; empty for the image as it is."""
        return "" if self == View() else repr(self)

    def cut(self, image: Image.Image) -> Image.Image:
        """Cut the window out of an image."""
        if self.window is None:
            return image
        share, x, y = self.window
        width, height = (max(1, round(edge * share)) for edge in image.size)
        left, top = round((image.width - width) * x), round((image.height - height) * y)
        return image.crop((left, top, left + width, top + height))

    def turn(self, pixels: torch.Tensor) -> torch.Tensor:
        """Mirror and turn the network's input, of shape (3, height, width)."""
        import torch

        if self.mirrored:
            pixels = pixels.flip(2)
        return torch.rot90(pixels, self.turns, (1, 2)) if self.turns else pixels


def list_views(views: str | int | None) -> list[View]:
    """Turn the parameter of this name into views; the first shows the image as it is.

    Parameters
    ----------
    views : {"flips", "dihedral"}, int or None
        "flips": as it is, mirrored to either side and to both. "dihedral": the eight flips and
        right-angle turns. A number: as it is, and windows that are spread over places and sizes
        (half of the area to all of it) by Halton's sequence, the same for each image: nothing is
        drawn, so that a cache finds them again.

    Returns
    -------
    views : list of View
    """
    if views is None:
        return [View()]
    if views == "flips":
        return [View(turns, mirrored) for turns in (0, 2) for mirrored in (False, True)]
    if views == "dihedral":
        return [View(turns, mirrored) for mirrored in (False, True) for turns in range(4)]
    points = Halton(3, scramble=False).random(int(views))[1:]
    areas = _SMALLEST_WINDOW + (1 - _SMALLEST_WINDOW) * points[:, 0]
    windows = zip(areas**0.5, points[:, 1], points[:, 2], strict=True)
    return [View(), *(View(window=(float(a), float(x), float(y))) for a, x, y in windows)]


def show(
    image: Image.Image,
    views: Sequence[View],
    transform: Callable[[Image.Image], torch.Tensor],
) -> torch.Tensor:
    """Prepare views of an image for the network.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    views : sequence of View
        What to show.
    transform : callable
        From an image to the network's input, without augmentation.

    Returns
    -------
    pixels : torch.Tensor of shape (n_views, 3, image_size, image_size), dtype uint8
    """
    import torch

    whole = transform(image) if any(view.window is None for view in views) else None
    return torch.stack(
        [
            view.turn(transform(view.cut(image)) if view.window or whole is None else whole)
            for view in views
        ]
    )
