"""Critical-difference diagram: average ranks of models over several data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skcyto.model_selection._plot._panels import wrap
from skcyto.model_selection._results._data import ComparisonData, check_metric
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._statistics._ranks import friedman_nemenyi_test
from skcyto.utils._plotting import get_figure_and_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CriticalDifferenceDisplay:
    """Average ranks of models over data sets; bars join those that can't be told apart.

    Parameters
    ----------
    scores : array-like of shape (n_datasets, n_models)
        Larger is better.
    models : list of str
        Names of the models.
    datasets : list of str
        Names of the data sets.
    alpha : float, default=0.05
        Level of Nemenyi's critical difference.

    Attributes
    ----------
    result : FriedmanNemenyiResult
        Ranks, tests, critical difference.
    figure_ : Figure
    ax_ : Axes

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), 1.

    Examples
    --------
    >>> from skcyto.model_selection import CriticalDifferenceDisplay
    >>> scores = [[0.7, 0.8, 0.9], [0.6, 0.7, 0.65], [0.8, 0.81, 0.9], [0.5, 0.6, 0.7]]
    >>> display = CriticalDifferenceDisplay(scores, ["a", "b", "c"], ["w", "x", "y", "z"])
    >>> round(display.result.pvalue, 3)
    0.039
    """

    def __init__(
        self,
        scores: ArrayLike,
        models: Sequence[str],
        datasets: Sequence[str],
        *,
        alpha: float = 0.05,
    ) -> None:
        self.scores = np.asarray(scores, dtype=float)
        self.models = list(models)
        self.datasets = list(datasets)
        if self.scores.shape != (len(self.datasets), len(self.models)):
            raise ValueError(
                f"scores has shape {self.scores.shape} for {len(self.datasets)} data sets and "
                f"{len(self.models)} models"
            )
        self.alpha = alpha
        self.result = friedman_nemenyi_test(self.scores, alpha=alpha)

    @classmethod
    def from_comparisons(
        cls,
        comparisons: Mapping[str, ComparisonData],
        *,
        metric: str | None = None,
        alpha: float = 0.05,
        ax: Axes | None = None,
    ) -> CriticalDifferenceDisplay:
        """Draw the ranks of mean scores, one comparison a data set.

        Parameters
        ----------
        comparisons : dict of str to ModelComparison
            By name of the data set, all of the same models.
        metric : str or None, default=None
            Name of the score; None for the primary one of the first comparison.
        alpha : float, default=0.05
            Level of the critical difference.
        ax : Axes or None, default=None
            Axes to draw on.

        Returns
        -------
        display : CriticalDifferenceDisplay

        Raises
        ------
        ValueError
            If the models differ, one lacks the score, or there are fewer than three models or two
            data sets.
        """
        if not comparisons:
            raise ValueError("comparisons is empty")
        first = next(iter(comparisons.values()))
        rows = []
        for name, comparison in comparisons.items():
            if set(comparison.models) != set(first.models):
                missing = set(comparison.models) ^ set(first.models)
                raise ValueError(
                    f"data set {name!r} was not compared with the same models: {sorted(missing)} "
                    "are in one only (or failed)"
                )
            chosen = check_metric(comparison, metric or first.primary_metric)
            means = score_table(comparison, chosen)[chosen]["mean"].loc[first.models].to_numpy()
            if np.isnan(means).any():
                lacking = [m for m, mean in zip(first.models, means, strict=True) if np.isnan(mean)]
                raise ValueError(f"models {lacking} have no {chosen} on {name!r}")
            rows.append(means if comparison.measures[chosen].greater_is_better else -means)
        return cls(rows, first.models, list(comparisons), alpha=alpha).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> CriticalDifferenceDisplay:
        """Draw the diagram.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes to draw on.

        Returns
        -------
        display : CriticalDifferenceDisplay
        """
        k = len(self.models)
        ranks = self.result.average_ranks
        order = np.argsort(ranks, kind="stable")
        groups = self._groups(ranks[order])
        half = (k + 1) // 2
        self.figure_, self.ax_ = get_figure_and_axes(
            ax, figsize=(7.5, 1.5 + 0.24 * half + 0.12 * len(groups))
        )
        ax = self.ax_
        ax.plot([1, k], [0, 0], color="black", linewidth=1)
        for rank in range(1, k + 1):
            ax.plot([rank, rank], [0, -0.18], color="black", linewidth=1)
            ax.text(rank, -0.28, str(rank), ha="center", va="bottom", fontsize=8)
        start = 0.35 + 0.3 * len(groups)
        margin = 0.06 * max(k - 1, 1)
        for place, model in enumerate(order):
            left = place < half
            depth = start + 0.55 * (place if left else k - 1 - place) + 0.25
            edge = 1 - margin if left else k + margin
            ax.plot([ranks[model]] * 2 + [edge], [0, depth, depth], color="#444444", linewidth=0.9)
            name = wrap(self.models[model], 40)
            ax.text(
                edge,
                depth,
                f"{name} {ranks[model]:.2f} " if left else f" {ranks[model]:.2f} {name}",
                ha="right" if left else "left",
                va="center",
                fontsize=8.5,
            )
        for number, (first, last) in enumerate(groups):
            y = 0.3 + 0.3 * number
            ends = ranks[order[first]] - 0.03, ranks[order[last]] + 0.03
            ax.plot(ends, [y, y], color="#D55E00", linewidth=3.2, solid_capstyle="round")
        cd = self.result.critical_difference
        ax.plot([1, 1 + cd], [-1.1, -1.1], color="black", linewidth=1.4, clip_on=False)
        for end in (1, 1 + cd):
            ax.plot([end, end], [-1.2, -1.0], color="black", linewidth=1.4, clip_on=False)
        ax.text(
            1,
            -1.3,
            f"critical difference {cd:.2f} (Nemenyi, alpha {self.alpha:g}); Friedman p "
            f"{'< 0.001' if self.result.pvalue < 0.001 else f'= {self.result.pvalue:.3f}'}, "
            f"{len(self.datasets)} data sets",
            va="bottom",
            fontsize=8.5,
        )
        ax.set_ylim(start + 0.55 * half + 0.3, -1.9)
        span = max(k - 1, cd)
        ax.set_xlim(1 - 0.35 * span, max(k, 1 + cd) + 0.35 * span)
        ax.axis("off")
        return self

    def _groups(self, ranks: np.ndarray) -> list[tuple[int, int]]:
        """Find the longest runs of sorted ranks that lie within the critical difference."""
        found: list[tuple[int, int]] = []
        for first in range(len(ranks)):
            near = np.flatnonzero(ranks - ranks[first] < self.result.critical_difference)
            last = int(near[-1])
            if last > first and not any(last <= end for _, end in found):
                found.append((first, last))
        return found
