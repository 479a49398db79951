"""Folds: repeated, stratified, grouped; checked before anything is fitted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import (
    BaseCrossValidator,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils import check_consistent_length

from skcyto.exceptions import MissingClassWarning
from skcyto.utils._random import make_rng
from skcyto.utils._validation import check_vector
from skcyto.utils._warnings import warn

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


class RepeatedStratifiedGroupKFold(BaseCrossValidator):
    """Stratified folds that keep groups whole, several times over.

    scikit-learn has :class:`~sklearn.model_selection.RepeatedStratifiedKFold` for independent
    cases and :class:`~sklearn.model_selection.StratifiedGroupKFold` for one round. Repeating the
    latter would not do: its shuffle decides only between groups that hold equally many cases, so
    that patients with ever different numbers of images get the same folds in every round. Here
    the order in which groups are dealt is drawn anew, large groups still early; each goes to the
    fold where it leaves the classes most evenly spread.

    Parameters
    ----------
    n_splits : int, default=5
        Folds a round, at least 2.
    n_repeats : int, default=2
        Rounds, each with a new shuffle.
    random_state : int, RandomState or None, default=None
        Seed of the shuffles; an int gives the same folds at every call.

    See Also
    --------
    compare_models : Takes such folds where groups are given.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.model_selection import RepeatedStratifiedGroupKFold
    >>> y = np.repeat([0, 1], [12, 6])
    >>> patient = np.arange(18) // 2
    >>> cv = RepeatedStratifiedGroupKFold(n_splits=3, n_repeats=2, random_state=0)
    >>> cv.get_n_splits()
    6
    >>> for train, test in cv.split(y, y, patient):
    ...     assert not set(patient[train]) & set(patient[test])
    """

    # scikit-learn's metadata routing gives groups to splitters that ask for them.
    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        n_repeats: int = 2,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.n_repeats = n_repeats
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return how many splits :meth:`split` gives.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            Folds a round times rounds.
        """
        return self.n_splits * self.n_repeats

    def split(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Iterator[Split]:
        """Yield training and test rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Only its length is used.
        y : array-like of shape (n_samples,)
            Labels to stratify by.
        groups : array-like of shape (n_samples,)
            Groups to keep whole.

        Yields
        ------
        train : ndarray of int
        test : ndarray of int

        Raises
        ------
        ValueError
            If groups are missing, or there are fewer groups than folds.
        """
        if groups is None:
            raise ValueError("RepeatedStratifiedGroupKFold needs groups")
        for name, least in (("n_splits", 2), ("n_repeats", 1)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name}={value!r} must be an int of at least {least}")
        _, y_codes = np.unique(check_vector(y, "y"), return_inverse=True)
        _, group_codes = np.unique(check_vector(groups, "groups"), return_inverse=True)
        check_consistent_length(y_codes, group_codes)
        if not len(group_codes):
            raise ValueError("y and groups are empty: there is nothing to split")
        if group_codes.max() + 1 < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} folds need as many groups; there are "
                f"{group_codes.max() + 1}"
            )
        rng = make_rng(self.random_state)
        for _ in range(self.n_repeats):
            fold_of_group = _deal(y_codes, group_codes, self.n_splits, rng)
            fold_of_case = fold_of_group[group_codes]
            for fold in range(self.n_splits):
                yield np.flatnonzero(fold_of_case != fold), np.flatnonzero(fold_of_case == fold)


def _deal(
    y_codes: NDArray[np.intp],
    group_codes: NDArray[np.intp],
    n_splits: int,
    rng: np.random.RandomState,
) -> NDArray[np.intp]:
    """Deal groups to folds, one after the other, each where it unbalances the classes least."""
    n_groups, n_classes = int(group_codes.max()) + 1, int(y_codes.max()) + 1
    counts = np.zeros((n_groups, n_classes))
    np.add.at(counts, (group_codes, y_codes), 1)
    shares = counts / counts.sum(axis=0)
    # Large groups first, since small ones can even out what they leave; but by sizes that are
    # drawn anew within a factor of two or so, or every round would be the same.
    order = np.argsort(-shares.max(axis=1) * np.exp(0.5 * rng.standard_normal(n_groups)))
    folds = np.zeros((n_splits, n_classes))
    sizes = np.zeros(n_splits)
    fold_of_group = np.zeros(n_groups, dtype=np.intp)
    for group in order:
        # Spread over folds after adding the group to each in turn: only that fold's row changes.
        total, squares = folds.sum(axis=0), (folds**2).sum(axis=0)
        added = folds + shares[group]
        mean = (total + shares[group]) / n_splits
        spread = (squares - folds**2 + added**2) / n_splits - mean**2
        unevenness = np.sqrt(np.maximum(spread, 0)).mean(axis=1)
        best = int(np.lexsort((rng.random_sample(n_splits), sizes, unevenness.round(12)))[0])
        fold_of_group[group] = best
        folds[best] = added[best]
        sizes[best] += counts[group].sum()
    return fold_of_group


class Splits(NamedTuple):
    """Folds of a comparison.

    Parameters
    ----------
    splits : list of (ndarray, ndarray)
        Training and test rows of every fold.
    repeat : ndarray of int
        Round of every fold: within a round no row is tested twice.
    description : str
        What made the folds, for reports.
    site : str, default=""
        Name of the external data that are tested, of which the training rows are no part.
    """

    splits: list[Split]
    repeat: NDArray[np.intp]
    description: str
    site: str = ""

    @property
    def one_test_set(self) -> bool:
        """Whether there is one test set, external or held out, and no cross-validation."""
        return len(self.splits) == 1

    @property
    def test_train_ratio(self) -> float:
        """Mean of test over training cases, for the corrected statistics."""
        return float(np.mean([len(test) / len(train) for train, test in self.splits]))


def make_splits(
    cv: Any, y: NDArray[Any], groups: NDArray[Any] | None, seed: int, *, reproducible: bool = False
) -> Splits:
    """Make the folds of a comparison and refuse those that would deceive.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As in scikit-learn; None takes two rounds of five stratified folds, grouped where groups
        are given; so does an int, with one round.
    y : ndarray of shape (n_samples,)
        Labels.
    groups : ndarray of shape (n_samples,) or None
        Groups.
    seed : int
        Seed of the folds that are made here.
    reproducible : bool, default=False
        Also refuse a `cv` that gives other folds at its next call.

    Raises
    ------
    ValueError
        If a fold is empty, out of range, tests a row it trains on or splits a group.

    Warns
    -----
    MissingClassWarning
        If folds lack a class.
    UserWarning
        If two rounds have the same folds.
    """
    if cv is None:
        cv = (
            RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=seed)
            if groups is None
            else RepeatedStratifiedGroupKFold(n_splits=5, n_repeats=2, random_state=seed)
        )
    elif isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        cv = (
            StratifiedKFold(int(cv), shuffle=True, random_state=seed)
            if groups is None
            else RepeatedStratifiedGroupKFold(int(cv), n_repeats=1, random_state=seed)
        )
    placeholder = np.zeros((len(y), 1))
    splitter = check_cv(cv, y, classifier=True)
    with warnings.catch_warnings():
        # Folds that lack a class are reported below, by name; groups that a splitter ignores are
        # refused below, where that splits one.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        warnings.filterwarnings("ignore", message="The groups parameter", category=UserWarning)
        splits = [
            (np.asarray(train), np.asarray(test))
            for train, test in splitter.split(placeholder, y, groups)
        ]
        again = list(splitter.split(placeholder, y, groups)) if reproducible else splits
    if len(again) != len(splits) or any(
        not np.array_equal(test, other) for (_, test), (_, other) in zip(splits, again, strict=True)
    ):
        raise ValueError(
            f"cv={cv} gives other folds at every call, so that no checkpoint can be taken up "
            "again: give it random_state=0, say"
        )
    splits = [_check_fold(i, fold, len(y), groups) for i, fold in enumerate(splits)]
    if not splits:
        raise ValueError(f"cv={cv} gives no fold")
    _warn_of_missing_classes(splits, y)
    if not hasattr(cv, "split"):
        _check_given_folds(splits)
    rounds = number_rounds(splits, len(y))
    _warn_of_equal_rounds(splits, rounds)
    return Splits(splits, rounds, _describe(cv, len(splits)))


def _describe(cv: Any, n_splits: int) -> str:
    if n_splits == 1:
        return "one given split" if not hasattr(cv, "split") else " ".join(repr(cv).split())
    if hasattr(cv, "split"):
        text = " ".join(repr(cv).split())
        return f"{text}: {n_splits} folds"
    return f"{n_splits} given folds"


def _check_fold(number: int, fold: Split, n: int, groups: NDArray[Any] | None) -> Split:
    name = f"fold {number} of cv"
    rows = []
    for part, index in zip(("training", "test"), fold, strict=True):
        if index.dtype == bool:
            index = np.flatnonzero(index)
        if index.ndim != 1 or len(index) == 0:
            raise ValueError(f"{name} has no {part} rows")
        if not np.issubdtype(index.dtype, np.integer) or index.min() < 0 or index.max() >= n:
            raise ValueError(f"{name} has {part} rows outside 0 to {n - 1}")
        rows.append(index)
    train, test = rows
    shared = np.intersect1d(train, test)
    if len(shared):
        raise ValueError(
            f"{name} tests {len(shared)} rows that it trains on (row {shared[0]}, ...)"
        )
    if len(np.unique(test)) < len(test):
        raise ValueError(f"{name} tests a row twice")
    if groups is not None:
        split = np.intersect1d(groups[train], groups[test])
        if len(split):
            shown = ", ".join(repr(group) for group in split[:3].tolist())
            raise ValueError(
                f"{name} splits {len(split)} group(s): {shown}{', ...' if len(split) > 3 else ''} "
                "are in training and test, so that the scores would be too good. Use a grouped "
                "splitter (cv=None, an int, RepeatedStratifiedGroupKFold or StratifiedGroupKFold)"
            )
    return train, test


def _check_given_folds(splits: list[Split]) -> None:
    """Refuse given folds that are several test sets, and point out one unlike the others."""
    if len(splits) == 1:
        return
    trained = np.unique(np.concatenate([train for train, _ in splits]))
    alone = [i for i, (_, test) in enumerate(splits) if not np.isin(test, trained).any()]
    if len(alone) == len(splits):
        raise ValueError(
            f"the {len(splits)} test parts of cv hold cases that no fold trains on: they are test "
            "sets of their own, whose scores no mean or test over folds fits. Give what trains as "
            "X and y, and them as external={name: (X, y, groups)}, or one split at a time as cv"
        )
    sizes = [len(train) for train, _ in splits]
    # Folds that go forward in time end with cases that none trains on.
    forward = all(
        np.isin(splits[i][0], splits[j][0]).all()
        for i, j in pairwise(np.argsort(sizes, kind="stable").tolist())
    )
    if alone and not forward:
        warn(
            f"fold {', '.join(map(str, alone))} of cv tests cases that no fold trains on. If they "
            "come from elsewhere, their scores are averaged with the others: leave them out of X "
            "and give them as external={name: (X, y, groups)}"
        )


def _warn_of_missing_classes(splits: list[Split], y: NDArray[Any]) -> None:
    classes = np.unique(y)
    for part, name in ((0, "training"), (1, "test")):
        missing: dict[Any, int] = {}
        for fold in splits:
            for label in np.setdiff1d(classes, y[fold[part]]).tolist():
                missing[label] = missing.get(label, 0) + 1
        if missing:
            listed = ", ".join(f"{label!r} in {count}" for label, count in missing.items())
            effect = (
                "no model can learn it there"
                if part == 0
                else "its recall and scores that average over classes are undefined there. Those "
                "of labels (macro F1, balanced accuracy) are taken from the pooled predictions of "
                "each round and have no test over folds; areas under curves are means over the "
                "folds that hold every class"
            )
            if len(splits) == 1:
                text = f"the {name} part lacks class {', '.join(map(repr, missing))}: {effect}"
            else:
                text = (
                    f"of {len(splits)} folds, the {name} part lacks class {listed}: {effect}. "
                    "Fewer folds would help"
                )
            warn(
                text,
                MissingClassWarning,
            )


def _warn_of_equal_rounds(splits: list[Split], rounds: NDArray[np.intp]) -> None:
    tested = [np.sort(test).tobytes() for _, test in splits]
    rows = [
        frozenset(tested[fold] for fold in np.flatnonzero(rounds == number))
        for number in np.unique(rounds)
    ]
    repeated = len(rows) - len(set(rows))
    if repeated:
        warn(
            f"{repeated} of {len(rows)} rounds of cv have the same folds as another one: they add "
            "no information, but make every interval too narrow. RepeatedStratifiedGroupKFold "
            "deals groups anew in every round"
        )


def number_rounds(splits: Sequence[Split], n: int) -> NDArray[np.intp]:
    """Return each fold's round: a new one begins where a row is tested again, or all have been."""
    rounds, seen, current = [], np.zeros(n, dtype=bool), 0
    for _, test in splits:
        if seen[test].any() or seen.all():
            seen[:] = False
            current += 1
        seen[test] = True
        rounds.append(current)
    return np.asarray(rounds)
