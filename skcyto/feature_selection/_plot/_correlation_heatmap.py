"""Draw a correlation matrix, grouped around the features that a filter kept."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from skcyto.feature_selection._correlations import correlate, standardise
from skcyto.utils._plotting import PALETTE, choose_fonts, get_figure_and_axes, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from skcyto.feature_selection._correlation_ttest_filter import CorrelationTTestFilter

_MOST_NAMES = 40
_NAME_SIZE = 7


class CorrelationHeatmapDisplay:
    """Correlations among features; each kept one is followed by those dropped for it.

    Frames mark the blocks of at least two, so a frame is what the filter turns into one feature.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    correlations : ndarray of shape (n_features, n_features)
        Correlation matrix.

    blocks : ndarray of shape (n_features,), int, default=None
        Group of each feature; equal values stand side by side. No frames where None.

    feature_names : ndarray of shape (n_features,), default=None
        Written at the vertical axis where there are at most 40.

    method : str, default="pearson"
        Which correlation, for the label.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    im_ : matplotlib.image.AxesImage
        The matrix.

    See Also
    --------
    FeatureCorrelationDisplay : One value a feature, and the cut.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import CorrelationHeatmapDisplay
    >>> r = np.array([[1, 0.95, 0.1], [0.95, 1, 0.2], [0.1, 0.2, 1]])
    >>> display = CorrelationHeatmapDisplay(r, blocks=[0, 0, 1]).plot()
    >>> len(display.ax_.patches)
    1
    """

    def __init__(
        self,
        correlations: ArrayLike,
        *,
        blocks: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        method: str = "pearson",
    ) -> None:
        self.correlations = correlations
        self.blocks = blocks
        self.feature_names = feature_names
        self.method = method

    @classmethod
    def from_estimator(
        cls,
        selector: CorrelationTTestFilter,
        X: ArrayLike,
        *,
        max_features: int = 200,
        ax: Axes | None = None,
    ) -> CorrelationHeatmapDisplay:
        """Draw the significant features of a fitted filter.

        Parameters
        ----------
        selector : CorrelationTTestFilter
            Fitted, with at least one feature kept.

        X : array-like of shape (n_samples, n_features)
            Data to correlate.

        max_features : int, default=200
            Largest number of features shown; the groups with the most members come first.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : CorrelationHeatmapDisplay

        Raises
        ------
        ValueError
            If the filter kept no feature.
        """
        check_is_fitted(selector)
        if not selector.support_.any():
            raise ValueError("the filter kept no feature, so there is nothing to correlate")
        X = validate_data(selector, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        names = selector._input_names()
        columns, blocks = _grouped_columns(selector)
        n_significant = len(columns)
        columns, blocks = columns[:max_features], blocks[:max_features]
        rows = standardise(np.asarray(X)[:, columns].T.copy(), selector.method)
        display = cls(
            np.clip(correlate(rows, rows, selector.method), -1, 1),
            blocks=blocks,
            feature_names=names[columns],
            method=selector.method,
        ).plot(ax=ax)
        display.ax_.set_xlabel(f"{len(columns)} of {n_significant} significant features")
        return display

    def plot(self, *, ax: Axes | None = None) -> CorrelationHeatmapDisplay:
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : CorrelationHeatmapDisplay
            This display.
        """
        from matplotlib.patches import Rectangle

        r = np.asarray(self.correlations)
        named = self.feature_names is not None and len(r) <= _MOST_NAMES
        names = [str(name) for name in self.feature_names] if named else []  # type: ignore[union-attr]
        side = max(5.0, 0.13 * len(names))
        figsize = (side + 2.2 + text_width(names, _NAME_SIZE), side + 0.8)
        self.figure_, self.ax_ = get_figure_and_axes(ax, figsize=figsize, layout="compressed")
        self.im_ = self.ax_.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        self.figure_.colorbar(
            self.im_, ax=self.ax_, label=f"r ({self.method.capitalize()})", shrink=0.8
        )
        if self.blocks is not None:
            blocks = np.asarray(self.blocks)
            edges = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1, append=blocks[-1] - 1))
            for start, stop in pairwise(edges.tolist()):
                if stop - start > 1:
                    size = stop - start
                    self.ax_.add_patch(
                        Rectangle(
                            (start - 0.5, start - 0.5),
                            size,
                            size,
                            fill=False,
                            edgecolor=PALETTE[6],
                            linewidth=0.8,
                        )
                    )
        if named:
            self.ax_.set_xticks([])  # the same names as on the other axis
            self.ax_.set_yticks(np.arange(len(r)), names, fontsize=_NAME_SIZE)
        self.ax_.set_title("Feature correlations")
        choose_fonts(self.figure_)
        return self


def _grouped_columns(selector: CorrelationTTestFilter) -> tuple[np.ndarray, np.ndarray]:
    """Kept columns, each followed by those dropped for it, the largest groups first."""
    correlated = ~selector.support_ & (selector.correlated_with_ >= 0)
    columns = np.flatnonzero(selector.support_ | correlated)
    leaders = np.where(selector.support_[columns], columns, selector.correlated_with_[columns])
    sizes = np.bincount(leaders, minlength=selector.n_features_in_)
    is_member = leaders != columns
    order = np.lexsort((columns, is_member, leaders, -sizes[leaders]))
    return columns[order], leaders[order]
