"""Draw stained cells by the light they absorb: outlines, nuclei, cytoplasm, clutter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

# Optical density in red, green and blue for one unit of each dye of the Papanicolaou stain.
HAEMATOXYLIN = np.array([0.80, 0.86, 0.46], dtype=np.float32)  # nuclei: blue to violet
EOSIN = np.array([0.10, 0.62, 0.36], dtype=np.float32)  # mature cytoplasm: pink
LIGHT_GREEN = np.array([0.56, 0.26, 0.30], dtype=np.float32)  # young cytoplasm: blue-green

_ANGLES = 360


@dataclass(frozen=True)
class Outline:
    """A closed curve around a centre, as the radius in each of 360 directions."""

    x: float
    y: float
    radius: np.ndarray

    def scaled(self, factor: float) -> Outline:
        """Return the same shape, larger or smaller."""
        return Outline(self.x, self.y, self.radius * np.float32(factor))


def blob(
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    *,
    elongation: float = 1.0,
    irregularity: float = 0.05,
) -> Outline:
    """Draw a rounded outline: an ellipse with random low harmonics of falling size."""
    angle = np.linspace(0.0, 2 * np.pi, _ANGLES, endpoint=False)
    turn = rng.uniform(0, np.pi)
    long, short = radius * np.sqrt(elongation), radius / np.sqrt(elongation)
    r = long * short / np.hypot(short * np.cos(angle - turn), long * np.sin(angle - turn))
    wobble = np.zeros(_ANGLES)
    for order in range(2, 8):
        size = irregularity * rng.normal() / (order - 1) ** 0.7
        wobble += size * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return Outline(x, y, (r * np.clip(1 + wobble, 0.5, 1.6)).astype(np.float32))


def polygon(rng: np.random.Generator, x: float, y: float, radius: float) -> Outline:
    """Draw the outline of a squame: a convex polygon with rounded corners."""
    angle = np.linspace(0.0, 2 * np.pi, _ANGLES, endpoint=False)
    sides = int(rng.integers(5, 8))
    normals = (np.arange(sides) + rng.uniform(-0.28, 0.28, sides)) * 2 * np.pi / sides
    normals += rng.uniform(0, 2 * np.pi)
    distances = radius * rng.uniform(0.78, 1.0, sides)
    reach = np.maximum(np.cos(angle[:, None] - normals), 0.0) / distances
    r = (reach**14).sum(axis=1) ** (-1 / 14)
    ripple = 0.012 * np.cos(rng.integers(9, 16) * angle + rng.uniform(0, 2 * np.pi))
    return Outline(x, y, (np.minimum(r, 1.35 * radius) * (1 + ripple)).astype(np.float32))


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels' centres; the frame reaches from -1 to 1."""
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return axis[None, :], axis[:, None]


@lru_cache(maxsize=32)
def _squared_frequency(side: int) -> np.ndarray:
    fy, fx = fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]
    return ((fx**2 + fy**2) * (2 * np.pi) ** 2).astype(np.float32)


Window = tuple[slice, slice]


@dataclass
class Canvas:
    """A field of view, filled with optical density.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    rng : Generator
        The one source of chance.
    """

    size: int
    rng: np.random.Generator
    density: np.ndarray = field(init=False)
    mask: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.density = np.zeros((3, self.size, self.size), dtype=np.float32)
        self.mask = np.zeros((self.size, self.size), dtype=np.uint8)

    @property
    def pixel(self) -> float:
        """Width of a pixel in units of half the frame."""
        return 2.0 / self.size

    @property
    def whole(self) -> Window:
        """The window that is the whole frame."""
        return slice(0, self.size), slice(0, self.size)

    def window(self, outline: Outline, softness: float) -> Window:
        """Smallest window that holds an outline and its soft edge: most bodies are small."""
        reach = float(outline.radius.max()) + max(softness, 2 * self.pixel)

        def span(centre: float) -> slice:
            low, high = (int((centre + d + 1) / self.pixel) for d in (-reach, reach))
            return slice(min(max(low, 0), self.size), min(max(high + 1, 0), self.size))

        return span(outline.y), span(outline.x)

    def noise(self, scale: float, window: Window | None = None) -> np.ndarray:
        """Draw a random field of unit variance and correlation length `scale` (half frames)."""
        rows, columns = window or self.whole
        height, width = rows.stop - rows.start, columns.stop - columns.start
        # Few sizes keep the table of frequencies small.
        side = max(16, -(-max(height, width) // 16) * 16)
        white = self.rng.standard_normal((side, side), dtype=np.float32)
        sigma = scale / self.pixel
        spectrum = fft.rfft2(white) * np.exp(-0.5 * sigma**2 * _squared_frequency(side))
        spectrum[0, 0] = 0
        smooth = fft.irfft2(spectrum, s=white.shape)
        smooth *= 1 / max(float(np.sqrt(np.mean(smooth**2))), 1e-6)
        return smooth[:height, :width]

    def depth(self, outline: Outline, window: Window | None = None) -> np.ndarray:
        """Distance inside the outline, measured along the radius; negative outside."""
        rows, columns = window or self.whole
        across, down = _grid(self.size)
        dx, dy = across[:, columns] - np.float32(outline.x), down[rows] - np.float32(outline.y)
        angle = np.arctan2(dy, dx) * np.float32(_ANGLES / (2 * np.pi))
        return outline.radius[angle.astype(np.int16) % _ANGLES] - np.hypot(dx, dy)

    def cover(self, depth: np.ndarray, softness: float = 0.0) -> np.ndarray:
        """Turn depth into coverage from 0 to 1 with an edge at least one pixel wide."""
        width = max(softness, self.pixel)
        return np.clip(depth / width + 0.5, 0.0, 1.0)

    def add(self, amount: np.ndarray, dye: np.ndarray, window: Window | None = None) -> None:
        """Add dye."""
        rows, columns = window or self.whole
        self.density[:, rows, columns] += dye[:, None, None] * amount

    def add_cytoplasm(
        self,
        outline: Outline,
        dye: np.ndarray,
        amount: float,
        *,
        folds: float = 0.0,
        halo: Outline | None = None,
        wanted: bool = False,
    ) -> None:
        """Add a cytoplasm: uneven, denser at its edge, with folds or a clear halo if asked."""
        window = self.window(outline, 0.10)
        depth = self.depth(outline, window)
        cover = self.cover(depth, 0.02)
        rim = np.exp(-((depth / 0.05) ** 2))
        texture = 1 + 0.16 * self.noise(0.16, window) + 0.08 * self.noise(0.035, window)
        if halo is not None:
            texture = texture * (1 - 0.75 * self.cover(self.depth(halo, window), 0.10))
        if folds:
            # Folds are the crests of a smooth random field: lines where it crosses zero.
            texture = texture + folds * np.exp(-((self.noise(0.22, window) / 0.09) ** 2))
        self.add(cover * (amount * np.maximum(texture, 0.05) + 0.25 * amount * rim), dye, window)
        if wanted:
            mask = self.mask[window]
            mask[(depth > 0) & (mask == 0)] = 2

    def add_nucleus(
        self,
        outline: Outline,
        dye: np.ndarray,
        amount: float,
        *,
        coarseness: float,
        contrast: float,
        rim: float = 0.3,
        softness: float = 0.02,
        wanted: bool = False,
    ) -> None:
        """Add a nucleus: chromatin of the given grain and contrast inside a membrane."""
        window = self.window(outline, softness)
        depth = self.depth(outline, window)
        cover = self.cover(depth, softness)
        grain = contrast * self.noise(coarseness, window) + 0.08 * self.noise(0.02, window)
        membrane = rim * np.exp(-(((depth - 0.02) / 0.03) ** 2))
        self.add(cover * amount * np.clip(1 + grain + membrane, 0.15, 2.5), dye, window)
        if wanted:
            self.mask[window][depth > 0] = 1

    def add_dots(self, n: int, dye: np.ndarray, amount: float, radius: float) -> None:
        """Add granules, bacteria or dust: small dots all over the frame."""
        across, down = _grid(self.size)
        for _ in range(n):
            x, y = self.rng.uniform(-1.1, 1.1, 2)
            size = max(radius * self.rng.uniform(0.5, 1.4), 0.5 * self.pixel)
            # A Gaussian is the product of its row and its column.
            column = np.exp(-((down - np.float32(y)) ** 2) / (2 * size**2))
            row = np.exp(-((across - np.float32(x)) ** 2) / (2 * size**2))
            self.add(amount * column * row, dye)

    def blur(self, sigma: float) -> None:
        """Put the frame out of focus; `sigma` in half frames."""
        pixels = sigma / self.pixel
        if pixels > 0.2:
            self.density = ndimage.gaussian_filter(
                self.density, (0, pixels, pixels), mode="nearest", truncate=3.0
            )

    def develop(
        self, light: np.ndarray, *, vignette: float = 0.0, grain: float = 0.01
    ) -> np.ndarray:
        """Shine light through: Beer and Lambert's law, uneven lighting, sensor noise.

        Parameters
        ----------
        light : ndarray of shape (3,)
            Colour of the empty slide, from 0 to 1.
        vignette : float
            Loss of light in the corners.
        grain : float
            Standard deviation of the sensor's noise.

        Returns
        -------
        image : ndarray of shape (size, size, 3), uint8
        """
        across, down = _grid(self.size)
        falloff = 1 - vignette * (across**2 + down**2) / 2
        image = light[:, None, None].astype(np.float32) * falloff * np.exp(-self.density)
        image += grain * self.rng.standard_normal(image.shape, dtype=np.float32)
        return np.ascontiguousarray(
            (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
        )
