"""What :func:`compare_models` returns."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skcyto.metrics._class_dependence import positive_class
from skcyto.model_selection._comparison._model_comparison import StatisticsMethods
from skcyto.model_selection._comparison._plot_methods import PlotMethods
from skcyto.model_selection._comparison._report_methods import ReportMethods
from skcyto.model_selection._results._intervals import score_interval
from skcyto.model_selection._results._measures import Measure
from skcyto.model_selection._results._one_set import describe_set, one_set_table
from skcyto.model_selection._results._pooled_tests import pool
from skcyto.model_selection._results._records import FoldFailure, FoldRecord
from skcyto.model_selection._splits import Splits
from skcyto.model_selection._statistics._pooled import BootstrapResult

_COLUMNS = ("mean", "std", "ci_low", "ci_high")


class ModelComparison(StatisticsMethods, PlotMethods, ReportMethods):
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

    def __init__(
        self,
        *,
        estimators: Mapping[str, BaseEstimator],
        y: NDArray[Any],
        groups: NDArray[Any] | None,
        splits: Splits,
        measures: Sequence[Measure],
        primary_metric: str,
        results: Mapping[str, Sequence[FoldRecord | FoldFailure]],
        seed: int,
        pos_label: Any = None,
        classes: NDArray[Any] | None = None,
    ) -> None:
        self.estimators = dict(estimators)
        self.y = y
        self.groups = groups
        self.splits = splits
        self.measures = {measure.name: measure for measure in measures}
        self.primary_metric = primary_metric
        self.results = {name: list(records) for name, records in results.items()}
        self.seed = seed
        self.classes = np.unique(y) if classes is None else classes
        self.y_codes = np.searchsorted(self.classes, y)
        self.pos_label = positive_class(self.classes, self.y_codes, pos_label)
        self.external: dict[str, ModelComparison] = {}
        self.tested = np.unique(np.concatenate([test for _, test in splits.splits]))
        # Bootstrap draws by score, so that tables, tests and pages share them.
        self.draws: dict[str, tuple[BootstrapResult | None, str]] = {}
        self.metrics = list(self.measures)
        self.scores, self.times = self._score()
        self.failures = {
            name: failed
            for name, records in self.results.items()
            if (failed := [record for record in records if isinstance(record, FoldFailure)])
        }
        self.models = [name for name in self.results if name not in self.failures]

    def _score(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        index, scores, times = [], [], []
        for name, records in self.results.items():
            for fold, record in enumerate(records):
                index.append((name, int(self.splits.repeat[fold]), fold))
                found = self._score_record(record, fold)
                if isinstance(found, FoldFailure) or isinstance(record, FoldFailure):
                    records[fold] = found if isinstance(found, FoldFailure) else record
                    scores.append([np.nan] * len(self.metrics))
                    times.append([np.nan, np.nan])
                    continue
                scores.append(found)
                times.append([record.fit_time, record.predict_time])
        rows = pd.MultiIndex.from_tuples(index, names=["model", "repeat", "fold"])
        return (
            pd.DataFrame(scores, index=rows, columns=self.metrics, dtype=float),
            pd.DataFrame(times, index=rows, columns=["fit_time", "predict_time"], dtype=float),
        )

    def _score_record(
        self, record: FoldRecord | FoldFailure, fold: int
    ) -> list[float] | FoldFailure:
        if isinstance(record, FoldFailure):
            return record
        true = self.y_codes[self.splits.splits[fold][1]]
        try:
            return [
                record.scores[measure.name]
                if measure.from_predictions is None
                else measure.score(true, record.predictions)
                for measure in self.measures.values()
            ]
        except Exception as error:  # what one model predicts must not lose the others' hours
            return FoldFailure(fold, f"{type(error).__name__}: {error}", traceback.format_exc())

    def is_pooled(self, metric: str | None = None) -> bool:
        """Say whether a score is taken from the pooled predictions of each round.

        It is where a round has several folds, one of which lacks a class that the score needs: a
        mean over such folds would be a mean of different quantities. Areas under curves and other
        scores of probabilities are not pooled, since those of different models have no common
        ranking; they are means over the folds that hold every class.

        Parameters
        ----------
        metric : str or None, default=None
            Name of the score; None for the primary one.

        Returns
        -------
        is_pooled : bool
        """
        measure = self.measures[self.check_metric(metric)]
        if measure.from_predictions is None or not measure.needs or not measure.of_labels:
            return False
        folds_of_round = np.bincount(self.splits.repeat)
        return any(
            folds_of_round[number] > 1 and measure.lacks(self.y_codes[test])
            for number, (_, test) in zip(self.splits.repeat, self.splits.splits, strict=True)
        )

    def n_whole_folds(self) -> int:
        """Return how many folds have test cases of every class.

        Returns
        -------
        n_folds : int
        """
        return sum(
            len(np.unique(self.y_codes[test])) == len(self.classes)
            for _, test in self.splits.splits
        )

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
        measure = self.measures[self.check_metric(metric)]
        if measure.from_predictions is None:
            raise ValueError(f"{measure.name!r} needs the fitted estimator: it can't be pooled")
        rounds = pool(self, self.check_model(model))
        return np.array([measure.score(self.y_codes[rows], kept) for rows, kept in rounds])

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
        if self.splits.one_test_set:
            return one_set_table(self, self.check_metrics(metrics), confidence_level)[0]
        columns: dict[tuple[str, str], list[float]] = {}
        for metric in self.check_metrics(metrics):
            for model in self.models:
                if self.is_pooled(metric):
                    rounds = self.pooled_scores(model, metric)
                    found = rounds[~np.isnan(rounds)]
                    # Rounds score the same cases: their spread says nothing of other cases.
                    pooled = float(found.mean()) if len(found) else np.nan
                    row: tuple[float, ...] = (pooled, np.nan, np.nan, np.nan)
                    for label, value in zip(_COLUMNS, row, strict=True):
                        columns.setdefault((metric, label), []).append(value)
                    continue
                values = self.fold_scores(model, metric)
                low, high = score_interval(self, model, metric, confidence_level)
                known = values[~np.isnan(values)]
                row = (
                    float(known.mean()) if len(known) else np.nan,
                    float(known.std(ddof=1)) if len(known) > 1 else np.nan,
                    low,
                    high,
                )
                for label, value in zip(_COLUMNS, row, strict=True):
                    columns.setdefault((metric, label), []).append(value)
        return pd.DataFrame(columns, index=pd.Index(self.models, name="model"))

    def fold_scores(self, model: str, metric: str | None = None) -> NDArray[np.float64]:
        """Return one model's score on every fold, NaN where the fold lacks a class that it needs.

        Parameters
        ----------
        model : str
            Name of the model.
        metric : str or None, default=None
            Name of the score; None for the primary one.

        Returns
        -------
        scores : ndarray of shape (n_folds,)
        """
        row = list(self.results).index(self.check_model(model))
        by_model = self.scores[self.check_metric(metric)].to_numpy().reshape(len(self.results), -1)
        return by_model[row]

    def out_of_fold(self, model: str) -> pd.DataFrame:
        """Return the kept predictions of a model for the cases that it wasn't trained on.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        predictions : DataFrame
            One row per case and round: `repeat`, `fold`, `sample` (position in the data),
            `y_true`, `y_pred`, and for every class a column ``predict_proba[label]`` (or
            ``decision_function[label]``).
        """
        frames = []
        for fold, record in enumerate(self.records(model)):
            test = self.splits.splits[fold][1]
            kept = record.predictions
            columns: dict[str, Any] = {
                "repeat": int(self.splits.repeat[fold]),
                "fold": fold,
                "sample": test,
                "y_true": self.y[test],
                "y_pred": self.classes[kept.codes],
            }
            if kept.response is not None:
                for code, label in enumerate(self.classes.tolist()):
                    columns[f"{kept.kind}[{label}]"] = kept.response[:, code]
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def records(self, model: str) -> list[FoldRecord]:
        """Return what a model did on every fold.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        records : list of FoldRecord
        """
        found = self.results[self.check_model(model)]
        return [record for record in found if isinstance(record, FoldRecord)]

    def gives_scores(self, model: str) -> bool:
        """Say whether a model gives probabilities or decision values for the classes.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        gives_scores : bool
        """
        return all(record.predictions.kind is not None for record in self.records(model))

    def check_model(self, model: str) -> str:
        """Return the name of a model, if it is one that succeeded.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        model : str

        Raises
        ------
        ValueError
            If there is none of this name or it failed.
        """
        if not isinstance(model, str):
            raise TypeError(f"model={model!r} must be the name of a model; there are {self.models}")
        if model in self.failures:
            raise ValueError(
                f"model {model!r} failed: {self.failures[model][0].error}; failures[{model!r}] has "
                "the traceback"
            )
        if model not in self.models:
            raise ValueError(f"there is no model {model!r}; there are {self.models}")
        return model

    def check_reference(self, reference: str | None) -> str:
        """Return the name of the model that others are compared with.

        Parameters
        ----------
        reference : str or None
            Name of the model; None for the first candidate.

        Returns
        -------
        reference : str

        Raises
        ------
        ValueError
            If there is none of this name or it failed. No other candidate takes the place of a
            first one that failed: a reference is chosen beforehand.
        """
        if reference is not None:
            if not isinstance(reference, str) or reference not in self.results:
                raise ValueError(
                    f"reference={reference!r}: there is no model {reference!r}; there are "
                    f"{self.models}"
                )
            return self.check_model(reference)
        first = next(iter(self.results))
        if first in self.failures:
            raise ValueError(
                f"the first candidate, {first!r}, is the reference and failed: "
                f"{self.failures[first][0].error}; name another with reference=, one of "
                f"{self.models}"
            )
        return first

    def check_metric(self, metric: str | None) -> str:
        """Return the name of a score as it is in the tables.

        Parameters
        ----------
        metric : str or None
            Name, with or without the ``neg_`` of a loss; None for the primary score.

        Returns
        -------
        metric : str

        Raises
        ------
        ValueError
            If it was not scored.
        """
        if metric is None:
            return self.primary_metric
        name = metric.removeprefix("neg_") if isinstance(metric, str) else None
        if name not in self.measures:
            raise ValueError(f"metric {metric!r} was not scored; there are {self.metrics}")
        return name

    def check_metrics(self, metrics: str | Sequence[str] | None) -> list[str]:
        """Return the names of scores as they are in the tables.

        Parameters
        ----------
        metrics : str, list of str or None
            Names; None for all.

        Returns
        -------
        metrics : list of str

        Raises
        ------
        ValueError
            If one was not scored.
        """
        if metrics is None:
            return self.metrics
        if not isinstance(metrics, Iterable):
            raise TypeError(f"metrics={metrics!r} must be a name, a list of names or None")
        return [
            self.check_metric(name) for name in ([metrics] if isinstance(metrics, str) else metrics)
        ]
