"""Draw how strongly features repeat those kept before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skcyto.utils._plotting import PALETTE, get_figure_and_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from skcyto.feature_selection._correlation_ttest_filter import CorrelationTTestFilter


class FeatureCorrelationDisplay:
    """Each feature's strongest correlation with one kept before it, sorted, with the cut.

    A steep curve at the threshold says that a slightly different threshold would keep about the
    same features.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    correlations : ndarray of shape (n_features,)
        Coefficients; NaN for features with none kept before them.

    threshold : float
        What their magnitudes were held against.

    dropped : ndarray of shape (n_features,), bool
        Which features were dropped for their correlation.

    method : str, default="pearson"
        Which correlation, for the label.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    kept_, dropped_ : matplotlib.collections.PathCollection
        Points of the kept and of the dropped features.

    See Also
    --------
    CorrelationTTestFilter : Makes the selection.
    CorrelationHeatmapDisplay : All pairs, as a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import FeatureCorrelationDisplay
    >>> correlations = np.array([np.nan, 0.2, -0.97])
    >>> dropped = np.array([False, False, True])
    >>> display = FeatureCorrelationDisplay(correlations, 0.9, dropped).plot()
    >>> display.dropped_.get_offsets().shape
    (1, 2)
    """

    def __init__(
        self,
        correlations: ArrayLike,
        threshold: float,
        dropped: ArrayLike,
        *,
        method: str = "pearson",
    ) -> None:
        self.correlations = correlations
        self.threshold = threshold
        self.dropped = dropped
        self.method = method

    @classmethod
    def from_estimator(
        cls, selector: CorrelationTTestFilter, *, ax: Axes | None = None
    ) -> FeatureCorrelationDisplay:
        """Draw what a fitted filter found.

        Parameters
        ----------
        selector : CorrelationTTestFilter
            Fitted.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : FeatureCorrelationDisplay
        """
        check_is_fitted(selector)
        return cls(
            selector.correlations_,
            selector.correlation_threshold,
            ~selector.support_,
            method=selector.method,
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> FeatureCorrelationDisplay:
        """Draw the correlations.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : FeatureCorrelationDisplay
            This display.
        """
        correlations = np.abs(np.asarray(self.correlations, dtype=np.float64))
        compared = np.isfinite(correlations)
        order = np.flatnonzero(compared)[np.argsort(-correlations[compared], kind="stable")]
        values = correlations[order]
        # The first feature of the scan was kept and compared with none.
        n_kept = int(np.sum(~np.asarray(self.dropped, dtype=bool)))
        dropped = np.asarray(self.dropped, dtype=bool)[order]
        rank = np.arange(1, len(values) + 1)

        self.figure_, self.ax_ = get_figure_and_axes(ax)
        self.dropped_ = self.ax_.scatter(
            rank[dropped],
            values[dropped],
            s=14,
            marker="x",
            color=PALETTE[1],
            label=f"dropped: {dropped.sum()}",
        )
        self.kept_ = self.ax_.scatter(
            rank[~dropped],
            values[~dropped],
            s=8,
            color=PALETTE[0],
            label=f"kept: {n_kept}",
        )
        self.ax_.axhline(
            self.threshold,
            color=PALETTE[6],
            linewidth=1,
            linestyle="--",
            label=f"threshold {self.threshold:g}",
        )
        self.ax_.set(
            xlabel="Significant features, sorted",
            ylabel=f"Largest |r| with a kept feature ({self.method.capitalize()})",
            title="Feature correlations",
            ylim=(0, 1.03),
        )
        self.ax_.legend(loc="lower left")
        return self
