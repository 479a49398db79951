"""What the displays of comparisons share: a style for every model and a panel for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.utils._plotting import PALETTE, choose_fonts, get_figure_and_axes, text_width
from skcyto.utils._plotting import wrap as break_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Yellow vanishes on white paper.
_COLOURS = tuple(colour for colour in PALETTE if colour != "#F0E442")
_DASHES = ("-", "--", ":", "-.")
GREY = "#b8b8b8"
# A legend of more entries than this hides the curves.
_MOST_INSIDE = 4


def line_style(number: int) -> dict[str, Any]:
    """Return colour and dashes of the model with this number.

    Returns
    -------
    style : dict
        Keywords for a line.
    """
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
    }


def panel_grid(
    names: Sequence[str],
    draw: Callable[[Axes, str], None],
    *,
    n_columns: int | None = None,
    size: tuple[float, float] | None = None,
    extra: tuple[float, float] = (0.0, 0.0),
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, np.ndarray]:
    """Draw one panel a model.

    Parameters
    ----------
    names : list of str
        Titles.
    draw : callable
        Called with axes and name.
    n_columns : int or None, default=None
        Panels in a row; None takes at most four, as equally filled as they come.
    size : tuple of float or None, default=None
        Width and height of a panel in inches; None takes 2.7, and more for one alone.
    extra : tuple of float, default=(0.0, 0.0)
        Room for the labels of all panels in inches.
    sharex, sharey : bool, default=True
        Whether panels share their axes.
    """
    import matplotlib.pyplot as plt

    if n_columns is None:
        n_rows = int(np.ceil(len(names) / 4))
        n_columns = int(np.ceil(len(names) / n_rows))
    n_rows = int(np.ceil(len(names) / n_columns))
    if size is None:
        size = (3.6, 3.6) if len(names) == 1 else (2.7, 2.7)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(size[0] * n_columns + extra[0], size[1] * n_rows + extra[1]),
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
        layout="constrained",
    )
    panels = axes.ravel()
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(panels, names, strict=False):
        draw(ax, name)
        ax.set_title(_wrap_title(name, size[0]), fontsize=9)
        ax.tick_params(labelsize=8)
    if sharex:
        # A column whose last panel is empty keeps its ticks on the panel above.
        for ax in panels[max(0, len(names) - n_columns) : len(names)]:
            ax.tick_params(labelbottom=True)
    return figure, panels[: len(names)]


def title_lines(names: Sequence[str], width: float) -> int:
    """Count the lines of the longest title over panels of a width in inches.

    Parameters
    ----------
    names : list of str
        Titles.
    width : float
        Of a panel.

    Returns
    -------
    n_lines : int
    """
    return max(_wrap_title(name, width).count("\n") + 1 for name in names)


def _wrap_title(name: str, width: float) -> str:
    return wrap(name, int(0.75 * width / text_width("x", 9)))


def axes_for_curves(ax: Axes | None, n_curves: int) -> tuple[Figure, Axes]:
    """Return axes for curves with a legend, on a figure with room for a long one.

    Parameters
    ----------
    ax : Axes or None
        Axes to draw on.
    n_curves : int
        Number of entries of the legend.
    """
    width = 5.2 if n_curves <= _MOST_INSIDE else 8.4
    return get_figure_and_axes(ax, figsize=(width, 5.0))


def draw_legend(ax: Axes, loc: str, n_curves: int, *, own_figure: bool) -> None:
    """Draw a legend inside the axes, or beside them where it would hide too much.

    Parameters
    ----------
    ax : Axes
        The axes.
    loc : str
        Place inside.
    n_curves : int
        Number of entries.
    own_figure : bool
        Whether there is room beside: the figure was made for these axes alone.
    """
    if n_curves <= _MOST_INSIDE:
        ax.legend(loc=loc, fontsize=8, framealpha=0.9)
    elif own_figure:
        ax.figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    else:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
        figure = ax.figure.canvas.figure
        if figure.get_layout_engine() is None:  # else the legend would lie outside of the figure
            figure.set_layout_engine("constrained")


def wrap(name: str, width: int = 30) -> str:
    """Break a name into lines.

    Parameters
    ----------
    name : str
        Name of a model.
    width : int, default=30
        Characters a line.

    Returns
    -------
    name : str
    """
    return break_lines(name, width)


def name_panels(figure: Figure, x_title: str, y_title: str) -> None:
    """Write common titles beside and below panels, in as many lines as they need.

    Parameters
    ----------
    figure : Figure
        The panels.
    x_title, y_title : str
        Titles of all axes.
    """
    # Short of the corner, where they would meet.
    width, height = (int(0.8 * side / text_width("x", 9)) for side in figure.get_size_inches())
    figure.supxlabel(break_lines(x_title, width), fontsize=9)
    figure.supylabel(break_lines(y_title, height), fontsize=9)
    choose_fonts(figure)
