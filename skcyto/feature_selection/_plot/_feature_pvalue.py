"""Draw sorted p-values beside those that chance alone gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skcyto.utils._plotting import PALETTE, get_figure_and_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from skcyto.feature_selection._correlation_ttest_filter import CorrelationTTestFilter

# Smaller values say nothing more and would squeeze the others.
_FLOOR = 1e-16


class FeaturePValueDisplay:
    """Sorted p-values of the features, the level, and what is expected without any difference.

    Without any difference between the classes the p-values of m features are uniform: the i-th
    smallest is expected at i / (m + 1). Where the points follow that line, significant
    features are chance findings. Values below 1e-16 are drawn there.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    pvalues : ndarray of shape (n_features,)
        p-values; NaN for features not tested.

    alpha : float
        The level they were held against.

    correction : str, default=None
        Name of the correction the p-values went through, for the label.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    significant_, others_ : matplotlib.collections.PathCollection
        Points below the level and the others.

    expected_ : matplotlib.lines.Line2D or None
        p-values expected without any difference; None with a correction, which changes them.

    See Also
    --------
    CorrelationTTestFilter : Makes the selection.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import FeaturePValueDisplay
    >>> pvalues = np.random.default_rng(0).uniform(size=200)
    >>> display = FeaturePValueDisplay(pvalues, alpha=0.05).plot()
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(self, pvalues: ArrayLike, alpha: float, *, correction: str | None = None) -> None:
        self.pvalues = pvalues
        self.alpha = alpha
        self.correction = correction

    @classmethod
    def from_estimator(
        cls, selector: CorrelationTTestFilter, *, ax: Axes | None = None
    ) -> FeaturePValueDisplay:
        """Draw what a fitted filter found.

        Parameters
        ----------
        selector : CorrelationTTestFilter
            Fitted.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : FeaturePValueDisplay
        """
        check_is_fitted(selector)
        return cls(
            selector.corrected_pvalues_, selector.alpha, correction=selector.correction
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> FeaturePValueDisplay:
        """Draw the p-values.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : FeaturePValueDisplay
            This display.
        """
        pvalues = np.asarray(self.pvalues, dtype=np.float64)
        values = np.sort(pvalues[np.isfinite(pvalues)])
        rank = np.arange(1, len(values) + 1)
        below = values < self.alpha
        drawn = np.maximum(values, _FLOOR)

        self.figure_, self.ax_ = get_figure_and_axes(ax)
        self.significant_ = self.ax_.scatter(
            rank[below],
            drawn[below],
            s=8,
            color=PALETTE[0],
            label=f"p < {self.alpha:g}: {below.sum()} of {len(values)}",
        )
        self.others_ = self.ax_.scatter(
            rank[~below],
            drawn[~below],
            s=14,
            marker="x",
            color=PALETTE[1],
            label=f"not significant: {np.sum(~below)}",
        )
        self.expected_ = None
        if self.correction is None and len(values):
            (self.expected_,) = self.ax_.plot(
                rank,
                rank / (len(values) + 1),
                color=PALETTE[6],
                linewidth=1,
                zorder=3,  # where features follow it, it would hide behind them
                label=f"expected by chance: {self.alpha * len(values):.0f}",
            )
        self.ax_.axhline(self.alpha, color=PALETTE[6], linewidth=1, linestyle="--")
        self.ax_.set_yscale("log")
        label = "p-value" + (f", corrected ({self.correction})" if self.correction else "")
        if np.any(values < _FLOOR):
            label += f" ({_FLOOR:g} where smaller)"
        self.ax_.set(xlabel="Features, sorted", ylabel=label, title="Feature p-values")
        self.ax_.legend()
        return self
