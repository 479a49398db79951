"""Scores of every model fold by fold, beside their paired differences from a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skcyto.model_selection._plot._panels import line_style, wrap
from skcyto.model_selection._results._data import ComparisonData, check_metric, check_reference
from skcyto.model_selection._results._fold_tests import fold_tests
from skcyto.model_selection._results._one_set import one_set_tests
from skcyto.model_selection._results._rounds import pooled_scores
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._results._wording import format_pvalue, heading
from skcyto.utils._plotting import choose_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ScoreComparisonDisplay:
    """Fold scores with means and intervals; beside them the differences from a reference.

    Two models whose own intervals overlap may still differ on every single fold: the right-hand
    panel shows what the paired test sees.

    Parameters
    ----------
    scores : dict of str to ndarray of shape (n_folds,)
        Scores of each model; by round where the score is one of pooled predictions.
    intervals : DataFrame
        By model: `mean`, `ci_low`, `ci_high`.
    tests : DataFrame
        By model, without the reference: `difference`, `ci_low`, `ci_high`, `p_holm`.
    reference : str
        The reference.
    title : str, default="score"
        Name of the score.
    rope : float or None, default=0.01
        Differences up to this size are shaded as practically equivalent.

    Attributes
    ----------
    figure_ : Figure
    axes_ : ndarray of Axes, shape (2,)
        Scores and differences.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.model_selection import ScoreComparisonDisplay, compare_models
    >>> X, y = load_iris(return_X_y=True)
    >>> comparison = compare_models(
    ...     {"majority": DummyClassifier(), "naive Bayes": GaussianNB()}, X, y, random_state=0
    ... )
    >>> display = ScoreComparisonDisplay.from_comparison(comparison, metric="f1_macro")
    >>> display.axes_[0].get_xlabel()
    'macro F1'
    """

    def __init__(
        self,
        scores: Mapping[str, NDArray[np.float64]],
        intervals: pd.DataFrame,
        tests: pd.DataFrame,
        reference: str,
        *,
        title: str = "score",
        rope: float | None = 0.01,
    ) -> None:
        self.scores = scores
        self.intervals = intervals
        self.tests = tests
        self.reference = reference
        self.title = title
        self.rope = rope

    @classmethod
    def from_comparison(
        cls,
        comparison: ComparisonData,
        *,
        metric: str | None = None,
        reference: str | None = None,
        confidence_level: float = 0.95,
        rope: float | None = 0.01,
        ax: tuple[Axes, Axes] | None = None,
    ) -> ScoreComparisonDisplay:
        """Draw scores and tests of a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            The comparison.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        reference : str or None, default=None
            Model to compare with; None for the first candidate.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        rope : float or None, default=0.01
            Differences up to this size are shaded as practically equivalent.
        ax : pair of Axes or None, default=None
            Axes for scores and differences.

        Returns
        -------
        display : ScoreComparisonDisplay
        """
        metric = check_metric(comparison, metric)
        reference = check_reference(comparison, reference)
        intervals = score_table(comparison, metric, confidence_level=confidence_level)[metric]
        if comparison.is_pooled(metric):
            scores = {name: pooled_scores(comparison, name, metric) for name in comparison.models}
            tests = pd.DataFrame(
                {"difference": intervals["mean"] - intervals["mean"][reference]},
                columns=["difference", "ci_low", "ci_high", "p_holm"],
            ).drop(index=reference)
        else:
            scores = {name: comparison.fold_scores(name, metric) for name in comparison.models}
            test = one_set_tests if comparison.splits.one_test_set else fold_tests
            tests = test(comparison, reference, metric, confidence_level).droplevel("reference")
        title = heading(comparison, metric)
        return cls(scores, intervals, tests, reference, title=title, rope=rope).plot(ax=ax)

    def plot(self, *, ax: tuple[Axes, Axes] | None = None) -> ScoreComparisonDisplay:
        """Draw both panels.

        Parameters
        ----------
        ax : pair of Axes or None, default=None
            Axes for scores and differences.

        Returns
        -------
        display : ScoreComparisonDisplay
        """
        import matplotlib.pyplot as plt

        names = list(self.scores)
        if ax is None:
            lines = sum(wrap(name).count("\n") + 1 for name in names)
            height = 1.3 + 0.3 * max(len(names), 2) + 0.12 * (lines - len(names))
            _, ax = plt.subplots(
                1, 2, figsize=(10, height), layout="constrained", width_ratios=(1.0, 1.1)
            )
        self.axes_ = np.asarray(ax, dtype=object)
        left, right = ax
        self.figure_ = left.figure
        for number, name in enumerate(names):
            colour = line_style(number)["color"]
            self._draw_row(
                left, number, self.scores[name], self.intervals.loc[name], "mean", colour
            )
            if name == self.reference:
                right.text(
                    0, number, " reference", va="center", fontsize=8, color="#666666", zorder=4
                )
                continue
            row = self.tests.loc[name]
            difference = self.scores[name] - self.scores[self.reference]
            self._draw_row(right, number, difference, row, "difference", colour)
            if np.isnan(row["p_holm"]):
                continue
            right.text(
                1.015,
                number,
                f"p {_relation(row['p_holm'])}",
                transform=right.get_yaxis_transform(),
                va="center",
                fontsize=8,
            )
        for panel in (left, right):
            panel.set_ylim(len(names) - 0.5, -0.5)
            panel.grid(axis="x", color="#eeeeee", linewidth=0.6, zorder=0)
            panel.tick_params(labelsize=8)
            for side in ("top", "right", "left"):
                panel.spines[side].set_visible(False)
        left.set_yticks(range(len(names)), [wrap(name) for name in names])
        right.set_yticks(range(len(names)), [""] * len(names))
        left.tick_params(axis="y", length=0)
        right.tick_params(axis="y", length=0)
        right.axvline(0, color="#444444", linewidth=0.9, zorder=2)
        if self.rope:
            right.axvspan(-self.rope, self.rope, color="#f0e9d2", zorder=0.5)
        left.set_xlabel(wrap(self.title, 40))
        right.set_xlabel(wrap(f"difference in {self.title} from {self.reference}", 46))
        choose_fonts(left.figure.canvas.figure)
        return self

    def _draw_row(
        self,
        ax: Axes,
        position: int,
        values: NDArray[np.float64],
        row: pd.Series,
        mean: str,
        colour: str,
    ) -> None:
        # Dots step up and down by turns, so that equal scores stay visible.
        if len(values) == 1:  # the mean of one score is the score itself
            values = values[:0]
        offsets = position + 0.14 * np.where(np.arange(len(values)) % 2, 1, -1)
        ax.scatter(values, offsets, s=9, color=colour, alpha=0.45, linewidths=0, zorder=3)
        if np.isfinite(row["ci_low"]):
            ax.plot([row["ci_low"], row["ci_high"]], [position] * 2, color=colour, lw=2, zorder=4)
        ax.scatter(
            [row[mean]],
            [position],
            s=34,
            color=colour,
            edgecolors="white",
            linewidths=0.8,
            zorder=5,
        )


def _relation(pvalue: float) -> str:
    text = format_pvalue(pvalue)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"
