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
from skcyto.utils._plotting import choose_fonts, get_figure_and_axes, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_SIZE = 8.5  # points
_STEP = 0.55  # between two names, in units of the axes


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
        cd, half = self.result.critical_difference, (k + 1) // 2
        names = [wrap(self.models[model], 40) for model in order]
        start = 0.35 + 0.3 * len(groups)
        bottom = start + _STEP * half + 0.3
        # In inches: names left and right of the scale; lines as far apart as they are high.
        scale = max(3.0, 0.45 * k)
        sides = [text_width(part, _SIZE) + 0.8 for part in (names[:half], names[half:])]
        said = wrap(self._caption(), int((scale + sides[1]) / text_width("x", _SIZE)))
        n_lines = max(name.count("\n") for name in names) + 1
        unit = max(0.44, (0.16 * n_lines + 0.05) / _STEP)
        top = -1.5 - (said.count("\n") + 1) * 0.18 / unit
        self.figure_, self.ax_ = get_figure_and_axes(
            ax, figsize=(sum(sides) + scale, unit * (bottom - top))
        )
        ax = self.ax_
        margin = 0.06 * max(k - 1, 1)
        for place, (model, name) in enumerate(zip(order, names, strict=True)):
            left = place < half
            depth = start + _STEP * (place if left else k - 1 - place) + 0.25
            edge = 1 - margin if left else k + margin
            ax.plot([ranks[model]] * 2 + [edge], [0, depth, depth], color="#444444", linewidth=0.9)
            ax.text(
                edge,
                depth,
                f"{name} {ranks[model]:.2f} " if left else f" {ranks[model]:.2f} {name}",
                ha="right" if left else "left",
                va="center",
                fontsize=_SIZE,
            )
        for number, (first, last) in enumerate(groups):
            y = 0.3 + 0.3 * number
            ends = ranks[order[first]] - 0.03, ranks[order[last]] + 0.03
            ax.plot(ends, [y, y], color="#D55E00", linewidth=3.2, solid_capstyle="round")
        self._draw_difference(ax, said)
        ax.set_ylim(bottom, top)
        inch = max(k - 1, cd) / scale
        ax.set_xlim(1 - sides[0] * inch, max(k, 1 + cd) + sides[1] * inch)
        ax.axis("off")
        choose_fonts(ax.figure.canvas.figure)
        return self

    def _draw_difference(self, ax: Axes, said: str) -> None:
        """Draw the scale of ranks, and above it how long the critical difference is."""
        k, end = len(self.models), 1 + self.result.critical_difference
        ax.plot([1, k], [0, 0], color="black", linewidth=1)
        for rank in range(1, k + 1):
            ax.plot([rank, rank], [0, -0.18], color="black", linewidth=1)
            ax.text(rank, -0.28, str(rank), ha="center", va="bottom", fontsize=8)
        ax.plot([1, end], [-1.1, -1.1], color="black", linewidth=1.4, clip_on=False)
        for x in (1, end):
            ax.plot([x, x], [-1.2, -1.0], color="black", linewidth=1.4, clip_on=False)
        ax.text(1, -1.3, said, va="bottom", fontsize=_SIZE)

    def _caption(self) -> str:
        pvalue = self.result.pvalue
        return (
            f"critical difference {self.result.critical_difference:.2f} (Nemenyi, alpha "
            f"{self.alpha:g}); Friedman p {'< 0.001' if pvalue < 0.001 else f'= {pvalue:.3f}'}, "
            f"{len(self.datasets)} data sets"
        )

    def _groups(self, ranks: np.ndarray) -> list[tuple[int, int]]:
        """Find the longest runs of sorted ranks that lie within the critical difference."""
        found: list[tuple[int, int]] = []
        for first in range(len(ranks)):
            near = np.flatnonzero(ranks - ranks[first] < self.result.critical_difference)
            last = int(near[-1])
            if last > first and not any(last <= end for _, end in found):
                found.append((first, last))
        return found
