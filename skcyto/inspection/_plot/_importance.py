"""Draw the most important features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.utils._plotting import PALETTE, choose_fonts, get_figure_and_axes, text_width, wrap

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from skcyto.inspection._shapley._explanation import Explanation

AXIS_LABELS = {
    "predict_proba": "mean |SHAP value| (probability)",
    "decision_function": "mean |SHAP value| (decision function)",
}


_NAME_SIZE = 9
TITLE_WIDTH = 38


class ImportanceDisplay:
    """Bars of the most important features, with their intervals.

    Make it with :meth:`from_explanation`, :meth:`from_estimator` or
    :meth:`Explanation.plot_importance`.

    Parameters
    ----------
    importance : pandas.DataFrame
        Indexed by feature, most important first, with the columns ``importance``, ``ci_low`` and
        ``ci_high``, as from :meth:`Explanation.global_importance`.

    max_features : int, default=20
        Number of features to draw.

    class_name : str, default=None
        Class, for the title.

    axis_label : str
        What the bars measure.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    bars_ : matplotlib.container.BarContainer
        The bars, most important first.

    See Also
    --------
    from_explanation : As `from_predictions` of other displays, from numbers that are there.
    Explanation.global_importance : The numbers.
    GroupImportanceDisplay : The same for groups of features.

    Examples
    --------
    >>> import pandas as pd
    >>> from skcyto.inspection import ImportanceDisplay
    >>> importance = pd.DataFrame(
    ...     {"importance": [0.2, 0.1], "ci_low": [0.15, 0.05], "ci_high": [0.3, 0.2]},
    ...     index=["area", "hue"],
    ... )
    >>> display = ImportanceDisplay(importance, class_name="unhealthy").plot()
    >>> [bar.get_width() for bar in display.bars_]
    [np.float64(0.2), np.float64(0.1)]
    """

    def __init__(
        self,
        importance: pd.DataFrame,
        *,
        max_features: int = 20,
        class_name: str | None = None,
        axis_label: str = "mean |SHAP value|",
    ) -> None:
        self.importance = importance
        self.max_features = max_features
        self.class_name = class_name
        self.axis_label = axis_label

    @classmethod
    def from_explanation(
        cls,
        explanation: Explanation,
        label: Any = None,
        *,
        max_features: int = 20,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> ImportanceDisplay:
        """Draw the global importance of an explanation.

        Parameters
        ----------
        explanation : Explanation
            From :func:`explain`.

        label : str, default=None
            Class to draw; the mean over the classes where None.

        max_features : int, default=20
            Number of features to draw.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        **kwargs : dict
            Given to :meth:`Explanation.global_importance`.

        Returns
        -------
        display : ImportanceDisplay
        """
        return cls(
            explanation.global_importance(label, **kwargs),
            max_features=max_features,
            class_name=None if label is None else str(label),
            axis_label=AXIS_LABELS[explanation.response_method],
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ImportanceDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ImportanceDisplay
            This display.
        """
        shown = self.importance.head(self.max_features)
        self.figure_, self.ax_, self.bars_ = draw_bars(shown, ax, self.axis_label)
        left_out = len(self.importance) - len(shown)
        title = "All classes" if self.class_name is None else f"Class {self.class_name}"
        if left_out:
            title += f" ({len(shown)} of {len(self.importance)} features)"
        self.ax_.set_title(wrap(title, TITLE_WIDTH))
        choose_fonts(self.figure_)
        return self


def draw_bars(table: pd.DataFrame, ax: Axes | None, axis_label: str) -> tuple[Any, Axes, Any]:
    """Draw one bar with an interval for each row of a table, the first on top.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns ``importance``, ``ci_low`` and ``ci_high``.
    ax : matplotlib.axes.Axes or None
        Axes to draw on.
    axis_label : str
        What the bars measure.

    Returns
    -------
    figure : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes
    bars : matplotlib.container.BarContainer
    """
    names = [str(name) for name in table.index]
    # Bars keep their width, however long the names beside them.
    room = text_width(names, _NAME_SIZE)
    height = 1.3 + 0.26 * max(4, len(table))
    figure, ax = get_figure_and_axes(ax, figsize=(max(6.4, 4.8 + room), height))
    width = table["importance"].to_numpy()
    # A percentile interval need not hold the estimate; an error bar cannot be negative.
    below = np.maximum(width - table["ci_low"].to_numpy(), 0)
    above = np.maximum(table["ci_high"].to_numpy() - width, 0)
    bars = ax.barh(
        np.arange(len(table)),
        width,
        xerr=[below, above],
        color=PALETTE[0],
        error_kw={"ecolor": PALETTE[6], "elinewidth": 1, "capsize": 2},
    )
    ax.set_yticks(np.arange(len(table)), names, fontsize=_NAME_SIZE)
    ax.invert_yaxis()
    ax.set_xlabel(axis_label)
    ax.set_xlim(left=0)
    return figure, ax, bars
