"""Fit candidates on folds with their final networks stacked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import _check_method_params

from skcyto.model_selection._fingerprints import fingerprint_estimator
from skcyto.utils._pipelines import last_step

Runner = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass
class FoldTask:
    """A candidate and a fold.

    Parameters
    ----------
    estimator : estimator
        An ImbalancedMLPClassifier or a pipeline that ends in one, with its parameters set; it is
        not changed.
    train : ndarray of int
        Training rows.
    fit_params : dict
        Keywords of ``fit``, one value a row of the whole data.
    """

    estimator: BaseEstimator
    train: np.ndarray
    fit_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class FoldFit:
    """What became of a :class:`FoldTask`.

    Parameters
    ----------
    estimator : estimator
        Fitted, where there is no error.
    seconds : float
        Its share of the time that fitting took.
    error : Exception or None
        What ``fit`` would have raised.
    """

    estimator: Any
    seconds: float
    error: Exception | None = None


@dataclass
class _NetRows:
    """What the last step of a pipeline would be fitted on."""

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None


def is_net(estimator: Any) -> bool:
    """Say whether an estimator is skcyto's MLP or a pipeline that ends in it."""
    from skcyto.neural_network import ImbalancedMLPClassifier

    return isinstance(last_step(estimator), ImbalancedMLPClassifier)


def refuse_unstackable(name: str, estimator: Any) -> None:
    """Raise an error where an estimator can't be fitted in a stack.

    Raises
    ------
    ValueError
        Saying why.
    """
    from skcyto.neural_network._stacked._fit import why_not_stackable

    if hasattr(estimator, "steps") and hasattr(_final(estimator), "steps"):
        reason: str | None = "its last step is a pipeline of its own; put the steps into one"
    else:
        reason = why_not_stackable(_final(estimator))
    if reason is not None:
        raise ValueError(
            f"{name} can't be trained with engine='stacked': {reason}. Use engine='separate'"
        )


def fit_in_stacks(tasks: Sequence[FoldTask], X: Any, y: Any, run: Runner) -> list[FoldFit]:
    """Fit candidates on folds; what comes before the networks once for all that share it.

    Parameters
    ----------
    tasks : list of FoldTask
        What to fit.
    X, y : array-like
        All rows.
    run : joblib.Parallel
        Runs delayed calls, and returns their results in any order.

    Returns
    -------
    fits : list of FoldFit
        In the order of the tasks.
    """
    from skcyto.neural_network._stacked._fit import StackedFit, make_stacks

    keys = [_key_before_net(task) for task in tasks]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    unique = sorted(first.values())
    fronts = dict(
        zip(
            (keys[number] for number in unique),
            _in_order(run, _fit_front, [(tasks[number], X, y) for number in unique]),
            strict=True,
        )
    )
    fits: list[FoldFit] = []
    stacked: list[StackedFit] = []
    positions: list[int] = []
    for number, (task, key) in enumerate(zip(tasks, keys, strict=True)):
        front, rows, seconds, error = fronts[key]
        estimator = clone(task.estimator)
        if hasattr(estimator, "steps") and error is None:
            estimator.steps = [*front.steps[:-1], estimator.steps[-1]]
        fits.append(FoldFit(estimator, seconds / keys.count(key), error))
        if error is None:
            stacked.append(
                StackedFit(_final(estimator), rows.X, rows.y, rows.sample_weight, rows.groups)
            )
            positions.append(number)
    stacks = make_stacks(stacked)
    trained = _in_order(run, _train, [([stacked[i] for i in stack],) for stack in stacks])
    for stack, (nets, errors, seconds) in zip(stacks, trained, strict=True):
        for i, net, error in zip(stack, nets, errors, strict=True):
            fit = fits[positions[i]]
            fit.seconds += seconds / len(stack)
            fit.error = error
            if hasattr(fit.estimator, "steps"):
                name, _ = fit.estimator.steps[-1]
                fit.estimator.steps = [*fit.estimator.steps[:-1], (name, net)]
            else:
                fit.estimator = net
    return fits


def _in_order(
    run: Runner, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Call a function many times; joblib may return what is done first first."""
    calls = (delayed(_numbered)(i, function, given) for i, given in enumerate(arguments))
    return [result for _, result in sorted(run(calls), key=itemgetter(0))]


def _numbered(
    number: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[int, Any]:
    return number, function(*arguments)


def _final(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _key_before_net(task: FoldTask) -> str:
    """Return what tells the rows that a network is trained on from others."""
    steps = getattr(task.estimator, "steps", [("", task.estimator)])
    requests = [repr(getattr(step, "_metadata_request", None)) for _, step in steps]
    return joblib.hash(
        [
            task.train,
            type(task.estimator).__qualname__,
            fingerprint_estimator([list(step) for step in steps[:-1]]),
            steps[-1][0],
            requests,
            sorted(task.fit_params),
        ]
    )


def _fit_front(task: FoldTask, X: Any, y: Any) -> tuple[Any, _NetRows | None, float, Any]:
    """Fit all steps but the network, and return the rows that it would be given."""
    start = time.perf_counter()
    estimator = clone(task.estimator)
    net = _final(estimator)
    found: list[_NetRows] = []

    def take(X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        found.append(_NetRows(_to_single(X), y, sample_weight, groups))
        return net

    # The pipeline itself fits its steps, as its kind does: caches, samplers, metadata and all.
    net.fit = take
    try:
        estimator.fit(
            _safe_indexing(X, task.train),
            _safe_indexing(y, task.train),
            **_check_method_params(X, params=dict(task.fit_params), indices=task.train),
        )
    except Exception as error:  # of one fold: the others go on
        return None, None, time.perf_counter() - start, error
    finally:
        del net.fit
    return estimator, found[0], time.perf_counter() - start, None


def _to_single(X: Any) -> Any:
    """Round to single precision now, as the network does, for all that share the rows."""
    if isinstance(X, np.ndarray) and X.dtype == np.float64:
        with np.errstate(over="ignore"):
            return X.astype(np.float32)
    return X


def _train(fits: Sequence[Any]) -> tuple[list[Any], list[Exception | None], float]:
    from skcyto.neural_network._stacked._fit import train_stack

    start = time.perf_counter()
    nets, errors = train_stack(fits)
    return nets, errors, time.perf_counter() - start
