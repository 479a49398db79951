"""Draw the figures of the guide on data sets: synthetic cells and a synthetic orbit.

    python docs/figures/datasets.py

Writes docs/_static/synthetic_cells.png and docs/_static/synthetic_orbit.png.
"""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from skcyto.datasets import make_cell_images, make_orbit_mri
from skcyto.utils._plotting import PALETTE

STATIC = Path(__file__).resolve().parents[1] / "_static"


def save(figure: Figure, path: Path, method: Image.Quantize) -> None:
    """Save a figure with a palette of its own, which keeps the file small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    Image.open(buffer).convert("RGB").quantize(256, method).save(path, optimize=True)


def cells() -> None:
    """Show two rows of each class."""
    names, columns = ["healthy", "unhealthy", "rubbish"], 8
    figure, axes = plt.subplots(6, columns, figsize=(6.4, 5.2), layout="constrained")
    for k, name in enumerate(names):
        data = make_cell_images(
            2 * columns,
            class_proportions={name: 1},
            cells_per_slide=1,
            image_size=80,
            random_state=4,
        )
        for i, image in enumerate(data.images):
            ax = axes[2 * k + i // columns, i % columns]
            ax.imshow(image)
            ax.set(xticks=[], yticks=[])
        axes[2 * k, 0].set_ylabel(name, y=0, fontsize=9)
    figure.suptitle("Synthetic cells: make_cell_images", fontsize=10)
    save(figure, STATIC / "synthetic_cells.png", Image.Quantize.MEDIANCUT)


def orbit() -> None:
    """Show slices of a control and a diseased orbit with the eight structures."""
    data = make_orbit_mri(8, random_state=1)
    colours = ListedColormap(PALETTE[:8])
    slices = (6, 9, 12, 15, 18)
    figure, axes = plt.subplots(
        2, 2 * len(slices), figsize=(9, 2.5), gridspec_kw={"wspace": 0.03, "hspace": 0.03}
    )
    for row, name in enumerate(("control", "ted")):
        case = data.data[data.target == name].iloc[0]
        volume = sitk.GetArrayFromImage(case["image"])
        mask = sitk.GetArrayFromImage(case["mask"])
        fat = np.median(volume[mask == data.mask_labels["fat"]])
        for column, k in enumerate(slices):
            for half, ax in enumerate((axes[row, column], axes[row, column + len(slices)])):
                ax.imshow(volume[k], cmap="gray", vmin=0, vmax=1.2 * fat)
                if half:
                    shown = np.ma.masked_equal(mask[k], 0)
                    ax.imshow(shown, cmap=colours, vmin=1, vmax=8, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, fontsize=9)
    figure.legend(
        handles=[
            Patch(color=colour, label=label.replace("_", " "))
            for label, colour in zip(data.mask_labels, PALETTE, strict=False)
        ],
        ncols=8,
        loc="lower center",
        fontsize=6,
        frameon=False,
        handlelength=1,
        columnspacing=1,
    )
    figure.suptitle("Synthetic orbits: make_orbit_mri", fontsize=10)
    figure.subplots_adjust(left=0.03, right=0.995, top=0.9, bottom=0.08)
    save(figure, STATIC / "synthetic_orbit.png", Image.Quantize.MAXCOVERAGE)


if __name__ == "__main__":
    cells()
    orbit()
