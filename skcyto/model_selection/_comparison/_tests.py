"""Tables and tests of a comparison as its methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skcyto.model_selection._results._data import ComparisonData, check_metric
from skcyto.model_selection._results._fold_tests import (
    bayesian_tests,
    fold_tests,
    without_variance,
)
from skcyto.model_selection._results._one_set import one_set_tests
from skcyto.model_selection._results._pooled_tests import (
    bootstrap_intervals,
    delong_tests,
    mcnemar_tests,
)
from skcyto.model_selection._results._rounds import few_units, pooled_scores
from skcyto.model_selection._results._table import score_table
from skcyto.utils._warnings import warn


class ComparisonTests(ComparisonData):
    """The data of a comparison with tables and tests; ModelComparison adds pictures and pages."""

    def table(
        self, metrics: str | Sequence[str] | None = None, *, confidence_level: float = 0.95
    ) -> pd.DataFrame:
        """Return mean, spread and confidence interval of every model's scores.

        Parameters
        ----------
        metrics : str, list of str or None, default=None
            Scores to show; None for all.
        confidence_level : float, default=0.95
            Coverage of the interval (see Notes).

        Returns
        -------
        table : DataFrame
            One row per model; columns (score, "mean"), (score, "std") over folds,
            (score, "ci_low") and (score, "ci_high"), NaN where nothing is known of how the score
            varies. Of a score that :meth:`is_pooled`, "mean" is the mean over rounds of the score
            of their pooled predictions, and the others are NaN: see :meth:`bootstrap`. On one test
            set, external or held out, "mean" is the score on it and "std" NaN.

        Notes
        -----
        Recalls and accuracy have a binomial interval by case, or by group where there are groups;
        the area under the ROC curve one that knows that areas end at 1. Both are widened to the
        interval over folds, which allows for the training data that folds share (see
        :func:`corrected_resampled_ttest`), where folds test enough cases to tell. Scores over
        classes that lie between 0 and 1 have the interval of a share with that variance; losses
        and scores of your own have that over folds. On one test set the variance of both is that
        of bootstrap draws of cases or groups.
        """
        return score_table(self, metrics, confidence_level=confidence_level)

    def pooled_scores(self, model: str, metric: str | None = None) -> NDArray[np.float64]:
        """Return one model's score of the pooled predictions of every round.

        Parameters
        ----------
        model : str
            Name of the model.
        metric : str or None, default=None
            Name of the score; None for the primary one.

        Returns
        -------
        scores : ndarray of shape (n_rounds,)
            NaN for a round that lacks a class which the score needs.

        Raises
        ------
        ValueError
            If only the fitted estimator tells the score.
        """
        return pooled_scores(self, model, metric)

    def ttest(
        self,
        *,
        reference: str | None = None,
        metric: str | None = None,
        confidence_level: float = 0.95,
    ) -> pd.DataFrame:
        """Test every model against a reference over folds, by the corrected resampled t-test.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate; "all" for all pairs.
            Name the baseline that you had in mind beforehand: a test against the model that turned
            out best finds too much.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        confidence_level : float, default=0.95
            Coverage of the intervals, which are not corrected for the number of models.

        Returns
        -------
        table : DataFrame
            By (model, reference): `difference` (model less reference) with `ci_low` and `ci_high`,
            `t`, `df`, `pvalue` (two-sided), `p_holm` (Holm's correction over the rows),
            `effect_size` (difference over its standard deviation over folds), `n_folds`. A
            difference that is the same in all folds has no variance: no p-value and no interval,
            unless it is zero, with p-value 1.

        Raises
        ------
        ValueError
            If the reference failed, named or not: no other takes its place; the score was taken
            from pooled predictions (:meth:`is_pooled`); or there is one test set only.

        Warns
        -----
        UserWarning
            If a difference has no variance.

        See Also
        --------
        corrected_resampled_ttest : The test.
        permutation : Its like on one test set.

        Notes
        -----
        Degrees of freedom are folds of a round less one, or the independent cases of the rarest
        class less one if they are fewer: another round tests no other cases. The standard error of
        a difference of areas under ROC curves is at least that of DeLong's test.
        """
        table = fold_tests(self, reference, check_metric(self, metric), confidence_level)
        same = without_variance(table)
        if same:
            listed = ", ".join(f"{model} less {other}" for model, other in same)
            warn(
                f"the difference is the same in all folds for {listed}: it has no variance, and so "
                "no p-value and no interval"
            )
        return table

    def permutation(
        self,
        *,
        reference: str | None = None,
        metric: str | None = None,
        confidence_level: float = 0.95,
    ) -> pd.DataFrame:
        """Test every model against a reference on one test set, external or held out.

        The two predictions of each case, or of all cases of a group, are exchanged between the
        models at random.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate; "all" for all pairs.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        confidence_level : float, default=0.95
            Coverage of the intervals, which are not corrected for the number of models.

        Returns
        -------
        table : DataFrame
            By (model, reference): `difference` (model less reference) with `ci_low` and `ci_high`
            of :meth:`bootstrap`, `pvalue` (two-sided), `p_holm` (Holm's correction over the rows)
            and `n_independent`: the number of groups, or of cases without them.

        Raises
        ------
        ValueError
            If there are folds, or the reference failed.
        """
        return one_set_tests(self, reference, check_metric(self, metric), confidence_level)

    def bayesian(
        self, *, reference: str | None = None, metric: str | None = None, rope: float = 0.01
    ) -> pd.DataFrame:
        """Return how probable it is that a model is better than a reference, equivalent or worse.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate; "all" for all pairs.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        rope : float, default=0.01
            Differences of at most this size count as practically equivalent.

        Returns
        -------
        table : DataFrame
            By (model, reference): `p_better`, `p_equivalent`, `p_worse` (for a loss, smaller is
            better), `difference` with `hdi_low` and `hdi_high`, `n_folds`. All but the difference
            are NaN where it is the same in all folds.

        Raises
        ------
        ValueError
            If there is one test set only, external or held out.

        See Also
        --------
        bayesian_correlated_ttest : The model behind it.
        """
        return bayesian_tests(self, reference, check_metric(self, metric), rope)

    def delong(
        self, *, reference: str | None = None, confidence_level: float = 0.95
    ) -> pd.DataFrame:
        """Test areas under ROC curves of pooled out-of-fold predictions with DeLong's test.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate; "all" for all pairs.
        confidence_level : float, default=0.95
            Coverage of the intervals, which are not corrected for the number of models.

        Returns
        -------
        table : DataFrame
            By (model, reference, class): `auc`, `auc_reference`, `difference` with `ci_low` and
            `ci_high`, `t`, `df`, `pvalue`, `p_holm`. With two classes there is one row a pair,
            with more one per class against the rest. The row of a class that can't be tested,
            since its cases (or those of the rest) in a round come from fewer than two groups, is
            NaN, doesn't count in Holm's correction, and is named in a warning. Where a difference
            has no variance, its p-value is NaN.

        Raises
        ------
        ValueError
            If no class can be tested, such as where every test part holds one class, or the
            reference failed or gives no scores of classes.

        Warns
        -----
        UserWarning
            If a class can't be tested, has fewer than ten independent cases (groups where there
            are groups), or a difference has no variance.

        Notes
        -----
        Only cases of the same fold are compared: every fold has its own model, whose scores make
        no common order with those of others. Folds that hold both classes are averaged by their
        number of pairs. Areas and their covariance are averaged over rounds, which overstates the
        variance of the mean rather than understate it. With groups the covariance is that of
        clustered data. Student's t has one degree of freedom less than there are cases (or groups)
        of the rarer side. Every case trains the models that test the others: the variance is
        multiplied, and the degrees of freedom divided, by Nadeau and Bengio's factor for folds,
        about two. Models without scores for classes are left out.
        """
        found = delong_tests(self, reference, confidence_level)
        for text in found.list_warnings():
            warn(text)
        return found.table

    def mcnemar(self, *, reference: str | None = None) -> pd.DataFrame:
        """Test which model gets more cases right with McNemar's test on pooled predictions.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate; "all" for all pairs.

        Returns
        -------
        table : DataFrame
            By (model, reference): `only_model` and `only_reference` (cases that one alone gets
            right, mean over rounds), `pvalue`, `p_holm`.

        Notes
        -----
        With several rounds the p-value is twice the median of theirs, at most 1, which holds
        whatever the dependence between rounds. Groups of several cases are allowed for
        (:func:`mcnemar_test`). Every case trains the models that test the others, so that
        differing cases count less than independent ones: by Nadeau and Bengio's factor, about two.
        """
        return mcnemar_tests(self, reference)

    def bootstrap(
        self,
        *,
        reference: str | None = None,
        metric: str | None = None,
        n_resamples: int = 1000,
        confidence_level: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
    ) -> pd.DataFrame:
        """Return bootstrap intervals of scores of the pooled predictions, drawing whole groups.

        Parameters
        ----------
        reference : str or None, default=None
            Name of the model to compare with; None for the first candidate.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        n_resamples : int, default=1000
            Number of draws.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        random_state : int, RandomState or None, default=None
            Seed of the draws; None takes that of the comparison.

        Returns
        -------
        table : DataFrame
            By model: `estimate` with `ci_low` and `ci_high`, `difference` from the reference with
            `difference_low` and `difference_high`.

        Raises
        ------
        ValueError
            If the score needs the fitted estimator, too few groups have the rarest class, or no
            test part holds two classes and the score orders cases.

        Warns
        -----
        UserWarning
            If there are fewer than ten independent cases (groups where there are groups) of the
            rarest class.

        Notes
        -----
        A round's predictions are pooled and scored; rounds are averaged. Scores that order cases,
        such as areas under curves, are worked out within folds and combined, since every fold has
        its own model. Intervals are by Student's t with the standard error of the draws and the
        independent cases of the rarest class less one degrees of freedom, since percentiles of few
        cases are too narrow; those of a score itself end where the score does, and recalls and
        accuracy have the interval of :meth:`table` by case or group.
        """
        seed = self.seed if random_state is None else random_state
        metric = check_metric(self, metric)
        table = bootstrap_intervals(self, reference, metric, n_resamples, confidence_level, seed)
        if few := few_units(self):
            warn(f"the bootstrap rests on {few} of the rarest class: its intervals are rough")
        return table
