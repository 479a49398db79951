"""Calibration curves of every model, from pooled out-of-fold probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skcyto.model_selection._plot._panels import (
    axes_for_curves,
    draw_legend,
    line_style,
    name_panels,
    panel_grid,
    wrap,
)
from skcyto.model_selection._results._curves import CalibrationCurve, calibration_curves
from skcyto.model_selection._results._data import ComparisonData
from skcyto.utils._plotting import choose_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CalibrationComparisonDisplay:
    """How often each model is right when it says how sure it is.

    Use :meth:`from_comparison`. :meth:`plot` draws all models into one plot, :meth:`plot_grid`
    a panel for each, with the share of cases in every bin below.

    Parameters
    ----------
    curves : dict of str to CalibrationCurve
        One for each model.
    caption : str or None, default=None
        Class whose probability is shown; None for that of the predicted class.

    Attributes
    ----------
    figure_ : Figure
    ax_ : Axes
        After :meth:`plot`.
    axes_ : ndarray of Axes
        After :meth:`plot_grid`.
    lines_ : list of Line2D
        One for each model.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import CalibrationComparisonDisplay
    >>> curve = (np.array([0.2, 0.8]), np.array([0.3, 0.7]), np.array([0.5, 0.5]), 0.1)
    >>> display = CalibrationComparisonDisplay({"net": curve})
    >>> display.plot().ax_.get_xlabel()
    'confidence'
    """

    def __init__(
        self,
        curves: Mapping[str, CalibrationCurve | tuple[Any, ...]],
        *,
        caption: str | None = None,
    ) -> None:
        self.curves = {name: CalibrationCurve(*curve) for name, curve in curves.items()}
        self.caption = caption

    @classmethod
    def from_comparison(
        cls,
        comparison: ComparisonData,
        *,
        pos_label: Any = None,
        models: Sequence[str] | None = None,
        n_bins: int = 15,
        ax: Axes | None = None,
    ) -> CalibrationComparisonDisplay:
        """Draw the pooled probabilities of a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            The comparison.
        pos_label : label or None, default=None
            Class whose probability is shown; None takes the positive one of two. With more classes
            None shows the probability of the predicted class against accuracy.
        models : list of str or None, default=None
            Models to draw; None takes all that give probabilities.
        n_bins : int, default=15
            Bins of equal width, of the curve and of its expected calibration error.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : CalibrationComparisonDisplay

        Raises
        ------
        ValueError
            If no model, or a model asked for, gives probabilities.
        """
        curves, caption = calibration_curves(comparison, pos_label, models, n_bins)
        display = cls(curves, caption=caption)
        return display.plot_grid() if ax is None else display.plot(ax=ax)

    def plot(self, *, ax: Axes | None = None, legend: bool = True) -> CalibrationComparisonDisplay:
        """Draw all models into one plot.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes to draw on.
        legend : bool, default=True
            Whether to draw a legend with the errors.

        Returns
        -------
        display : CalibrationComparisonDisplay
        """
        self.figure_, self.ax_ = axes_for_curves(ax, len(self.curves))
        self.lines_: list[Any] = []
        for number, (name, curve) in enumerate(self.curves.items()):
            self._draw(
                self.ax_, curve, label=f"{wrap(name)} (ECE {curve.error:.3f})", **line_style(number)
            )
        self._frame(self.ax_)
        self.ax_.set(xlabel=wrap(self._titles()[0], 46), ylabel=wrap(self._titles()[1], 46))
        if legend:
            draw_legend(self.ax_, "upper left", len(self.curves), own_figure=ax is None)
        choose_fonts(self.ax_.figure.canvas.figure)
        return self

    def plot_grid(self, *, n_columns: int | None = None) -> CalibrationComparisonDisplay:
        """Draw a panel for each model, with the share of cases in every bin as grey bars.

        Parameters
        ----------
        n_columns : int or None, default=None
            Panels in a row.

        Returns
        -------
        display : CalibrationComparisonDisplay
        """
        self.lines_ = []
        numbers = {name: number for number, name in enumerate(self.curves)}

        def draw(ax: Axes, name: str) -> None:
            curve = self.curves[name]
            width = 0.8 / max(10, len(curve.predicted))
            ax.bar(curve.predicted, curve.share, width=width, color="#dddddd", zorder=1)
            self._draw(ax, curve, color=line_style(numbers[name])["color"])
            ax.text(0.04, 0.93, f"ECE {curve.error:.3f}", transform=ax.transAxes, fontsize=8.5)
            self._frame(ax)

        self.figure_, self.axes_ = panel_grid(list(self.curves), draw, n_columns=n_columns)
        x_title, y_title = self._titles()
        name_panels(self.figure_, f"{x_title}; grey bars: share of cases", y_title)
        return self

    def _titles(self) -> tuple[str, str]:
        if self.caption is None:
            return "confidence", "accuracy"
        return f"predicted probability of {self.caption}", f"observed share of {self.caption}"

    def _draw(self, ax: Axes, curve: CalibrationCurve, **style: Any) -> None:
        self.lines_ += ax.plot(
            curve.predicted, curve.observed, marker="o", markersize=3.5, zorder=3, **style
        )

    def _frame(self, ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color="#666666", linestyle=(0, (1, 3)), linewidth=1, zorder=2)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        ax.grid(color="#eeeeee", linewidth=0.6, zorder=0)
