"""Draw an orbit as an MRI scan shows it: eight labelled structures, globe, bone, surroundings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

TED_LABELS = {
    "superior_rectus": 1,
    "inferior_rectus": 2,
    "medial_rectus": 3,
    "lateral_rectus": 4,
    "optic_nerve": 5,
    "fat": 6,
    "lacrimal_gland": 7,
    "superior_oblique": 8,
}

# The two structures that differ between the classes, and those that do not (fat is what is left).
SIGNAL_STRUCTURES = ("inferior_rectus", "medial_rectus")
QUIET_STRUCTURES = tuple(name for name in TED_LABELS if name not in SIGNAL_STRUCTURES)

# Direction of each rectus muscle around the axis of the orbit: 0 lateral, 90 superior.
_RECTI = {"lateral_rectus": 0, "superior_rectus": 90, "medial_rectus": 180, "inferior_rectus": 270}

# Mean signal of each tissue in a T1-weighted scan, and the standard deviation of its texture.
_SIGNAL = {
    "muscle": (340.0, 22.0),
    "nerve": (400.0, 16.0),
    "fat": (860.0, 40.0),
    "gland": (450.0, 34.0),
    "globe": (150.0, 6.0),
    "lens": (330.0, 8.0),
    "bone": (70.0, 12.0),
    "brain": (420.0, 26.0),
    "soft": (380.0, 40.0),
    "air": (18.0, 3.0),
}

# What the severest disease does to a muscle: the part by which its belly thickens, the amplitude
# of a coarse texture beside the fine one, the rise of its signal.
_LARGEST_GROWTH, _LARGEST_COARSENESS, _LARGEST_SHIFT = 0.65, 0.9, 28.0

_TISSUE = {"optic_nerve": "nerve", "lacrimal_gland": "gland"}

_EDGE = 0.8  # millimetres over which two tissues share a voxel


@dataclass(frozen=True)
class Disease:
    """What sets a diseased orbit apart: zero everywhere for a control."""

    growth: tuple[float, float]
    coarse: tuple[float, float]
    shift: tuple[float, float]


def draw_disease(rng: np.random.Generator, diseased: bool) -> Disease:
    """Draw the changes of the inferior and the medial rectus from one severity.

    The numbers are drawn for controls as well, so that the class changes nothing else.
    """
    severity = rng.beta(1.2, 1.8)
    parts = np.clip(severity + rng.normal(0, 0.12, (3, 2)), 0, 1) * float(diseased)
    growth, coarse, shift = parts * [[_LARGEST_GROWTH], [_LARGEST_COARSENESS], [_LARGEST_SHIFT]]
    return Disease(
        *((float(inferior), float(medial)) for inferior, medial in (growth, coarse, shift))
    )


@dataclass(frozen=True)
class Tube:
    """A body along the axis of the orbit, its cross-section an ellipse.

    Parameters
    ----------
    angle : float
        Where it lies around the axis, in degrees: 0 lateral, 90 superior.
    distance, thickness, width : ndarray of shape (n_slices, 1, 1)
        Distance from the axis, radius towards the axis and radius around it, in mm.
    start, end : float
        Depths in the orbit, in mm.
    """

    angle: float
    distance: np.ndarray
    thickness: np.ndarray
    width: np.ndarray
    start: float
    end: float

    def grown(self, depth: np.ndarray, growth: float) -> Tube:
        """Thicken the belly and spare the tendon."""
        belly = np.exp(-(((depth - 27) / 9) ** 2))
        return replace(
            self,
            thickness=self.thickness * (1 + growth * belly),
            width=self.width * (1 + 0.3 * growth * belly),
        )


class OrbitField:
    """A box around one orbit, in millimetres of the orbit's own axes.

    Parameters
    ----------
    size : tuple of int
        Voxels in x, y and z.
    spacing : tuple of float
        Millimetres in x, y and z.
    left : bool
        Whether the orbit is the left one; lateral lies at high x then.
    rng : Generator
        Decides the anatomy.
    scale : float
        Size of the head.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        spacing: tuple[float, float, float],
        left: bool,
        rng: np.random.Generator,
        scale: float,
    ) -> None:
        self.spacing = spacing
        self.rng = rng
        x, y, z = (
            ((np.arange(n) - (n - 1) / 2) * mm / scale).astype(np.float32)
            for n, mm in zip(size, spacing, strict=True)
        )
        shift = rng.normal(0, [0.8, 0.8, 0.6]).astype(np.float32)
        # The globe sits lateral of the middle: the apex lies far medial.
        self.lateral = ((x if left else -x) - 5.0 + shift[0])[None, None, :]
        self.superior = (-y + shift[1])[None, :, None]
        self.depth = (z + 24.0 + shift[2])[:, None, None]
        self.shape = size[::-1]
        self.axis = np.interp(self.depth, [13, 47], [0, -13.5]).astype(np.float32)
        self.signal = np.zeros(self.shape, dtype=np.float32)
        self.mask = np.zeros(self.shape, dtype=np.uint8)
        self.fine = self.noise(0.7)
        self.medium = self.noise(1.5)

    def noise(self, scale: float) -> np.ndarray:
        """Draw a random field of unit variance and correlation length `scale` in mm."""
        field = self.rng.standard_normal(self.shape, dtype=np.float32)
        sigma = [scale / mm for mm in self.spacing[::-1]]
        field = ndimage.gaussian_filter(field, sigma, mode="wrap", truncate=2.5)
        return field / field.std()

    def profile(self, depths: list[float], values: list[float]) -> np.ndarray:
        """Interpolate a measure along the depth of the orbit, with a slight waviness of its own."""
        wave = self.rng.normal(0, 0.02) * np.sin(
            self.depth / self.rng.uniform(3, 6) + self.rng.uniform(0, 2 * np.pi)
        )
        return (np.interp(self.depth, depths, values) * (1 + wave)).astype(np.float32)

    def inside(self, tube: Tube) -> np.ndarray:
        """Depth in mm inside a tube; negative outside."""
        angle = np.deg2rad(tube.angle)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u = self.lateral - self.axis - tube.distance * cos
        v = self.superior - tube.distance * sin
        across = (u * cos + v * sin) / tube.thickness
        along = (v * cos - u * sin) / tube.width
        depth = (1 - np.hypot(across, along)) * tube.thickness
        ends = np.minimum(self.depth - tube.start, tube.end - self.depth)
        return np.minimum(depth, ends)

    def paint(
        self,
        depth: np.ndarray,
        tissue: str,
        *,
        label: str | None = None,
        coarse: float = 0.0,
        shift: float = 0.0,
    ) -> None:
        """Put a body over what is there, with soft edges, and label it."""
        mean, texture = _SIGNAL[tissue]
        cover = np.clip(depth / _EDGE + 0.5, 0, 1)
        value = mean + shift + texture * (self.fine + coarse * self.medium)
        self.signal += cover * (value - self.signal)
        if label is not None:
            self.mask[depth > 0] = TED_LABELS[label]


def draw_orbit(field: OrbitField, disease: Disease) -> None:
    """Draw one orbit into its field."""
    radius = field.profile([0, 8, 20, 30, 40, 47], [16.5, 19.0, 19.2, 14.8, 9.2, 5.2])
    cone = radius - np.hypot(field.lateral - field.axis, field.superior)
    _draw_surroundings(field, cone)
    muscles = _muscles(field)
    bodies = {name: field.inside(muscles[name]) for name in muscles if name in QUIET_STRUCTURES}
    bodies["lacrimal_gland"] = np.minimum(bodies["lacrimal_gland"], cone)
    bodies["optic_nerve"] = _nerve(field)
    globe = _globe(field)
    # No voxel may depend on the class but those of the two muscles that carry it: the room that
    # they may grow into is labelled as nothing else, and they end where other structures begin.
    others = np.maximum.reduce([globe, *bodies.values()])
    room = np.maximum.reduce(
        [
            field.inside(muscles[name].grown(field.depth, _LARGEST_GROWTH))
            for name in SIGNAL_STRUCTURES
        ]
    )
    fat = np.minimum(cone, field.depth - 9.0)
    field.paint(np.minimum(cone, field.depth - 5.0), "soft")
    field.paint(fat, "fat")
    free = (fat > 0) & (room < -_EDGE) & (others < -0.5 * _EDGE)
    field.mask[free] = TED_LABELS["fat"]

    for name, body in bodies.items():
        field.paint(body, _TISSUE.get(name, "muscle"), label=name)
    for which, name in enumerate(SIGNAL_STRUCTURES):
        body = field.inside(muscles[name].grown(field.depth, disease.growth[which]))
        field.paint(
            np.minimum(body, -others - _EDGE),
            "muscle",
            label=name,
            coarse=disease.coarse[which],
            shift=disease.shift[which],
        )
    field.paint(globe, "globe")
    lens = np.sqrt(
        (field.lateral / 4.5) ** 2 + (field.superior / 4.5) ** 2 + ((field.depth - 5.2) / 2.0) ** 2
    )
    field.paint(2.0 * (1 - lens), "lens")


def _muscles(field: OrbitField) -> dict[str, Tube]:
    """Draw the size and course of the four recti, the superior oblique and the lacrimal gland."""
    rng, profile = field.rng, field.profile

    def vary(spread: float) -> float:
        return float(np.exp(rng.normal(0, spread)))

    tubes = {}
    for name, angle in _RECTI.items():
        size = vary(0.13)
        thickness = profile([8, 14, 20, 27, 34, 42, 47], [0.9, 1.1, 1.55, 1.95, 1.75, 1.2, 1.0])
        width = profile([8, 14, 20, 27, 34, 42, 47], [4.6, 4.7, 4.6, 4.3, 3.6, 2.4, 1.8])
        tubes[name] = Tube(
            angle=angle + rng.normal(0, 3.0),
            distance=profile([8, 13, 20, 28, 36, 46], [11.6, 13.2, 12.4, 10.2, 7.2, 3.4]),
            thickness=size * thickness,
            width=size * width,
            start=9.0 + rng.normal(0, 0.4),
            end=46.0,
        )
    tubes["superior_oblique"] = Tube(
        angle=133 + rng.normal(0, 3),
        distance=profile([8, 18, 30, 40, 46], [15.8, 15.2, 11.8, 7.4, 5.0]),
        thickness=vary(0.10) * profile([8, 14, 26, 38, 46], [0.9, 1.15, 1.5, 1.3, 1.0]),
        width=profile([8, 14, 26, 38, 46], [1.1, 1.5, 2.3, 1.9, 1.2]),
        start=9.0,
        end=46.0,
    )
    tubes["lacrimal_gland"] = Tube(
        angle=42 + rng.normal(0, 4),
        distance=profile([4, 12, 22], [15.0, 16.2, 15.6]),
        thickness=vary(0.12) * profile([5, 12, 20], [1.5, 2.9, 1.4]),
        width=vary(0.10) * profile([5, 12, 20], [3.2, 6.0, 3.0]),
        start=5.0,
        end=21.0 + rng.normal(0, 0.8),
    )
    return tubes


def _nerve(field: OrbitField) -> np.ndarray:
    """Depth inside the optic nerve, from the back of the globe to the apex, slightly winding."""
    rng = field.rng
    sway = rng.normal(0, 0.7) * np.sin(field.depth / 7 + rng.uniform(0, 2 * np.pi))
    lag = field.axis * np.interp(field.depth, [24, 46], [0.35, 0.0])
    course = (np.interp(field.depth, [24, 36], [-1.5, 0.0]) - lag).astype(np.float32)
    radius = 1.95 * float(np.exp(rng.normal(0, 0.08)))
    across = np.hypot(field.lateral - field.axis - course, field.superior - sway)
    return np.minimum(radius - across, np.minimum(field.depth - 24.0, 47.0 - field.depth))


def _globe(field: OrbitField) -> np.ndarray:
    """Depth inside the globe."""
    radius = 12.0 + float(field.rng.normal(0, 0.3))
    out = np.sqrt(field.lateral**2 + field.superior**2 + (field.depth - 13.0) ** 2)
    return radius - out


def _draw_surroundings(field: OrbitField, cone: np.ndarray) -> None:
    """Fill what lies outside the orbit: brain above, sinuses below and medially, muscle aside."""
    field.paint(np.ones(field.shape, dtype=np.float32), "soft")
    wavy = 1.5 * field.noise(4.0)
    below = -field.superior - 21.0 + wavy
    medial = -(field.lateral - field.axis) - np.interp(field.depth, [8, 46], [19, 9]) + wavy
    medial = np.minimum(medial, 16.0 - np.abs(field.superior))
    field.paint(np.minimum(below, field.depth - 8.0), "air")
    field.paint(np.minimum(medial, field.depth - 8.0), "air")
    field.paint(field.superior - np.interp(field.depth, [6, 30, 46], [24, 15, 8]) + wavy, "brain")
    field.paint(np.minimum(cone + 2.4, field.depth - 8.0), "bone")
    # In front of the face there is air.
    field.paint(np.float32(3.0) - field.depth - 0.02 * field.superior**2, "air")
