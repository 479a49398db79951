"""Run the folds of a comparison: each by itself, or the networks among them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import delayed

from skcyto.model_selection._comparison._candidates import seed_estimator
from skcyto.model_selection._comparison._checkpoint import Checkpoint
from skcyto.model_selection._comparison._fit import measure_fold, run_fold
from skcyto.model_selection._results._records import FoldFailure, FoldRecord
from skcyto.model_selection._splits import Split
from skcyto.model_selection._stacked_fits import (
    FoldFit,
    FoldTask,
    fit_in_stacks,
    is_net,
    refuse_unstackable,
)
from skcyto.utils._parallel import streaming_parallel

ENGINES = ("separate", "stacked")


@dataclass
class FoldPart:
    """A candidate and a fold.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    split : (ndarray, ndarray)
        Training and test rows.
    fold : int
        Position of the fold.
    seed : int
        Seed of the fold.
    fit_params : dict of str to ndarray
        Keywords of ``fit``, one value a case.
    key : str
        Of its record in a checkpoint.
    groups : ndarray or None
        Of all cases, for inner folds that no keyword of ``fit`` leads to.
    """

    estimator: BaseEstimator
    split: Split
    fold: int
    seed: int
    fit_params: Mapping[str, NDArray[Any]]
    key: str
    groups: NDArray[Any] | None = None


def check_engine(engine: str, candidates: Mapping[str, Any]) -> None:
    """Refuse an unknown engine, and networks that can't be stacked.

    Parameters
    ----------
    engine : str
        As the user gave it.
    candidates : dict of str to estimator
        All of them.

    Raises
    ------
    ValueError
        With the name of the candidate and the reason.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} must be one of {list(ENGINES)}")
    if engine == "separate":
        return
    nets = {name: candidate for name, candidate in candidates.items() if is_net(candidate)}
    if not nets:
        raise ValueError(
            "engine='stacked' trains ImbalancedMLPClassifier, or pipelines that end in it, and no "
            "candidate is one: use engine='separate'"
        )
    for name, candidate in nets.items():
        refuse_unstackable(f"candidate {name!r}", candidate)


def run_folds(
    parts: Sequence[FoldPart],
    X: Any,
    y: NDArray[Any],
    classes: NDArray[Any],
    scorers: Mapping[str, Any],
    checkpoint: Checkpoint | None,
    *,
    n_jobs: int | None,
    engine: str,
) -> Iterator[tuple[int, FoldRecord | FoldFailure]]:
    """Fit candidates on folds and measure them.

    Parameters
    ----------
    parts : list of FoldPart
        What to run.
    X, y : array-like
        All cases.
    classes : ndarray
        The labels that occur, sorted.
    scorers : dict of str to callable
        Scorers that need the fitted estimator.
    checkpoint : Checkpoint or None
        Where to keep records.
    n_jobs : int or None
        Calls at once.
    engine : {"separate", "stacked"}
        Whether networks train by themselves.

    Yields
    ------
    number : int
        Position in `parts`.
    outcome : FoldRecord or FoldFailure
    """
    stacked = [i for i, part in enumerate(parts) if engine == "stacked" and is_net(part.estimator)]
    separate = [i for i in range(len(parts)) if i not in set(stacked)]
    outcomes = streaming_parallel(n_jobs)(
        delayed(run_fold)(
            parts[i].estimator,
            X,
            y,
            classes,
            parts[i].split,
            parts[i].fold,
            parts[i].seed,
            parts[i].fit_params,
            scorers,
            checkpoint,
            parts[i].key,
            parts[i].groups,
        )
        for i in separate
    )
    yield from zip(separate, outcomes, strict=True)
    if not stacked:
        return
    fits = fit_in_stacks(
        [
            FoldTask(
                seed_estimator(clone(parts[i].estimator), parts[i].seed),
                parts[i].split[0],
                parts[i].fit_params,
            )
            for i in stacked
        ],
        X,
        y,
        streaming_parallel(n_jobs),
    )
    for i, fit in zip(stacked, fits, strict=True):
        test = parts[i].split[1]
        yield (
            i,
            measure_fold(
                partial(_take, fit),
                _safe_indexing(X, test),
                y[test],
                classes,
                parts[i].fold,
                scorers,
                checkpoint,
                parts[i].key,
            ),
        )


def _take(fit: FoldFit) -> tuple[Any, float]:
    if fit.error is not None:
        raise fit.error
    return fit.estimator, fit.seconds
