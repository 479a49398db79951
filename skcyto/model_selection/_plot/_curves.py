"""ROC and precision-recall curves of every model, with the spread over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from skcyto.model_selection._plot._panels import (
    GREY,
    axes_for_curves,
    draw_legend,
    line_style,
    name_panels,
    panel_grid,
    wrap,
)
from skcyto.model_selection._results._curves import GRID, precision_recall_curves, roc_curves
from skcyto.model_selection._results._data import ComparisonData
from skcyto.utils._plotting import choose_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more curves than this the bands of one plot hide one another.
_MOST_BANDS = 3


class _FoldCurveDisplay:
    """Curves over a common grid, mean and one standard deviation over folds.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Grid.
    curves : dict of str to ndarray of shape (n_folds, n_points)
        Values on the grid, fold by fold.
    areas : dict of str to ndarray of shape (n_folds,)
        Area under each fold's own curve.
    caption : str, default=""
        Class or classes, for the axes.
    chance : float or None, default=None
        Height of the line of a model that knows nothing; None for the diagonal.
    """

    _x_title: ClassVar[str]
    _y_title: ClassVar[str]
    _area: ClassVar[str]
    _legend: ClassVar[str]

    def __init__(
        self,
        x: NDArray[np.float64],
        curves: Mapping[str, NDArray[np.float64]],
        areas: Mapping[str, NDArray[np.float64]],
        *,
        caption: str = "",
        chance: float | None = None,
    ) -> None:
        self.x = x
        self.curves = curves
        self.areas = areas
        self.caption = caption
        self.chance = chance

    def plot(
        self, *, ax: Axes | None = None, band: bool | None = None, legend: bool = True
    ) -> Self:
        """Draw all models into one plot.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes to draw on.
        band : bool or None, default=None
            Whether to draw the spread over folds; None draws it for up to three models.
        legend : bool, default=True
            Whether to draw a legend with the areas.

        Returns
        -------
        display : Display
            With `figure_`, `ax_`, `lines_` and `bands_`.
        """
        self.figure_, self.ax_ = axes_for_curves(ax, len(self.curves))
        self.lines_: list[Any] = []
        self.bands_: list[Any] = []
        self._draw_chance(self.ax_)
        for number, name in enumerate(self.curves):
            self._draw(
                self.ax_,
                name,
                band=len(self.curves) <= _MOST_BANDS if band is None else band,
                label=f"{wrap(name)} ({self._describe_area(name)})",
                **line_style(number),
            )
        self._frame(self.ax_)
        if legend:
            draw_legend(self.ax_, self._legend, len(self.curves), own_figure=ax is None)
        choose_fonts(self.ax_.figure.canvas.figure)
        return self

    def plot_grid(self, *, n_columns: int | None = None) -> Self:
        """Draw a panel for each model: its mean with the spread over folds, the others in grey.

        Parameters
        ----------
        n_columns : int or None, default=None
            Panels in a row.

        Returns
        -------
        display : Display
            With `figure_`, `axes_`, `lines_` and `bands_`.
        """
        self.lines_, self.bands_ = [], []
        numbers = {name: number for number, name in enumerate(self.curves)}

        def draw(ax: Axes, name: str) -> None:
            self._draw_chance(ax)
            for other, curves in self.curves.items():
                if other != name:
                    ax.plot(self.x, curves.mean(axis=0), color=GREY, linewidth=0.7, zorder=1)
            colour = line_style(numbers[name])["color"]
            self._draw(ax, name, band=True, label=None, color=colour)
            left = self._legend.endswith("left")
            ax.text(
                0.04 if left else 0.96,
                0.05,
                self._describe_area(name),
                transform=ax.transAxes,
                ha="left" if left else "right",
                fontsize=8.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
            )
            self._frame(ax, titles=False)

        self.figure_, self.axes_ = panel_grid(list(self.curves), draw, n_columns=n_columns)
        name_panels(
            self.figure_, self._with_caption(self._x_title), self._with_caption(self._y_title)
        )
        return self

    def _with_caption(self, title: str) -> str:
        return f"{title} ({self.caption})" if self.caption else title

    def _describe_area(self, name: str) -> str:
        areas = self.areas[name]
        spread = f" ± {areas.std(ddof=1):.3f}" if len(areas) > 1 else ""
        return f"{self._area} {areas.mean():.3f}{spread}"

    def _draw(self, ax: Axes, name: str, *, band: bool, label: str | None, **style: Any) -> None:
        curves = self.curves[name]
        mean = curves.mean(axis=0)
        self.lines_ += ax.plot(self.x, mean, label=label, linewidth=1.6, zorder=3, **style)
        if band and len(curves) > 1:
            spread = curves.std(axis=0, ddof=1)
            low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
            self.bands_.append(
                ax.fill_between(
                    self.x, low, high, color=style["color"], alpha=0.2, linewidth=0, zorder=2
                )
            )

    def _draw_chance(self, ax: Axes) -> None:
        if self.chance is None:
            ax.plot([0, 1], [0, 1], color="#666666", linestyle=(0, (1, 3)), linewidth=1)
        else:
            ax.axhline(self.chance, color="#666666", linestyle=(0, (1, 3)), linewidth=1)

    def _frame(self, ax: Axes, *, titles: bool = True) -> None:
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        ax.grid(color="#eeeeee", linewidth=0.6, zorder=0)
        if titles:
            x_title, y_title = (self._with_caption(t) for t in (self._x_title, self._y_title))
            ax.set(xlabel=wrap(x_title, 46), ylabel=wrap(y_title, 46))


class ROCComparisonDisplay(_FoldCurveDisplay):
    """ROC curves of several models, each the mean over folds with one standard deviation.

    Use :meth:`from_comparison`. :meth:`plot` draws all models into one plot, :meth:`plot_grid`
    a panel for each.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        False positive rates.
    curves : dict of str to ndarray of shape (n_folds, n_points)
        True positive rates of every model, fold by fold.
    areas : dict of str to ndarray of shape (n_folds,)
        Area under each fold's own curve.
    caption : str, default=""
        Class or classes, for the axes.
    chance : float or None, default=None
        Height of the line of a model that knows nothing; None for the diagonal.

    Attributes
    ----------
    figure_ : Figure
    ax_ : Axes
        After :meth:`plot`.
    axes_ : ndarray of Axes
        After :meth:`plot_grid`.
    lines_, bands_ : list
        What was drawn for the models.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import ROCComparisonDisplay
    >>> x = np.linspace(0, 1, 11)
    >>> display = ROCComparisonDisplay(
    ...     x, {"net": np.stack([x**0.5, x**0.4])}, {"net": np.array([0.67, 0.71])}
    ... )
    >>> display.plot().ax_.get_xlabel()
    'false positive rate'
    """

    _x_title = "false positive rate"
    _y_title = "true positive rate"
    _area = "AUC"
    _legend = "lower right"

    @classmethod
    def from_comparison(
        cls,
        comparison: ComparisonData,
        *,
        pos_label: Any = None,
        models: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> ROCComparisonDisplay:
        """Draw the curves of a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            The comparison.
        pos_label : label or None, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None takes all that give probabilities or decision values.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : ROCComparisonDisplay
        """
        found = roc_curves(comparison, pos_label, models)
        display = cls(GRID, found.curves, found.areas, caption=found.caption)
        return display.plot_grid() if ax is None else display.plot(ax=ax)


class PrecisionRecallComparisonDisplay(_FoldCurveDisplay):
    """Precision-recall curves of several models, mean over folds with one standard deviation.

    Use :meth:`from_comparison`. :meth:`plot` draws all models into one plot, :meth:`plot_grid`
    a panel for each.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Recalls.
    curves : dict of str to ndarray of shape (n_folds, n_points)
        Precisions of every model, fold by fold.
    areas : dict of str to ndarray of shape (n_folds,)
        Average precision of each fold.
    caption : str, default=""
        Class or classes, for the axes.
    chance : float or None, default=None
        Precision of a model that knows nothing: the share of the class.

    Attributes
    ----------
    figure_ : Figure
    ax_ : Axes
        After :meth:`plot`.
    axes_ : ndarray of Axes
        After :meth:`plot_grid`.
    lines_, bands_ : list
        What was drawn for the models.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import PrecisionRecallComparisonDisplay
    >>> x = np.linspace(0, 1, 11)
    >>> display = PrecisionRecallComparisonDisplay(
    ...     x, {"net": np.stack([1 - x**2, 1 - x**3])}, {"net": np.array([0.67, 0.75])}, chance=0.3
    ... )
    >>> display.plot().ax_.get_ylabel()
    'precision'
    """

    _x_title = "recall"
    _y_title = "precision"
    _area = "AP"
    _legend = "lower left"

    @classmethod
    def from_comparison(
        cls,
        comparison: ComparisonData,
        *,
        pos_label: Any = None,
        models: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> PrecisionRecallComparisonDisplay:
        """Draw the curves of a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            The comparison.
        pos_label : label or None, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None takes all that give probabilities or decision values.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : PrecisionRecallComparisonDisplay
        """
        found = precision_recall_curves(comparison, pos_label, models)
        display = cls(GRID, found.curves, found.areas, caption=found.caption, chance=found.chance)
        return display.plot_grid() if ax is None else display.plot(ax=ax)
