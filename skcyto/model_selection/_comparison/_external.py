"""External validation: models fitted on all cases of a comparison, tested on those of elsewhere."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import indexable
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import column_or_1d

from skcyto.exceptions import MissingClassWarning
from skcyto.model_selection._comparison._candidates import seed_estimator
from skcyto.model_selection._comparison._checkpoint import Checkpoint
from skcyto.model_selection._comparison._fit import measure_fold
from skcyto.model_selection._results._records import FoldFailure, FoldRecord
from skcyto.model_selection._splits import Split
from skcyto.utils._parallel import streaming_parallel
from skcyto.utils._progress import progress_bar
from skcyto.utils._validation import plain_vector
from skcyto.utils._warnings import warn

Outcome = FoldRecord | FoldFailure
_MOST_SHOWN = 5


@dataclass(frozen=True)
class ExternalSet:
    """Cases of another place.

    Parameters
    ----------
    name : str
        Of the place.
    X : array-like
        Cases.
    y : ndarray
        Labels.
    groups : ndarray or None
        Groups.
    """

    name: str
    X: Any
    y: NDArray[Any]
    groups: NDArray[Any] | None

    def split(self, n_internal: int) -> Split:
        """Return the rows that train, of the internal data, and that are tested, of this set.

        Parameters
        ----------
        n_internal : int
            Number of internal cases.

        Returns
        -------
        split : (ndarray, ndarray)
        """
        return np.arange(n_internal), np.arange(len(self.y))


def check_external(
    external: Any, X: Any, classes: NDArray[Any], groups: NDArray[Any] | None
) -> list[ExternalSet]:
    """Check external data before anything is fitted.

    Parameters
    ----------
    external : dict of str to tuple, or None
        What :func:`compare_models` was given.
    X : array-like
        The internal cases.
    classes : ndarray
        Labels of the internal cases, sorted.
    groups : ndarray or None
        Groups of the internal cases.

    Returns
    -------
    sets : list of ExternalSet

    Raises
    ------
    TypeError
        If it is no dict of names to tuples.
    ValueError
        If lengths differ, labels or groups are missing, a label is unknown to the internal data, a
        group is also internal, or the cases have other columns.

    Warns
    -----
    MissingClassWarning
        If a set lacks a class.
    """
    if external is None:
        return []
    if not isinstance(external, Mapping):
        raise TypeError(
            "external must be a dict of names to (X, y) or (X, y, groups), not "
            f"{type(external).__name__}"
        )
    return [_check_set(name, given, X, classes, groups) for name, given in external.items()]


def _check_set(
    name: Any, given: Any, X: Any, classes: NDArray[Any], groups: NDArray[Any] | None
) -> ExternalSet:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name {name!r} of an external set must be a string")
    what = f"external[{name!r}]"
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise TypeError(f"{what} must be (X, y) or (X, y, groups)")
    cases, y, own_groups = (*given, None)[:3]
    lengths = [len(part) for part in (cases, y, own_groups) if part is not None]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"{what} must hold X, y and groups of one length, not of {lengths}")
    cases, y, own_groups = indexable(cases, y, own_groups)
    y = column_or_1d(plain_vector(y), warn=True)
    if pd.isna(y).any():
        raise ValueError(f"{what} holds missing labels in {int(pd.isna(y).sum())} cases")
    labels, counts = np.unique(y, return_counts=True)
    known = set(classes.tolist())
    numbers = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    unknown = {label: number for label, number in numbers.items() if label not in known}
    if unknown:
        listed = ", ".join(f"{label!r} ({count} cases)" for label, count in unknown.items())
        raise ValueError(
            f"{what} holds labels that no internal case has, so that no model can know them: "
            f"{listed}; the internal ones are {classes.tolist()}. Name the labels alike, or leave "
            "these cases out and say so"
        )
    _check_columns(what, cases, X)
    if own_groups is not None:
        own_groups = column_or_1d(plain_vector(own_groups))
        if pd.isna(own_groups).any():
            raise ValueError(
                f"{what}: groups is missing for {int(pd.isna(own_groups).sum())} cases: give each "
                "a group, one of its own if nothing is known of it"
            )
        _check_shared_groups(what, own_groups, groups)
    lacking = [label for label in classes.tolist() if label not in set(labels.tolist())]
    if lacking:
        warn(
            f"{what} lacks class {', '.join(map(repr, lacking))}: its recall and every area under "
            "a curve are undefined there",
            MissingClassWarning,
        )
    return ExternalSet(name, cases, y.astype(classes.dtype, copy=False), own_groups)


def _check_columns(what: str, cases: Any, X: Any) -> None:
    if isinstance(X, pd.DataFrame) != isinstance(cases, pd.DataFrame):
        raise ValueError(
            f"{what} has X as {type(cases).__name__}, the internal data as {type(X).__name__}: "
            "give both as a DataFrame, or both without names of columns"
        )
    if isinstance(X, pd.DataFrame):
        own, internal = list(cases.columns), list(X.columns)
        if own == internal:
            return
        lacking = [column for column in internal if column not in set(own)]
        more = [column for column in own if column not in set(internal)]
        if not lacking and not more:
            raise ValueError(
                f"{what} has the columns of the internal data in another order: give it as "
                "X_external[X.columns]"
            )
        parts = []
        if lacking:
            parts.append(f"lacks {_shorten(lacking)}")
        if more:
            parts.append(f"has {_shorten(more)}, which they lack")
        raise ValueError(f"{what} has other columns than the internal data: {', '.join(parts)}")
    shapes = [getattr(data, "shape", ())[1:] for data in (cases, X)]
    # Images may differ in size, which is for the models to say.
    if len(shapes[0]) != len(shapes[1]) or (len(shapes[0]) == 1 and shapes[0] != shapes[1]):
        raise ValueError(f"{what} has cases of shape {shapes[0]}, the internal data of {shapes[1]}")


def _check_shared_groups(what: str, own: NDArray[Any], internal: NDArray[Any] | None) -> None:
    if internal is None:
        return
    known = set(internal.tolist())
    shared = [group for group in np.unique(own).tolist() if group in known]
    if shared:
        raise ValueError(
            f"{what} shares {len(shared)} groups with the internal data, so that its scores would "
            f"be too good: {_shorten(shared)}. Leave their cases out on one side; if they only "
            "happen to have the same names, make these different"
        )


def _shorten(items: Sequence[Any]) -> str:
    shown = ", ".join(repr(item) for item in items[:_MOST_SHOWN])
    return shown + (f" and {len(items) - _MOST_SHOWN} more" if len(items) > _MOST_SHOWN else "")


def run_external(
    sets: Sequence[ExternalSet],
    candidates: Mapping[str, BaseEstimator],
    fit_params: Mapping[str, Mapping[str, NDArray[Any]]],
    X: Any,
    y: NDArray[Any],
    classes: NDArray[Any],
    scorers: Mapping[str, Any],
    seed: int,
    checkpoint: Checkpoint | None,
    keys: Mapping[tuple[str, str], str],
    *,
    n_jobs: int | None,
    verbose: int,
) -> dict[str, dict[str, Outcome]]:
    """Fit every candidate once on all internal cases, and measure it on every external set.

    Parameters
    ----------
    sets : list of ExternalSet
        What to predict.
    candidates : dict of str to estimator
        Unfitted.
    fit_params : dict of str to dict
        Keywords of ``fit`` of every candidate, one value a case.
    X, y : array-like
        All internal cases.
    classes : ndarray
        Their labels, sorted.
    scorers : dict of str to callable
        Scorers that need the fitted estimator.
    seed : int
        Seed of the fits.
    checkpoint : Checkpoint or None
        Where to keep records.
    keys : dict of (candidate, set) to str
        Their records there.
    n_jobs : int or None
        Fits at once.
    verbose : int
        Shows progress above 0.

    Returns
    -------
    outcomes : dict of str to dict
        By name of the set and of the candidate.
    """
    found: dict[tuple[str, str], Outcome] = {}
    for (name, place), key in keys.items():
        record = None if checkpoint is None else checkpoint.read(key)
        if record is not None:
            found[name, place] = record
    remaining = {
        name: [each for each in sets if (name, each.name) not in found] for name in candidates
    }
    remaining = {name: left for name, left in remaining.items() if left}
    fits = streaming_parallel(n_jobs)(
        delayed(_fit_and_measure)(
            candidates[name],
            X,
            y,
            fit_params[name],
            classes,
            left,
            scorers,
            seed,
            checkpoint,
            [keys.get((name, each.name), "") for each in left],
        )
        for name, left in remaining.items()
    )
    with progress_bar(
        total=len(remaining), desc="external validation", unit="fit", verbose=verbose
    ) as bar:
        for (name, left), outcomes in zip(remaining.items(), fits, strict=True):
            found |= {
                (name, each.name): outcome for each, outcome in zip(left, outcomes, strict=True)
            }
            bar.update()
    return {each.name: {name: found[name, each.name] for name in candidates} for each in sets}


def _fit_and_measure(
    estimator: BaseEstimator,
    X: Any,
    y: NDArray[Any],
    fit_params: Mapping[str, NDArray[Any]],
    classes: NDArray[Any],
    sets: Sequence[ExternalSet],
    scorers: Mapping[str, Any],
    seed: int,
    checkpoint: Checkpoint | None,
    keys: Sequence[str],
) -> list[Outcome]:
    try:
        model: Any = seed_estimator(clone(estimator), seed)
        start = time.perf_counter()
        model.fit(X, y, **fit_params)
        fitted = model, time.perf_counter() - start
    except Exception as error:  # one failing candidate must not lose the others' hours
        failure = FoldFailure(0, f"{type(error).__name__}: {error}", traceback.format_exc())
        return [failure] * len(sets)
    return [
        measure_fold(lambda: fitted, each.X, each.y, classes, 0, scorers, checkpoint, key)
        for each, key in zip(sets, keys, strict=True)
    ]
