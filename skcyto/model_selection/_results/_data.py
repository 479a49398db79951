"""What a comparison found: records, scores and what they are of."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skcyto.metrics._class_dependence import positive_class
from skcyto.model_selection._results._measures import Measure
from skcyto.model_selection._results._records import FoldFailure, FoldRecord
from skcyto.model_selection._splits import Splits
from skcyto.model_selection._statistics._pooled import BootstrapResult


class ComparisonData:
    """What the folds of a comparison gave, and the scores of it.

    Tables, tests, displays and reports are functions of it;
    :class:`~skcyto.model_selection.ModelComparison` is the same with all of them as methods, and
    has parameters and attributes described.
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
        self.external: Mapping[str, ComparisonData] = {}
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
        """
        measure = self.measures[check_metric(self, metric)]
        if measure.from_predictions is None or not measure.needs or not measure.of_labels:
            return False
        folds_of_round = np.bincount(self.splits.repeat)
        return any(
            folds_of_round[number] > 1 and measure.lacks(self.y_codes[test])
            for number, (_, test) in zip(self.splits.repeat, self.splits.splits, strict=True)
        )

    def n_whole_folds(self) -> int:
        """Return how many folds have test cases of every class."""
        return sum(
            len(np.unique(self.y_codes[test])) == len(self.classes)
            for _, test in self.splits.splits
        )

    def fold_scores(self, model: str, metric: str | None = None) -> NDArray[np.float64]:
        """Return one model's score on every fold, NaN where the fold lacks a class that it needs.

        Parameters
        ----------
        model : str
            Name of the model.
        metric : str or None, default=None
            Name of the score; None for the primary one.
        """
        row = list(self.results).index(check_model(self, model))
        by_model = self.scores[check_metric(self, metric)].to_numpy().reshape(len(self.results), -1)
        return by_model[row]

    def out_of_fold(self, model: str) -> pd.DataFrame:
        """Return the kept predictions of a model for the cases that it wasn't trained on.

        Returns
        -------
        predictions : DataFrame
            One row per case and round: `repeat`, `fold`, `sample` (position in the data),
            `y_true`, `y_pred`, and for every class a column ``predict_proba[label]`` (or
            ``decision_function[label]``).
        """
        frames = []
        for fold, record in enumerate(records_of(self, model)):
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


def records_of(comparison: ComparisonData, model: str) -> list[FoldRecord]:
    """Return what a model did on every fold."""
    found = comparison.results[check_model(comparison, model)]
    return [record for record in found if isinstance(record, FoldRecord)]


def gives_scores(comparison: ComparisonData, model: str) -> bool:
    """Say whether a model gives probabilities or decision values for the classes."""
    return all(record.predictions.kind is not None for record in records_of(comparison, model))


def gives_probabilities(comparison: ComparisonData, model: str) -> bool:
    """Say whether a model gives probabilities of the classes."""
    return records_of(comparison, model)[0].predictions.kind == "predict_proba"


def check_model(comparison: ComparisonData, model: str) -> str:
    """Return the name of a model, if it is one that succeeded.

    Raises
    ------
    ValueError
        If there is none of this name or it failed.
    """
    if not isinstance(model, str):
        raise TypeError(
            f"model={model!r} must be the name of a model; there are {comparison.models}"
        )
    if model in comparison.failures:
        raise ValueError(
            f"model {model!r} failed: {comparison.failures[model][0].error}; "
            f"failures[{model!r}] has the traceback"
        )
    if model not in comparison.models:
        raise ValueError(f"there is no model {model!r}; there are {comparison.models}")
    return model


def check_reference(comparison: ComparisonData, reference: str | None) -> str:
    """Return the name of the model that others are compared with.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    reference : str or None
        Name of the model; None for the first candidate.

    Raises
    ------
    ValueError
        If there is none of this name or it failed. No other candidate takes the place of a
        first one that failed: a reference is chosen beforehand.
    """
    if reference is not None:
        if not isinstance(reference, str) or reference not in comparison.results:
            raise ValueError(
                f"reference={reference!r}: there is no model {reference!r}; there are "
                f"{comparison.models}"
            )
        return check_model(comparison, reference)
    first = next(iter(comparison.results))
    if first in comparison.failures:
        raise ValueError(
            f"the first candidate, {first!r}, is the reference and failed: "
            f"{comparison.failures[first][0].error}; name another with reference=, one of "
            f"{comparison.models}"
        )
    return first


def check_metric(comparison: ComparisonData, metric: str | None) -> str:
    """Return the name of a score as it is in the tables.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    metric : str or None
        Name, with or without the ``neg_`` of a loss; None for the primary score.

    Raises
    ------
    ValueError
        If it was not scored.
    """
    if metric is None:
        return comparison.primary_metric
    name = metric.removeprefix("neg_") if isinstance(metric, str) else None
    if name not in comparison.measures:
        raise ValueError(f"metric {metric!r} was not scored; there are {comparison.metrics}")
    return name


def check_metrics(comparison: ComparisonData, metrics: str | Sequence[str] | None) -> list[str]:
    """Return the names of scores as they are in the tables.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    metrics : str, list of str or None
        Names; None for all.

    Raises
    ------
    ValueError
        If one was not scored.
    """
    if metrics is None:
        return comparison.metrics
    if not isinstance(metrics, Iterable):
        raise TypeError(f"metrics={metrics!r} must be a name, a list of names or None")
    return [
        check_metric(comparison, name)
        for name in ([metrics] if isinstance(metrics, str) else metrics)
    ]
