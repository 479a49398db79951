"""Draw sorted importances and where they are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skcyto.utils._pipelines import last_step
from skcyto.utils._plotting import PALETTE, get_figure_and_axes, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from skcyto.feature_selection._importance_threshold_selector import (
        ImportanceThresholdSelector,
    )


class ImportanceThresholdDisplay:
    """Sorted feature importances on a log scale, with the threshold.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    importances : ndarray of shape (n_features,)
        Importances, not negative.

    threshold : float
        What they were held against.

    support : ndarray of shape (n_features,), bool, default=None
        Which features are kept; those above the threshold where None.

    estimator_name : str, default=None
        Name of the model, for the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    kept_, dropped_ : matplotlib.collections.PathCollection
        Points of the kept and of the dropped features.

    line_ : matplotlib.lines.Line2D or None
        The cut; None where the threshold is not positive and so is not on a log scale.

    See Also
    --------
    ImportanceThresholdSelector : Makes the selection.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import ImportanceThresholdDisplay
    >>> importances = np.array([0.5, 0.3, 0.2, 1e-6])
    >>> display = ImportanceThresholdDisplay(importances, threshold=1e-6).plot()
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(
        self,
        importances: ArrayLike,
        threshold: float,
        *,
        support: ArrayLike | None = None,
        estimator_name: str | None = None,
    ) -> None:
        self.importances = importances
        self.threshold = threshold
        self.support = support
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, selector: ImportanceThresholdSelector, *, ax: Axes | None = None
    ) -> ImportanceThresholdDisplay:
        """Draw what a fitted selector found.

        Parameters
        ----------
        selector : ImportanceThresholdSelector
            Fitted.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ImportanceThresholdDisplay
        """
        check_is_fitted(selector)
        return cls(
            selector.importances_,
            selector.threshold_,
            support=selector.support_,
            estimator_name=type(last_step(selector.estimator)).__name__,
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ImportanceThresholdDisplay:
        """Draw the importances.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ImportanceThresholdDisplay
            This display.
        """
        importances = np.asarray(self.importances, dtype=np.float64)
        support = (
            importances > self.threshold
            if self.support is None
            else np.asarray(self.support, dtype=bool)
        )
        order = np.argsort(-importances, kind="stable")
        values, kept = importances[order], support[order]
        rank = np.arange(1, len(values) + 1)
        positive = values > 0
        zeros = int(np.sum(~positive))

        self.figure_, self.ax_ = get_figure_and_axes(ax)
        n_kept, n_dropped = int(kept.sum()), int(np.sum(~kept))
        dropped_label = f"dropped: {n_dropped}" + (f" ({zeros} of them zero)" if zeros else "")
        shown = positive & kept
        self.kept_ = self.ax_.scatter(
            rank[shown], values[shown], s=8, color=PALETTE[0], label=f"kept: {n_kept}"
        )
        shown = positive & ~kept
        self.dropped_ = self.ax_.scatter(
            rank[shown], values[shown], s=14, marker="x", color=PALETTE[1], label=dropped_label
        )
        self.line_ = None
        if 0 < self.threshold < np.inf:
            self.line_ = self.ax_.axhline(
                self.threshold,
                color=PALETTE[6],
                linewidth=1,
                linestyle="--",
                label=f"threshold {self.threshold:.3g}",
            )
        # A log axis without a positive value has nothing to show and warns.
        if positive.any():
            self.ax_.set_yscale("log")
        self.ax_.set(xlabel="Features, sorted", ylabel="Importance")
        if self.estimator_name:
            self.ax_.set_title(wrap(f"Feature importances ({self.estimator_name})", 50))
        self.ax_.legend(loc="upper right")
        return self
