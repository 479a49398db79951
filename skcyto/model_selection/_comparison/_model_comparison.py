"""What :func:`compare_models` returns: the data of a comparison with all that is made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skcyto.model_selection._comparison._tests import ComparisonTests
from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._critical_difference import CriticalDifferenceDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay
from skcyto.model_selection._report._page import write_html
from skcyto.model_selection._report._tables import (
    scores_to_html,
    scores_to_latex,
    scores_to_markdown,
)
from skcyto.model_selection._results._data import check_metrics
from skcyto.model_selection._results._one_set import describe_set

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ModelComparison(ComparisonTests):
    """Models compared on the same folds: scores, tests, displays, reports.

    Made by :func:`compare_models`. Everything is worked out from the kept out-of-fold predictions;
    nothing is fitted again.

    Parameters
    ----------
    estimators : dict of str to estimator
        The candidates, unfitted.
    y : ndarray of shape (n_samples,)
        Labels.
    groups : ndarray of shape (n_samples,) or None
        Groups.
    splits : Splits
        The folds.
    measures : list of Measure
        What was scored.
    primary_metric : str
        Score that tests and displays take unless told otherwise.
    results : dict of str to list
        A record or failure for every candidate and fold.
    seed : int
        Seed of folds and candidates.
    pos_label : object or None, default=None
        The positive one of two classes; None takes the rarer one.
    classes : ndarray or None, default=None
        Labels that the candidates can know, sorted; None for those of `y`.

    Attributes
    ----------
    models : list of str
        Candidates that succeeded on every fold, in the order given.
    metrics : list of str
        Names of the scores.
    classes : ndarray
        Labels, sorted.
    scores : DataFrame
        One row per (model, repeat, fold), one column per score; losses positive. Failed candidates
        are in it with NaN for the folds that failed, and a score is NaN on a fold that lacks a
        class which it needs.
    times : DataFrame
        Seconds of fitting and predicting, by the same rows.
    failures : dict of str to list of FoldFailure
        Candidates that failed on a fold, with `fold`, `error` and `traceback` each.
    external : dict of str to ModelComparison
        The same candidates, fitted on all of these cases, on data of other places; empty unless
        :func:`compare_models` was given some. All methods are there for each.
    tested : ndarray of int
        Cases that were tested at all.

    See Also
    --------
    compare_models : Makes it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.model_selection import compare_models
    >>> X, y = load_iris(return_X_y=True)
    >>> comparison = compare_models(
    ...     {"chance": DummyClassifier(), "bayes": GaussianNB()}, X, y, cv=3, random_state=0
    ... )
    >>> comparison.models
    ['chance', 'bayes']
    >>> bool(comparison.ttest(metric="accuracy")["pvalue"].iloc[0] < 0.01)
    True
    """

    external: dict[str, ModelComparison]

    def __repr__(self) -> str:
        mean = self.table([self.primary_metric])[self.primary_metric].round(3)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        where = f" on {len(self.y)} cases, {self.splits.description}"
        if self.splits.one_test_set:
            where = f". {describe_set(self)}"
        more = f"\nexternal: {list(self.external)}" if self.external else ""
        return (
            f"ModelComparison of {len(self.models)} models{failed}{where}{more}\n"
            f"{self.primary_metric}:\n{mean}"
        )

    def _repr_html_(self) -> str:
        return scores_to_html(self, repr(self).partition("\n")[0])

    def plot_roc(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> ROCComparisonDisplay:
        """Draw ROC curves, mean over folds with one standard deviation.

        Parameters
        ----------
        pos_label : label or None, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None for all that can be.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : ROCComparisonDisplay
        """
        return ROCComparisonDisplay.from_comparison(self, pos_label=pos_label, models=models, ax=ax)

    def plot_precision_recall(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> PrecisionRecallComparisonDisplay:
        """Draw precision-recall curves, mean over folds with one standard deviation.

        Parameters
        ----------
        pos_label : label or None, default=None
            Positive class; None takes the positive one of two, or the average over all of more.
        models : list of str or None, default=None
            Models to draw; None for all that can be.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : PrecisionRecallComparisonDisplay
        """
        return PrecisionRecallComparisonDisplay.from_comparison(
            self, pos_label=pos_label, models=models, ax=ax
        )

    def plot_calibration(
        self, *, pos_label: Any = None, models: Sequence[str] | None = None, ax: Axes | None = None
    ) -> CalibrationComparisonDisplay:
        """Draw calibration curves of the pooled predictions.

        Parameters
        ----------
        pos_label : label or None, default=None
            Class; None takes the positive one of two, or the predicted one of more.
        models : list of str or None, default=None
            Models to draw; None for all that can be.
        ax : Axes or None, default=None
            Axes to draw all models on; None draws a panel for each.

        Returns
        -------
        display : CalibrationComparisonDisplay
        """
        return CalibrationComparisonDisplay.from_comparison(
            self, pos_label=pos_label, models=models, ax=ax
        )

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
        return ConfusionComparisonDisplay.from_comparison(self, models=models, normalize=normalize)

    def plot_scores(
        self,
        *,
        metric: str | None = None,
        reference: str | None = None,
        ax: tuple[Axes, Axes] | None = None,
    ) -> ScoreComparisonDisplay:
        """Draw the scores of every fold beside their paired differences from a reference.

        Parameters
        ----------
        metric : str or None, default=None
            Name of the score; None for the primary one.
        reference : str or None, default=None
            Model to compare with; None for the first candidate.
        ax : pair of Axes or None, default=None
            Axes for scores and differences.

        Returns
        -------
        display : ScoreComparisonDisplay
        """
        return ScoreComparisonDisplay.from_comparison(
            self, metric=metric, reference=reference, ax=ax
        )

    def plot_critical_difference(
        self,
        others: Mapping[str, ModelComparison],
        *,
        name: str = "this",
        metric: str | None = None,
        alpha: float = 0.05,
        ax: Axes | None = None,
    ) -> CriticalDifferenceDisplay:
        """Rank the models over this and other data sets (Friedman, Nemenyi), and draw the ranks.

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
        ax : Axes or None, default=None
            Axes to draw on.

        Returns
        -------
        display : CriticalDifferenceDisplay
            Its `result` holds ranks and tests.
        """
        if name in others:
            raise ValueError(f"name={name!r} is also the name of another data set")
        return CriticalDifferenceDisplay.from_comparisons(
            {name: self, **others}, metric=metric, alpha=alpha, ax=ax
        )

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str = "Model comparison",
        reference: str | None = None,
        rope: float = 0.01,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
    ) -> None:
        """Write the whole comparison as one self-contained page.

        Tables, tests, figures, failures and how it was all worked out, in one file that needs
        nothing else, reads on screen and prints well. Where data allow no test or figure, such as
        areas under curves for a class that one patient alone has, the page says why in its place.

        Parameters
        ----------
        path : str or path
            File to write.
        title : str, default="Model comparison"
            Heading of the page.
        reference : str or None, default=None
            Model that the others are tested against; None for the first candidate. If that one
            failed, the page says so and takes the next that succeeded.
        rope : float, default=0.01
            Differences of at most this size count as practically equivalent.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        n_resamples : int, default=1000
            Draws of the bootstrap, at least 10; 0 leaves it out.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the named reference failed.
        """
        write_html(
            self,
            path,
            title=title,
            reference=reference,
            rope=rope,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
        )

    def to_markdown(
        self, metrics: str | Sequence[str] | None = None, *, confidence_level: float = 0.95
    ) -> str:
        """Return the table of scores in Markdown, the best mean of each column bold.

        Parameters
        ----------
        metrics : str, list of str or None, default=None
            Scores to show; None for all.
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        text : str
        """
        return scores_to_markdown(self, check_metrics(self, metrics), confidence_level)

    def to_latex(
        self, metrics: str | Sequence[str] | None = None, *, confidence_level: float = 0.95
    ) -> str:
        """Return the table of scores in LaTeX for the package booktabs, best means bold.

        Parameters
        ----------
        metrics : str, list of str or None, default=None
            Scores to show; None for all.
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        text : str
        """
        return scores_to_latex(self, check_metrics(self, metrics), confidence_level)
