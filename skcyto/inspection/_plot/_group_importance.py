"""Draw the importance of groups of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from skcyto.inspection._plot._importance import AXIS_LABELS, TITLE_WIDTH, draw_bars
from skcyto.utils._plotting import choose_fonts, wrap

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from skcyto.inspection._shapley._explanation import Explanation


class GroupImportanceDisplay:
    """Bars of the importance of structures, filters or feature classes, with their intervals.

    Make it with :meth:`from_explanation`.

    Parameters
    ----------
    importance : pandas.DataFrame
        Indexed by group, most important first, with the columns ``importance``, ``ci_low``,
        ``ci_high`` and ``n_features``, as from :meth:`Explanation.group_importance`.

    group_name : str, default="group"
        What the groups are, for the axis.

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
        The bars, most important group first.

    See Also
    --------
    from_explanation : As `from_predictions` of other displays, from numbers that are there.
    Explanation.group_importance : The numbers.
    ImportanceDisplay : The same for single features.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.inspection import Explanation, GroupImportanceDisplay
    >>> names = ["nucleus__original_shape_Sphericity", "nucleus__original_glcm_Contrast"]
    >>> values = np.array([[[0.3], [0.1]], [[-0.2], [0.1]]])
    >>> explanation = Explanation(values, [0.5], np.zeros((2, 2)), feature_names=names)
    >>> display = GroupImportanceDisplay.from_explanation(explanation, "feature_class")
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['shape (1)', 'glcm (1)']
    """

    def __init__(
        self,
        importance: pd.DataFrame,
        *,
        group_name: str = "group",
        class_name: str | None = None,
        axis_label: str = "mean |SHAP value|",
    ) -> None:
        self.importance = importance
        self.group_name = group_name
        self.class_name = class_name
        self.axis_label = axis_label

    @classmethod
    def from_explanation(
        cls,
        explanation: Explanation,
        by: str | Sequence[str] | Callable[[str], str] = "feature_class",
        label: Any = None,
        *,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> GroupImportanceDisplay:
        """Draw the importance of the groups of an explanation.

        Parameters
        ----------
        explanation : Explanation
            From :func:`explain`.

        by : str, callable or sequence of str, default="feature_class"
            As for :meth:`Explanation.group_importance`.

        label : str, default=None
            Class to draw; the mean over the classes where None.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        **kwargs : dict
            Given to :meth:`Explanation.group_importance`.

        Returns
        -------
        display : GroupImportanceDisplay
        """
        return cls(
            explanation.group_importance(by, label, **kwargs),
            group_name=by.replace("_", " ") if isinstance(by, str) else "group",
            class_name=None if label is None else str(label),
            axis_label=AXIS_LABELS[explanation.response_method].replace(
                "SHAP value", "summed SHAP value"
            ),
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> GroupImportanceDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : GroupImportanceDisplay
            This display.
        """
        sizes = self.importance["n_features"]
        labelled = self.importance.set_axis(
            [f"{name or 'none'} ({size})" for name, size in sizes.items()]
        )
        self.figure_, self.ax_, self.bars_ = draw_bars(labelled, ax, self.axis_label)
        self.ax_.set_ylabel(f"{wrap(self.group_name, 20)}\n(number of features)")
        title = "All classes" if self.class_name is None else f"Class {self.class_name}"
        self.ax_.set_title(wrap(title, TITLE_WIDTH))
        choose_fonts(self.figure_)
        return self
