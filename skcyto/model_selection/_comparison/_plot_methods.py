"""Methods of a comparison that draw: thin wrappers of the displays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._critical_difference import CriticalDifferenceDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skcyto.model_selection._results._data import ModelComparison


class PlotMethods:
    """The ``plot_...`` methods and the critical difference of a comparison."""

    def plot_roc(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> ROCComparisonDisplay:
        """Draw ROC curves, mean over folds with one standard deviation.

        Parameters
        ----------
        pos_label : label, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None for all that can be.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : ROCComparisonDisplay
        """
        display = ROCComparisonDisplay.from_comparison(
            self._self, pos_label=pos_label, models=models
        )
        return cast(ROCComparisonDisplay, display.plot_grid() if ax is None else display.plot(ax))

    def plot_precision_recall(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> PrecisionRecallComparisonDisplay:
        """Draw precision-recall curves, mean over folds with one standard deviation.

        Parameters
        ----------
        pos_label : label, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None for all that can be.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : PrecisionRecallComparisonDisplay
        """
        display = PrecisionRecallComparisonDisplay.from_comparison(
            self._self, pos_label=pos_label, models=models
        )
        return cast(
            PrecisionRecallComparisonDisplay,
            display.plot_grid() if ax is None else display.plot(ax),
        )

    def plot_calibration(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> CalibrationComparisonDisplay:
        """Draw calibration curves of the pooled predictions.

        Parameters
        ----------
        pos_label : label, default=None
            Class; None takes the positive one of two, or the predicted one of more.
        models : list of str or None, default=None
            Models to draw; None for all that give probabilities.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : CalibrationComparisonDisplay
        """
        display = CalibrationComparisonDisplay.from_comparison(
            self._self, pos_label=pos_label, models=models
        )
        return display.plot_grid() if ax is None else display.plot(ax)

    def plot_confusion_matrices(
        self, *, models: Sequence[str] | None = None, normalize: bool = True
    ) -> ConfusionComparisonDisplay:
        """Draw a confusion matrix for each model.

        Parameters
        ----------
        models : list of str or None, default=None
            Models to draw; None for all.
        normalize : bool, default=True
            Show shares of the true class; False shows counts.

        Returns
        -------
        display : ConfusionComparisonDisplay
        """
        display = ConfusionComparisonDisplay.from_comparison(self._self, models=models)
        return display.plot(normalize=normalize)

    def plot_scores(
        self,
        *,
        metric: str | None = None,
        reference: str | None = None,
        axes: tuple[Axes, Axes] | None = None,
    ) -> ScoreComparisonDisplay:
        """Draw the scores of every fold beside their paired differences from a reference.

        Parameters
        ----------
        metric : str or None, default=None
            Name of the score; None for the primary one.
        reference : str or None, default=None
            Model to compare with; None for the first candidate.
        axes : pair of Axes or None, default=None
            Axes for scores and differences.

        Returns
        -------
        display : ScoreComparisonDisplay
        """
        display = ScoreComparisonDisplay.from_comparison(
            self._self, metric=metric, reference=reference
        )
        return display.plot(axes)

    def critical_difference(
        self,
        others: Mapping[str, ModelComparison],
        *,
        name: str = "this",
        metric: str | None = None,
        alpha: float = 0.05,
    ) -> CriticalDifferenceDisplay:
        """Rank the models over this and other data sets (Friedman, Nemenyi).

        Parameters
        ----------
        others : dict of str to ModelComparison
            The same models compared on other data sets, by name of the data set.
        name : str, default="this"
            Name of this data set.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        alpha : float, default=0.05
            Level of the critical difference.

        Returns
        -------
        display : CriticalDifferenceDisplay
            `result` holds ranks and tests, ``plot()`` draws the diagram.
        """
        if name in others:
            raise ValueError(f"name={name!r} is also the name of another data set")
        return CriticalDifferenceDisplay.from_comparisons(
            {name: self._self, **others}, metric=metric, alpha=alpha
        )

    @property
    def _self(self) -> ModelComparison:
        return cast("ModelComparison", self)
