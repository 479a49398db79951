"""Find the biases of the classes that score best: coordinate ascent over where decisions change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skcyto.metrics._counts import SCORES_OF_COUNTS
from skcyto.model_selection._fixed_predictions import FixedPredictions
from skcyto.model_selection._logit_bias._folds import Fold

# Scores closer than this are equal: they differ by how sums were rounded.
TOLERANCE = 1e-12
MAX_SWEEPS = 20


class Objective(Protocol):
    """Mean score of the folds as a function of the biases."""

    def value(self, bias: NDArray[np.float64]) -> float:
        """Score at some biases."""

    def along(
        self, c: int, bias: NDArray[np.float64], candidates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores with the bias of class `c` at each candidate."""


class ScorerObjective:
    """Any scikit-learn scorer of predicted labels.

    Parameters
    ----------
    folds : sequence of Fold
        Rows that are scored.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the scores' columns.
    scorer : callable
        Called with estimator, X, y and the fold's parameters.
    """

    def __init__(
        self, folds: Iterable[Fold], classes: NDArray, scorer: Callable[..., float]
    ) -> None:
        self.folds = list(folds)
        self.classes = classes
        self.scorer = scorer

    def value(self, bias: NDArray[np.float64]) -> float:
        """Score at some biases."""
        return float(np.mean([self._score(fold, bias) for fold in self.folds]))

    def along(
        self, c: int, bias: NDArray[np.float64], candidates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores with the bias of class `c` at each candidate."""
        trial = bias.copy()
        found = np.empty(len(candidates))
        for i, trial[c] in enumerate(candidates):
            found[i] = self.value(trial)
        return found

    def _score(self, fold: Fold, bias: NDArray[np.float64]) -> float:
        labels = self.classes[(fold.scores + bias).argmax(axis=1)]
        model = FixedPredictions(labels, self.classes)
        try:
            return float(self.scorer(model, fold.X, fold.y, **fold.score_params))
        except AttributeError as error:
            raise ValueError(
                "scoring must depend on predicted labels alone, since biases change nothing "
                f"else; this one asked for more: {error}"
            ) from error


class CountObjective:
    """A score made of class counts, at many biases in one pass.

    While the bias of one class grows, each row changes to that class at one value of it: after
    sorting these values, running sums hold the counts at every bias.

    Parameters
    ----------
    folds : sequence of Fold
        Rows that are scored.
    name : str
        Key of :data:`SCORES_OF_COUNTS`.
    """

    def __init__(self, folds: Iterable[Fold], name: str) -> None:
        self.score = SCORES_OF_COUNTS[name]
        self.parts = []
        for fold in folds:
            weight = np.asarray(fold.score_params.get("sample_weight", np.ones(len(fold.codes))))
            one_hot = np.eye(fold.scores.shape[1])[fold.codes]
            self.parts.append((fold.scores, weight.astype(np.float64), one_hot))

    def value(self, bias: NDArray[np.float64]) -> float:
        """Score at some biases."""
        found = []
        for scores, weight, one_hot in self.parts:
            predicted = np.eye(len(bias))[(scores + bias).argmax(axis=1)]
            right, claimed, true = (
                weight @ (predicted * one_hot),
                weight @ predicted,
                weight @ one_hot,
            )
            found.append(self.score(right[None], claimed[None], true)[0])
        return float(np.mean(found))

    def along(
        self, c: int, bias: NDArray[np.float64], candidates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores with the bias of class `c` at each candidate."""
        total = np.zeros(len(candidates))
        for scores, weight, one_hot in self.parts:
            change, rival = change_points(c, scores, bias)
            order = change.argsort(kind="stable")
            n_changed = np.searchsorted(change[order], candidates, side="left")
            weighted = weight[:, None] * np.eye(len(bias))[rival]
            claimed = _after_changes(weighted, order, n_changed)
            right = _after_changes(weighted * one_hot, order, n_changed)
            to_c = np.r_[0, weight[order].cumsum()][n_changed]
            claimed[:, c] += to_c
            right[:, c] += np.r_[0, (weight * one_hot[:, c])[order].cumsum()][n_changed]
            total += self.score(right, claimed, weight @ one_hot)
        return total / len(self.parts)


def _after_changes(
    rows: NDArray[np.float64], order: NDArray[np.intp], n_changed: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Column sums without the first rows in an order, for several numbers of them."""
    running = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows[order], axis=0, out=running[1:])
    return running[-1] - running[n_changed]


def change_points(
    c: int, scores: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Bias of class `c` above which each row is given to it, and the row's class below.

    Parameters
    ----------
    c : int
        Position of the class.
    scores : ndarray of shape (n_samples, n_classes)
        Scores without bias.
    bias : ndarray of shape (n_classes,)
        Biases; that of `c` is not looked at.
    """
    others = scores + bias
    others[:, c] = -np.inf
    rival = others.argmax(axis=1)
    with np.errstate(invalid="ignore"):
        change = others[np.arange(len(others)), rival] - scores[:, c]
    # A fold without training cases of c never says c.
    return np.where(np.isneginf(scores[:, c]), np.inf, change), rival


def candidates(
    c: int, folds: list[Fold], bias: NDArray[np.float64], n_candidates: int
) -> NDArray[np.float64]:
    """Biases of class `c` to try: between the values at which predictions change.

    Where there are more such values than candidates, evenly spaced ranks are taken, half of them
    among the rows of class `c` and half among the others: spaced over all rows, hardly one would
    fall among those of a rare class.

    Returns
    -------
    candidates : ndarray of shape (n,)
        In ascending order; may be empty.
    """
    change = np.concatenate([change_points(c, fold.scores, bias)[0] for fold in folds])
    own = np.concatenate([fold.codes for fold in folds]) == c
    own, change = own[np.isfinite(change)], change[np.isfinite(change)]
    if not len(change):
        return change
    points = np.unique(change)
    # Nearer together than rounding: no bias lies safely between them.
    points = points[np.r_[True, np.diff(points) > 1e-9 * (1 + np.abs(points[1:]))]]
    between = np.r_[points[0] - 1, (points[:-1] + points[1:]) / 2, points[-1] + 1]
    if len(between) <= n_candidates:
        return between
    chosen = []
    for group in (own, ~own):
        # Places of the group's own change points among all, each standing for the gap above it.
        places = np.unique(np.searchsorted(points, change[group], side="right"))
        count = min(len(places), max(1, n_candidates // 2))
        if count:
            chosen.append(places[np.linspace(0, len(places) - 1, count).round().astype(int)])
    return between[np.unique(np.concatenate(chosen))]


def first_biases(folds: list[Fold], n_classes: int) -> dict[str, NDArray[np.float64]]:
    """Biases to start from: none, and those that treat all classes alike."""
    share = sum(
        np.bincount(fold.codes, fold.score_params.get("sample_weight"), minlength=n_classes)
        for fold in folds
    )
    share = np.asarray(share, dtype=np.float64)
    prior = np.log(share.sum() / np.where(share > 0, share, share.sum()))
    return {"zero": np.zeros(n_classes), "prior": prior - prior.mean()}


def ascend(
    objective: Objective,
    folds: list[Fold],
    start: NDArray[np.float64],
    n_candidates: int,
) -> list[tuple[NDArray[np.float64], float]]:
    """Move one bias at a time to where the score is highest, until none moves.

    Parameters
    ----------
    objective : Objective
        What is maximised.
    folds : list of Fold
        Rows that are scored.
    start : ndarray of shape (n_classes,)
        First biases.
    n_candidates : int
        About how many biases of a class to try at a time.

    Returns
    -------
    path : list of (ndarray, float)
        Biases and their scores, each better than the one before.
    """
    path = [(start, objective.value(start))]
    # With two classes, moving one of them is all there is to do.
    movable = range(1, 2) if len(start) == 2 else range(len(start))
    unmoved = 0
    for step in range(MAX_SWEEPS * len(movable)):
        bias, best = path[-1]
        c = movable[step % len(movable)]
        tried = candidates(c, folds, bias, n_candidates)
        trial = bias.copy()
        if len(tried):
            found = objective.along(c, bias, tried)
            # Of equally good ones the nearest: decisions change no more than they need.
            equal = np.flatnonzero(found >= found.max() - TOLERANCE)
            trial[c] = tried[equal[np.abs(tried[equal] - bias[c]).argmin()]]
            if found.max() > best + TOLERANCE:
                score = objective.value(trial)
                if score > best + TOLERANCE:
                    path.append((trial, score))
                    unmoved = 0
                    continue
        unmoved += 1
        if unmoved == len(movable):
            break
    return path


def climb(
    objective: Objective, folds: list[Fold], n_classes: int, n_candidates: int
) -> dict[str, list[tuple[NDArray[np.float64], float]]]:
    """Ascend from every start.

    Parameters
    ----------
    objective : Objective
        What is maximised.
    folds : list of Fold
        Rows that are scored.
    n_classes : int
        Number of classes.
    n_candidates : int
        About how many biases of a class to try at a time.

    Returns
    -------
    paths : dict of str to list
        Of :func:`ascend`, by name of the start.
    """
    return {
        name: ascend(objective, folds, start, n_candidates)
        for name, start in first_biases(folds, n_classes).items()
    }


def highest(paths: dict[str, list[tuple[NDArray[np.float64], float]]]) -> str:
    """Name the path that ends highest; of equally high ones that from no bias."""
    return max(paths, key=lambda name: (round(paths[name][-1][1], 12), name == "zero"))
