"""Lay pictures out on one axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.exceptions import InvalidImageError
from skcyto.utils._images._inputs import as_image_inputs
from skcyto.utils._images._inputs import explain as explain_error
from skcyto.utils._plotting import text_width, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

CAPTION_SIZE = 7
LINE = 1.35 * CAPTION_SIZE / 72  # inches


def wrap_caption(text: Any, width: float) -> str:
    """Break a caption into lines that a cell has room for.

    Parameters
    ----------
    text : object
        Shown by ``str``.
    width : float
        Of the cell in inches.

    Returns
    -------
    caption : str
    """
    return wrap(str(text), int(0.9 * width / text_width("x", CAPTION_SIZE)))


def read_pictures(images: Any, indices: Sequence[int]) -> list[np.ndarray]:
    """Read some images.

    Parameters
    ----------
    images : sequence of paths, PIL images or arrays
        In any form that the embedder takes.
    indices : sequence of int
        Which of them.

    Returns
    -------
    pictures : list of ndarray of shape (height, width, 3), uint8

    Raises
    ------
    InvalidImageError
        If one of them cannot be read.
    """
    inputs = as_image_inputs(images)
    pictures = []
    for index in indices:
        try:
            pictures.append(np.asarray(inputs.load(index).decode()))
        except MemoryError:
            raise
        except Exception as error:  # Each of Pillow's decoders fails in its own way.
            raise InvalidImageError(
                f"{inputs.name(index)} cannot be drawn: {explain_error(error)}"
            ) from error
    return pictures


def place_cell(
    ax: Axes,
    row: int,
    column: int,
    n_rows: int,
    n_columns: int,
    *,
    caption: float,
    left: float = 0.0,
    width: float = 1.0,
) -> Axes:
    """Make a frameless axes at one place of a grid inside another axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes that hold the grid.
    row, column : int
        Place, from the upper left.
    n_rows, n_columns : int
        Size of the grid.
    caption : float
        Share of a cell's height that is left free below the picture.
    left, width : float
        Part of the outer axes that the grid takes.

    Returns
    -------
    cell : matplotlib.axes.Axes
    """
    cell_width, cell_height = width / n_columns, 1.0 / n_rows
    gap = 0.03 * cell_width
    cell = ax.inset_axes(
        (
            left + column * cell_width + gap,
            1.0 - (row + 1) * cell_height + caption * cell_height,
            cell_width - 2 * gap,
            (1.0 - caption) * cell_height,
        )
    )
    cell.set(xticks=[], yticks=[], anchor="S")
    cell.spines[:].set_visible(False)
    return cell
