"""What skcyto's displays share: axes to draw on and colours that everyone can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart under the common colour-vision deficiencies and in grey print.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)


def get_figure_and_axes(ax: Axes | None = None, **figure_kwargs: Any) -> tuple[Figure, Axes]:
    """Return the figure and axes to draw on, making them where `ax` is None.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        Axes to draw on.
    **figure_kwargs : dict
        Given to :func:`matplotlib.pyplot.subplots` where `ax` is None.

    Returns
    -------
    figure : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    if ax is None:
        figure_kwargs.setdefault("layout", "constrained")
        figure, ax = plt.subplots(**figure_kwargs)
        return figure, ax
    return ax.figure, ax  # type: ignore[return-value]
