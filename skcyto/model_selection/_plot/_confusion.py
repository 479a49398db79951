"""Confusion matrices of every model, from pooled out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import ConfusionMatrixDisplay

from skcyto.model_selection._plot._panels import name_panels, panel_grid, title_lines, wrap
from skcyto.model_selection._results._curves import confusion_matrices
from skcyto.model_selection._results._data import ComparisonData
from skcyto.utils._plotting import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ConfusionComparisonDisplay:
    """Confusion matrices side by side: true classes in rows, predicted ones in columns.

    Parameters
    ----------
    matrices : dict of str to ndarray of shape (n_classes, n_classes)
        Number of cases, one matrix for each model.
    display_labels : array-like of shape (n_classes,)
        Names of the classes.

    Attributes
    ----------
    figure_ : Figure
    axes_ : ndarray of Axes

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import ConfusionComparisonDisplay
    >>> display = ConfusionComparisonDisplay({"net": np.array([[10, 2], [7, 14]])}, ["ill", "well"])
    >>> len(display.plot().axes_)
    1
    """

    def __init__(
        self, matrices: Mapping[str, NDArray[np.float64]], display_labels: ArrayLike
    ) -> None:
        self.matrices = matrices
        self.display_labels = display_labels

    @classmethod
    def from_comparison(
        cls,
        comparison: ComparisonData,
        *,
        models: Sequence[str] | None = None,
        normalize: bool = True,
        n_columns: int | None = None,
        cmap: Any = "Blues",
    ) -> ConfusionComparisonDisplay:
        """Draw the predictions of a comparison, counts averaged over rounds.

        Parameters
        ----------
        comparison : ModelComparison
            The comparison.
        models : list of str or None, default=None
            Models to draw; None takes all.
        normalize : bool, default=True
            Show shares of the true class, so that the diagonal is recall; False shows counts.
        n_columns : int or None, default=None
            Panels in a row.
        cmap : str or Colormap, default="Blues"
            Colours.

        Returns
        -------
        display : ConfusionComparisonDisplay
        """
        display = cls(confusion_matrices(comparison, models), comparison.classes)
        return display.plot(normalize=normalize, n_columns=n_columns, cmap=cmap)

    def plot(
        self, *, normalize: bool = True, n_columns: int | None = None, cmap: Any = "Blues"
    ) -> ConfusionComparisonDisplay:
        """Draw a panel for each model.

        Parameters
        ----------
        normalize : bool, default=True
            Show shares of the true class, so that the diagonal is recall; False shows counts.
        n_columns : int or None, default=None
            Panels in a row.
        cmap : str or Colormap, default="Blues"
            Colours.

        Returns
        -------
        display : ConfusionComparisonDisplay
        """
        labels = [wrap(str(label), 20) for label in np.asarray(self.display_labels).tolist()]
        n_classes = len(labels)
        if n_columns is None and n_classes > 4:
            n_columns = min(3, len(self.matrices))
        n_lines = max((label.count("\n") for label in labels), default=0) + 1
        side = max(2.6, 0.9 + max(0.42, 0.06 + 0.15 * n_lines) * n_classes)
        room = text_width(labels, 8)
        upright = room > (side - 0.9) / n_classes
        whole = all(np.all(m == np.round(m)) for m in map(np.asarray, self.matrices.values()))

        def draw(ax: Axes, name: str) -> None:
            counts = np.asarray(self.matrices[name], dtype=float)
            total = counts.sum(axis=1, keepdims=True)
            shown = counts / np.where(total == 0, 1, total) if normalize else counts
            panel = ConfusionMatrixDisplay(shown, display_labels=labels).plot(
                ax=ax,
                cmap=cmap,
                colorbar=False,
                values_format=".2f" if normalize else (".0f" if whole else ".1f"),
                im_kw={"vmin": 0, "vmax": 1} if normalize else {"vmin": 0},
                text_kw={"fontsize": 8 if n_classes <= 4 else 7},
            )
            # scikit-learn picks the ink by the panel's own range, but the colours span 0 to 1.
            if normalize and panel.text_ is not None:
                for text, share in zip(panel.text_.ravel(), shown.ravel(), strict=True):
                    text.set_color("white" if share > 0.55 else "#1d2329")
            ax.set(xlabel="", ylabel="")
            ax.tick_params(labelsize=8)
            ax.set_xticks(
                range(n_classes),
                labels,
                rotation=90 if upright else 0,
            )

        self.figure_, self.axes_ = panel_grid(
            list(self.matrices),
            draw,
            n_columns=n_columns,
            size=(side, side),
            extra=(room, room + 0.25 * title_lines(list(self.matrices), side) if upright else 0.0),
        )
        cases = "true (cases)" if whole else "true (cases, mean over rounds)"
        name_panels(self.figure_, "predicted", "true (each row sums to 1)" if normalize else cases)
        return self
