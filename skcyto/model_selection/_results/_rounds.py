"""Pooled out-of-fold predictions of each round, and the areas within their folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skcyto.model_selection._results._data import (
    ComparisonData,
    check_metric,
    gives_scores,
    records_of,
)
from skcyto.model_selection._results._records import Predictions
from skcyto.model_selection._splits import Splits
from skcyto.model_selection._statistics._delong import Areas, stratified_areas

# Fewer independent cases of a class than these make p-values rough.
FEW = 10


def pool(comparison: ComparisonData, model: str) -> list[tuple[NDArray[np.intp], Predictions]]:
    """Pool the out-of-fold predictions of each round.

    Returns
    -------
    rounds : list of (ndarray, Predictions)
        Rows that the round tested, each once, and what was predicted for them.
    """
    records = records_of(comparison, model)
    rounds = []
    for number in np.unique(comparison.splits.repeat):
        folds = np.flatnonzero(comparison.splits.repeat == number)
        kept = [records[fold].predictions for fold in folds]
        responses = [item.response for item in kept if item.response is not None]
        rounds.append(
            (
                np.concatenate([comparison.splits.splits[fold][1] for fold in folds]),
                Predictions(
                    np.concatenate([item.codes for item in kept]),
                    np.concatenate(responses) if len(responses) == len(kept) else None,
                    kept[0].kind,
                ),
            )
        )
    return rounds


def pooled_scores(
    comparison: ComparisonData, model: str, metric: str | None = None
) -> NDArray[np.float64]:
    """See :meth:`ModelComparison.pooled_scores`.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    model : str
        Name of the model.
    metric : str or None, default=None
        Name of the score; None for the primary one.
    """
    measure = comparison.measures[check_metric(comparison, metric)]
    if measure.from_predictions is None:
        raise ValueError(f"{measure.name!r} needs the fitted estimator: it can't be pooled")
    rounds = pool(comparison, model)
    return np.array([measure.score(comparison.y_codes[rows], kept) for rows, kept in rounds])


def shared_training_factor(splits: Splits) -> float:
    r"""By how much pooled predictions vary more than those for a set that trains no model.

    Every case is tested by a model that learned from the cases of the other folds, and those by
    models that learned from it: what a test says of new cases of one fixed model is too sure for
    such predictions, up to a factor of two in the variance for models that know nothing. The
    factor here is that of Nadeau and Bengio for the mean of K folds,
    :math:`1 + K n_\text{test} / n_\text{train}`.

    Returns
    -------
    factor : float
        1 for one test set.
    """
    n_folds = len(splits.splits)
    if n_folds == 1:
        return 1.0
    a_round = n_folds / (int(splits.repeat.max()) + 1)
    return 1 + a_round * splits.test_train_ratio


def areas_of_class(
    comparison: ComparisonData,
    pooled: dict[str, list[tuple[NDArray[np.intp], Predictions]]],
    code: int,
) -> Areas:
    """Areas of all models for one class, from the pairs of cases within folds.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    pooled : dict of str to list
        What :func:`pool` gives for each model.
    code : int
        The class, against the rest.

    Returns
    -------
    areas : Areas
        Means over rounds of areas and covariance, sizes of the round with the fewest groups.

    Raises
    ------
    ValueError
        If the class can't be tested.
    """
    rounds = []
    folds = fold_of_cases(comparison)
    for number, (rows, _) in enumerate(next(iter(pooled.values()))):
        scores = [_response(rounds[number][1])[:, code] for rounds in pooled.values()]
        groups = None if comparison.groups is None else comparison.groups[rows]
        try:
            found = stratified_areas(
                comparison.y_codes[rows] == code,
                np.vstack(scores),
                groups=groups,
                strata=folds[number],
            )
        except ValueError as error:
            raise ValueError(f"{error} in round {number + 1}") from error
        rounds.append(found)
    fewest = min(rounds, key=lambda found: found.df)
    return fewest._replace(
        areas=np.mean([found.areas for found in rounds], axis=0),
        covariance=np.mean([found.covariance for found in rounds], axis=0),
    )


def fold_of_cases(comparison: ComparisonData) -> list[NDArray[np.intp]]:
    """Return the fold of every case that :func:`pool` lists, round by round."""
    splits = comparison.splits
    return [
        np.concatenate(
            [
                np.full(len(splits.splits[fold][1]), fold)
                for fold in np.flatnonzero(splits.repeat == number)
            ]
        )
        for number in np.unique(splits.repeat)
    ]


def rarest_units(comparison: ComparisonData) -> int:
    """Count the independent cases of the class that has fewest: groups, or cases without them."""
    return min(len(sizes) for sizes in sizes_by_class(comparison))


def few_units(comparison: ComparisonData) -> str:
    """Count the independent cases of the rarest class where they are so few that tests are rough.

    Returns
    -------
    few : str
        Such as "7 groups"; empty where there are enough.
    """
    number = rarest_units(comparison)
    unit = "cases" if comparison.groups is None else "groups"
    return f"{number} {unit}" if number < FEW else ""


def sizes_by_class(comparison: ComparisonData) -> list[NDArray[np.intp]]:
    """Count the tested cases of every independent unit of every class.

    Returns
    -------
    sizes : list of ndarray of int
        Cases of each group, ones without groups, by class; without classes of which no case was
        tested.
    """
    tested = comparison.tested
    units = tested if comparison.groups is None else comparison.groups[tested]
    codes = comparison.y_codes[tested]
    return [np.unique(units[codes == code], return_counts=True)[1] for code in np.unique(codes)]


def count_independent(comparison: ComparisonData) -> int:
    """Count what a variance over folds rests on.

    Returns
    -------
    number : int
        Folds of a round, or independent cases of the rarest class if they are fewer.
    """
    splits = comparison.splits
    n_folds = len(splits.splits)
    a_round = round(n_folds / (int(splits.repeat.max()) + 1))
    # Random splits make rounds of one fold each: there the splits count.
    folds = a_round if a_round > 1 else n_folds
    return max(min(folds, rarest_units(comparison)), 2)


def error_of_areas(comparison: ComparisonData, model: str, other: str, metric: str) -> float:
    """Return DeLong's standard error of a difference of areas, for folds that share training data.

    Returns
    -------
    error : float
        0 for other scores than areas under ROC curves, and where it isn't known.
    """
    if comparison.measures[metric].of_classes != "roc_auc":
        return 0.0
    if not (gives_scores(comparison, model) and gives_scores(comparison, other)):
        return 0.0
    pooled = {"model": pool(comparison, model), "other": pool(comparison, other)}
    errors = []
    for code in range(len(comparison.classes)) if len(comparison.classes) > 2 else (1,):
        try:
            covariance = areas_of_class(comparison, pooled, code).covariance
        except ValueError:  # Too few independent cases of the class.
            return 0.0
        errors.append(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0)))
    # Areas of classes may rise and fall together.
    return float(np.mean(errors) * np.sqrt(shared_training_factor(comparison.splits)))


def _response(predictions: Predictions) -> NDArray[np.float64]:
    assert predictions.response is not None
    return predictions.response
