"""The split of a training fold into rows that train and rows that choose the best epoch."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state

from skcyto.exceptions import ImbalanceWarning, MissingClassWarning
from skcyto.neural_network._samplers import largest_remainder
from skcyto.utils._warnings import warn

_FINEST = 20  # folds that groups are dealt into, for shares of more than one fold in it
_SHARE_OFF = 1.5  # times that the share of a grouped split may be off without a warning


def inner_split(
    y: NDArray[np.intp],
    *,
    validation_fraction: float | None,
    groups: NDArray | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows into training and validation, stratified by class and never across a group.

    Parameters
    ----------
    y : ndarray of int, shape (n_samples,)
        Encoded classes.
    validation_fraction : float or None
        Share of the rows that validate; None or 0 for none.
    groups : ndarray of shape (n_samples,) or None
        Rows of one group stay on one side.
    random_state : int, RandomState or None
        Chooses the rows.

    Returns
    -------
    train, valid : ndarray of int
        Sorted row numbers; `valid` is empty where there is no validation.

    Raises
    ------
    ValueError
        If all rows belong to one group.

    Notes
    -----
    Scikit-learn's :class:`~sklearn.model_selection.StratifiedShuffleSplit` refuses a class with a
    single case, which is what rare classes have. Here each class gives its largest-remainder
    quota, rounded up at most, and always keeps one case for training.
    """
    rows = np.arange(len(y))
    if not validation_fraction:
        return rows, rows[:0]
    rng = check_random_state(random_state)
    if groups is not None:
        return _grouped_split(y, groups, validation_fraction, rng)

    _, encoded, counts = np.unique(y, return_inverse=True, return_counts=True)
    shares = counts * validation_fraction
    # A class of one case cannot give its share; without the second limit a larger class would be
    # asked for it, and lose more than its own share rounded up.
    limits = np.minimum(counts - 1, np.ceil(shares).astype(np.intp))
    total = min(round(float(shares.sum())), int(limits.sum()))
    quotas = largest_remainder(shares, total, least=0, most=limits)
    if quotas.sum() == 0:
        _warn_no_validation(validation_fraction, len(y))
    valid = [
        rng.permutation(np.flatnonzero(encoded == code))[:quota]
        for code, quota in enumerate(quotas)
    ]
    chosen = np.sort(np.concatenate(valid))
    return np.setdiff1d(rows, chosen, assume_unique=True), chosen


def _warn_no_validation(validation_fraction: float, n_samples: int) -> None:
    """Say that no row can be spared."""
    warn(
        f"validation_fraction={validation_fraction} of {n_samples} rows leaves no validation "
        "case, so the best epoch is chosen by the training loss; give more rows, a larger "
        "validation_fraction, or validation_fraction=None",
        ImbalanceWarning,
    )


def _grouped_split(
    y: NDArray[np.intp],
    groups: NDArray,
    validation_fraction: float,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hold out folds that keep every class in training and mirror the class shares best."""
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError(
            "all rows given to fit belong to one group, so none can be held out for validation: "
            "set validation_fraction=None or check `groups`"
        )
    counts = np.bincount(y)
    n_held_out, n_splits = _share_in_folds(validation_fraction, min(n_groups, int(counts.max())))
    if n_splits < 2:
        _warn_no_validation(validation_fraction, len(y))
        rows = np.arange(len(y))
        return rows, rows[:0]
    with warnings.catch_warnings():
        # A class with fewer cases than folds is normal here and handled below.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        folds = [
            fold
            for _, fold in StratifiedGroupKFold(
                n_splits, shuffle=True, random_state=rng.randint(np.iinfo(np.int32).max)
            ).split(y, y, groups)
        ]

    fold_counts = [np.bincount(y[fold], minlength=len(counts)) for fold in folds]

    def badness(held_out: list[int], share: float) -> tuple[int, float]:
        valid = sum((fold_counts[fold] for fold in held_out), np.zeros_like(counts))
        lost = int(np.sum((valid == counts) & (counts > 0)))
        return lost, float(np.abs(valid - share * counts).sum() / len(y))

    held_out: list[int] = []
    for n_folds in range(1, n_held_out + 1):
        share = validation_fraction * n_folds / n_held_out
        rest = [fold for fold in range(n_splits) if fold not in held_out]
        held_out.append(min(rest, key=lambda fold: badness([*held_out, fold], share)))
    valid = np.sort(np.concatenate([folds[fold] for fold in held_out]))
    lost, _ = badness(held_out, validation_fraction)
    if lost:
        warn(
            f"{lost} class(es) have all their cases in groups that were held out for validation; "
            "the network does not see them. Use validation_fraction=None or more groups",
            MissingClassWarning,
        )
    share = len(valid) / len(y)
    if not 1 / _SHARE_OFF < share / validation_fraction < _SHARE_OFF:
        warn(
            f"{n_groups} groups, which stay whole, make validation_fraction="
            f"{validation_fraction:g} hold out {share:.0%} of the rows: give more groups, another "
            "fraction, or validation_fraction=None",
            ImbalanceWarning,
        )
    return np.setdiff1d(np.arange(len(y)), valid, assume_unique=True), valid


def _share_in_folds(validation_fraction: float, most: int) -> tuple[int, int]:
    """Express a share as a number of folds out of at most so many."""
    n_splits = min(max(_FINEST, round(1 / validation_fraction)), most)
    if n_splits < 2:
        return 0, n_splits
    share = Fraction(validation_fraction).limit_denominator(n_splits)
    if share == 0:
        share = Fraction(1, n_splits)
    if share == 1:
        share = Fraction(n_splits - 1, n_splits)
    return share.numerator, share.denominator
