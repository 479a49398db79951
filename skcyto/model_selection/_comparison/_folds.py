"""Run the folds of a comparison: each by itself, or the networks among them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import delayed

from skcyto.model_selection._comparison._candidates import seed_estimator
from skcyto.model_selection._comparison._cases import Cases
from skcyto.model_selection._comparison._fit import FoldPart, Measuring, run_fold
from skcyto.model_selection._results._records import Outcome
from skcyto.model_selection._stacked_fits import (
    FoldFit,
    FoldTask,
    fit_in_stacks,
    is_net,
    refuse_unstackable,
)
from skcyto.utils._parallel import streaming_parallel

ENGINES = ("separate", "stacked")


def check_engine(engine: str, candidates: Mapping[str, Any]) -> None:
    """Refuse an unknown engine, and networks that can't be stacked.

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
    cases: Cases,
    measuring: Measuring,
    *,
    n_jobs: int | None,
    engine: str,
) -> Iterator[tuple[int, Outcome]]:
    """Fit candidates on folds and measure them.

    Parameters
    ----------
    parts : list of FoldPart
        What to run.
    cases : Cases
        All cases.
    measuring : Measuring
        What is done with the fitted candidates.
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
    X, y, groups = cases.X, cases.y, cases.groups
    calls = (delayed(run_fold)(parts[i], X, y, groups, measuring) for i in separate)
    yield from zip(separate, streaming_parallel(n_jobs)(calls), strict=True)
    if not stacked:
        return
    tasks = [
        FoldTask(
            seed_estimator(clone(parts[i].estimator), parts[i].seed),
            parts[i].split[0],
            parts[i].fit_params,
        )
        for i in stacked
    ]
    fits = fit_in_stacks(tasks, X, y, streaming_parallel(n_jobs))
    for i, fit in zip(stacked, fits, strict=True):
        part, test = parts[i], parts[i].split[1]
        rows = _safe_indexing(X, test), y[test]
        yield i, measuring.measure(partial(_take, fit), *rows, part.fold, part.key)


def _take(fit: FoldFit) -> tuple[Any, float]:
    if fit.error is not None:
        raise fit.error
    return fit.estimator, fit.seconds
