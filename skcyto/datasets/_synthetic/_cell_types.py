"""What is seen in a Pap smear: normal and abnormal cells, and what is fit for no diagnosis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcyto.datasets._synthetic._cell_canvas import (
    EOSIN,
    HAEMATOXYLIN,
    LIGHT_GREEN,
    Canvas,
    Outline,
    blob,
    polygon,
)


@dataclass(frozen=True)
class Slide:
    """How one slide was stained and lit; the same for all its cells."""

    light: np.ndarray
    haematoxylin: np.ndarray
    pink: np.ndarray
    green: np.ndarray
    clutter: float
    vignette: float


def draw_slide(rng: np.random.Generator) -> Slide:
    """Draw the stain and light of a slide."""
    tint = np.array([1.0, 0.955, 0.965]) + rng.normal(0, [0.02, 0.025, 0.03])
    light = np.clip(rng.uniform(0.74, 0.97) * tint, 0.3, 1.0).astype(np.float32)

    def vary(dye: np.ndarray, strength: float) -> np.ndarray:
        hue = np.exp(rng.normal(0, 0.13, 3))
        return (dye * hue * np.exp(rng.normal(0, strength))).astype(np.float32)

    return Slide(
        light=light,
        haematoxylin=vary(HAEMATOXYLIN, 0.20),
        pink=vary(EOSIN, 0.28),
        green=vary(LIGHT_GREEN, 0.28),
        clutter=float(rng.uniform(0.1, 0.6)),
        vignette=float(rng.uniform(0.0, 0.14)),
    )


def _centre(rng: np.random.Generator, spread: float) -> tuple[float, float]:
    x, y = rng.normal(0, spread, 2)
    return float(np.clip(x, -0.4, 0.4)), float(np.clip(y, -0.4, 0.4))


def _inside(
    rng: np.random.Generator, outline: Outline, nucleus_radius: float, reach: float
) -> tuple[float, float]:
    """Place a nucleus inside its cell."""
    room = max(float(outline.radius.min()) - nucleus_radius, 0.0) * reach
    angle, part = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform())
    return outline.x + room * part * np.cos(angle), outline.y + room * part * np.sin(angle)


def add_healthy(
    canvas: Canvas, slide: Slide, *, at: tuple[float, float] | None = None, wanted: bool = True
) -> None:
    """Add a superficial, intermediate, parabasal or columnar cell."""
    rng = canvas.rng
    zoom = float(np.exp(rng.normal(0, 0.14)))
    x, y = _centre(rng, 0.08) if at is None else at
    kind = rng.choice(4, p=[0.30, 0.36, 0.20, 0.14])
    mature = kind == 0
    pink = rng.uniform() < (0.75, 0.35, 0.2, 0.2)[kind]
    dye = slide.pink if pink else slide.green
    if kind in (0, 1):
        outline = polygon(rng, x, y, zoom * rng.uniform(0.64, 0.90))
        radius = zoom * (rng.uniform(0.075, 0.12) if mature else rng.uniform(0.12, 0.19))
        amount = rng.uniform(0.30, 0.62)
    elif kind == 2:
        outline = blob(rng, x, y, zoom * rng.uniform(0.36, 0.54), elongation=rng.uniform(1, 1.25))
        radius = zoom * rng.uniform(0.16, 0.24)
        amount = rng.uniform(0.45, 0.85)
    else:
        outline = blob(rng, x, y, zoom * rng.uniform(0.34, 0.48), elongation=rng.uniform(1.5, 2.3))
        radius = zoom * rng.uniform(0.15, 0.23)
        amount = rng.uniform(0.35, 0.70)
    # A few normal cells react to inflammation: larger, darker nuclei without being abnormal.
    reactive = float(rng.beta(1.2, 4.5))
    radius *= 1 + 0.45 * reactive
    nx, ny = _inside(rng, outline, radius, 0.7 if kind == 3 else 0.35)
    nucleus = blob(
        rng, nx, ny, radius, elongation=rng.uniform(1, 1.35), irregularity=0.02 + 0.03 * reactive
    )
    canvas.add_cytoplasm(
        outline,
        dye,
        amount,
        folds=0.5 if kind in (0, 1) and rng.uniform() < 0.45 else 0.0,
        halo=nucleus.scaled(1.9) if rng.uniform() < 0.10 else None,
        wanted=wanted,
    )
    canvas.add_nucleus(
        nucleus,
        slide.haematoxylin,
        (rng.uniform(1.1, 1.7) if mature else rng.uniform(0.6, 1.1)) * (1 + 0.35 * reactive),
        coarseness=0.025 + 0.01 * reactive,
        contrast=0.12 + 0.14 * reactive,
        rim=rng.uniform(0.1, 0.35),
        wanted=wanted,
    )


def add_unhealthy(
    canvas: Canvas, slide: Slide, *, at: tuple[float, float] | None = None, wanted: bool = True
) -> None:
    """Add a dysplastic cell: from a mild change to carcinoma in situ."""
    rng = canvas.rng
    zoom = float(np.exp(rng.normal(0, 0.14)))
    x, y = _centre(rng, 0.08) if at is None else at
    grade = float(rng.beta(1.3, 1.5))
    noisy = np.clip(grade + rng.normal(0, 0.17, 4), 0, 1)
    radius = zoom * rng.uniform(0.20, 0.34)
    cell = radius / (0.34 + 0.40 * noisy[0])
    if noisy[0] < 0.35 and rng.uniform() < 0.6:
        outline = polygon(rng, x, y, min(cell * 1.1, 0.95))
    else:
        outline = blob(rng, x, y, cell, elongation=rng.uniform(1, 1.7), irregularity=0.07)
    dye = slide.pink if rng.uniform() < 0.35 else slide.green
    nx, ny = _inside(rng, outline, radius, 0.4)
    irregularity = 0.03 + 0.09 * noisy[1]
    shape = rng.uniform(1, 1.35 + 0.4 * noisy[1])
    nuclei = [blob(rng, nx, ny, radius, elongation=shape, irregularity=irregularity)]
    if grade < 0.6 and rng.uniform() < 0.12:
        angle = rng.uniform(0, 2 * np.pi)
        where = nx + 1.5 * radius * np.cos(angle), ny + 1.5 * radius * np.sin(angle)
        nuclei.append(blob(rng, *where, 0.85 * radius, irregularity=irregularity))
    canvas.add_cytoplasm(
        outline,
        dye,
        rng.uniform(0.32, 0.75),
        folds=0.4 if rng.uniform() < 0.2 else 0.0,
        halo=nuclei[0].scaled(1.7) if grade < 0.5 and rng.uniform() < 0.30 else None,
        wanted=wanted,
    )
    for nucleus in nuclei:
        canvas.add_nucleus(
            nucleus,
            slide.haematoxylin,
            0.75 + 0.65 * noisy[2] + rng.normal(0, 0.08),
            coarseness=0.03 + 0.035 * noisy[3],
            contrast=0.17 + 0.27 * noisy[3],
            rim=rng.uniform(0.15, 0.6),
            wanted=wanted,
        )


def add_neutrophils(canvas: Canvas, slide: Slide, n: int, spread: float) -> None:
    """Add inflammatory cells: small, with a nucleus of two to four dark lobes."""
    rng = canvas.rng
    x0, y0 = rng.uniform(-0.5, 0.5, 2)
    size = float(rng.uniform(0.10, 0.16))
    for _ in range(n):
        x, y = x0 + spread * rng.normal(), y0 + spread * rng.normal()
        canvas.add_cytoplasm(blob(rng, x, y, size), slide.green, rng.uniform(0.1, 0.35))
        turn = rng.uniform(0, 2 * np.pi)
        for lobe in range(int(rng.integers(2, 5))):
            angle = turn + lobe * 1.9
            where = x + 0.45 * size * np.cos(angle), y + 0.45 * size * np.sin(angle)
            canvas.add_nucleus(
                blob(rng, *where, size * rng.uniform(0.34, 0.5)),
                slide.haematoxylin,
                rng.uniform(0.6, 1.2),
                coarseness=0.03,
                contrast=0.1,
            )


def add_debris(canvas: Canvas, slide: Slide, n: int) -> None:
    """Add ragged fragments, strands of mucus and dust."""
    rng = canvas.rng
    for _ in range(n):
        x, y = rng.uniform(-0.8, 0.8, 2)
        piece = blob(
            rng,
            x,
            y,
            rng.uniform(0.05, 0.30),
            elongation=rng.uniform(1, 4),
            irregularity=rng.uniform(0.12, 0.30),
        )
        dye = (slide.pink, slide.green, 0.6 * slide.haematoxylin)[int(rng.integers(3))]
        canvas.add_nucleus(
            piece,
            dye,
            rng.uniform(0.4, 1.4),
            coarseness=rng.uniform(0.02, 0.08),
            contrast=rng.uniform(0.2, 0.6),
            rim=0.0,
            softness=rng.uniform(0.02, 0.12),
        )
    strand = np.exp(-((canvas.noise(rng.uniform(0.2, 0.5)) / rng.uniform(0.1, 0.3)) ** 2))
    canvas.add(rng.uniform(0.05, 0.35) * strand, slide.green if rng.uniform() < 0.6 else slide.pink)


def add_anucleate(canvas: Canvas, slide: Slide, n: int) -> None:
    """Add folded squames without nuclei, lying over one another."""
    rng = canvas.rng
    for _ in range(n):
        x, y = rng.normal(0, 0.3, 2)
        dye = slide.pink if rng.uniform() < 0.55 else slide.green
        outline = polygon(rng, float(x), float(y), rng.uniform(0.45, 0.9))
        canvas.add_cytoplasm(outline, dye, rng.uniform(0.25, 0.6), folds=rng.uniform(0.3, 1.1))


def add_rubbish(canvas: Canvas, slide: Slide) -> float:
    """Fill the frame with something fit for no diagnosis; return how far it is out of focus."""
    rng = canvas.rng
    kind = rng.choice(6, p=[0.20, 0.17, 0.25, 0.17, 0.11, 0.10])
    if kind == 0:
        add_debris(canvas, slide, int(rng.integers(2, 8)))
    elif kind == 1:
        add_neutrophils(canvas, slide, int(rng.integers(4, 14)), rng.uniform(0.2, 0.45))
    elif kind == 2:  # a cell out of focus
        (add_unhealthy if rng.uniform() < 0.3 else add_healthy)(canvas, slide)
        return float(rng.uniform(0.055, 0.16))
    elif kind == 3:
        add_anucleate(canvas, slide, int(rng.integers(1, 5)))
    elif kind == 4:  # next to nothing: the edge of a cell, some dust
        angle = rng.uniform(0, 2 * np.pi)
        where = (1.25 * np.cos(angle), 1.25 * np.sin(angle))
        add_healthy(canvas, slide, at=where, wanted=False)
    else:  # a bare, smudged nucleus
        x, y = _centre(rng, 0.15)
        nucleus = blob(rng, x, y, rng.uniform(0.12, 0.32), elongation=rng.uniform(1, 2.2))
        canvas.add_nucleus(
            nucleus,
            slide.haematoxylin,
            rng.uniform(0.4, 1.1),
            coarseness=0.05,
            contrast=0.05,
            rim=0.0,
            softness=rng.uniform(0.08, 0.22),
            wanted=True,
        )
    return float(rng.uniform(0.005, 0.05))


def draw_frame(
    label: str, slide: Slide, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image and the mask of the cell in it.

    Parameters
    ----------
    label : {"healthy", "unhealthy", "rubbish", "bothcells"}
        What to draw.
    slide : Slide
        Stain and light.
    size : int
        Height and width in pixels.
    rng : Generator
        Decides everything else.

    Returns
    -------
    image : ndarray of shape (size, size, 3), uint8
    mask : ndarray of shape (size, size), uint8
        1 nucleus, 2 cytoplasm, 0 all else.
    """
    canvas = Canvas(size, rng)
    # Clutter comes with every class: a neighbour at the edge, inflammation, dust, thin mucus.
    if rng.uniform() < slide.clutter:
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.95, 1.3)
        where = (far * np.cos(angle), far * np.sin(angle))
        add_healthy(canvas, slide, at=where, wanted=False)
    if rng.uniform() < 0.5 * slide.clutter:
        add_neutrophils(canvas, slide, int(rng.integers(1, 4)), 0.3)
    if rng.uniform() < 0.4 * slide.clutter:
        add_debris(canvas, slide, 1)
    canvas.add_dots(int(rng.poisson(8 * slide.clutter)), slide.haematoxylin, 0.5, 0.015)
    canvas.add(np.maximum(0.06 + 0.05 * canvas.noise(0.3), 0), slide.green)
    focus = float(rng.gamma(2.0, 0.007))
    if label == "healthy":
        add_healthy(canvas, slide)
    elif label == "unhealthy":
        add_unhealthy(canvas, slide)
    elif label == "bothcells":
        angle = rng.uniform(0, 2 * np.pi)
        x, y = 0.45 * np.cos(angle), 0.45 * np.sin(angle)
        add_healthy(canvas, slide, at=(-x, -y))
        add_unhealthy(canvas, slide, at=(x, y))
    else:
        focus = max(focus, add_rubbish(canvas, slide))
    canvas.density *= np.float32(np.exp(rng.normal(0, 0.16)))
    canvas.blur(focus)
    image = canvas.develop(slide.light, vignette=slide.vignette, grain=rng.uniform(0.004, 0.018))
    return image, canvas.mask
