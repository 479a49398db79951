"""Which model of a comparison a fitted model is, told by its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV

from skcyto.model_selection._fingerprints import fingerprint_estimator
from skcyto.model_selection._results._data import check_model
from skcyto.persistence._card._model import OF_A_MACHINE
from skcyto.utils._wording import list_some

if TYPE_CHECKING:
    from skcyto.model_selection import ModelComparison

# A comparison seeds what was left without a seed, and another seed is another fit of the same
# steps; the settings of a machine change where a model is computed, not what.
_NOT_COMPARED = OF_A_MACHINE | {"random_state"}
_MOST_SHOWN = 8


class Difference(NamedTuple):
    """A parameter that a model and a candidate do not share.

    Parameters
    ----------
    name : str
        As in ``set_params``; empty for the estimators themselves.
    own, theirs : str
        Value of the model and of the candidate.
    """

    name: str
    own: str
    theirs: str

    def __str__(self) -> str:
        what = f"{self.name}=" if self.name else ""
        return f"{what}{self.theirs} in the comparison, {what}{self.own} in the model"


def choose_candidate(
    comparison: ModelComparison, pipeline: BaseEstimator, candidate: str | None
) -> str:
    """Find out which model of a comparison is meant, and that it is this one.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    pipeline : estimator
        The fitted model.
    candidate : str or None
        Its name, if it is given.

    Returns
    -------
    name : str

    Raises
    ------
    ValueError
        If it can't be told, or the classes or parameters are others.
    """
    _check_classes(comparison, pipeline)
    if candidate is None and len(comparison.models) == 1:
        candidate = comparison.models[0]
    if candidate is not None:
        name = check_model(comparison, candidate)
        found = differences(pipeline, comparison.estimators[name])
        if found:
            raise ValueError(
                f"the scores of candidate {name!r} are those of another model: {_list(found)}. "
                "Compare the model with the parameters that it has, or fit it with those of "
                f"comparison.estimators[{name!r}]"
            )
        return name
    apart = {name: differences(pipeline, comparison.estimators[name]) for name in comparison.models}
    same = [name for name, found in apart.items() if not found]
    if len(same) == 1:
        return same[0]
    if same:
        raise ValueError(
            f"which model of the comparison is this? {same} have its parameters: give its name as "
            "candidate"
        )
    nearest = min(apart, key=lambda name: (not apart[name][0].name, len(apart[name])))
    raise ValueError(
        f"none of {comparison.models} has the parameters of this model, so that no scores of the "
        f"comparison are its own. The nearest is {nearest!r}: {_list(apart[nearest])}"
    )


def differences(own: Any, theirs: Any) -> list[Difference]:
    """List the parameters that a model and a candidate do not share.

    Seeds and the settings of a machine (`n_jobs`, `memory`, ...) are not compared. Where the
    candidate is a search and the model what it found, the parameters that were searched may have
    any value that the search could give them.

    Parameters
    ----------
    own : estimator
        The model; what it learnt makes no difference.
    theirs : estimator
        The candidate.

    Returns
    -------
    differences : list of Difference
    """
    return _compare("", own, theirs)


def _compare(name: str, own: Any, theirs: Any) -> list[Difference]:
    if type(own) is not type(theirs) and isinstance(own, BaseEstimator):
        if isinstance(own, FrozenEstimator):
            return _compare(name, own.estimator, theirs)
        if isinstance(theirs, FrozenEstimator):
            return _compare(name, own, theirs.estimator)
        if isinstance(theirs, BaseSearchCV):
            return _compare_with_search(name, own, theirs)
    if type(own) is type(theirs):
        if isinstance(own, BaseEstimator):
            params = own.get_params(deep=False), theirs.get_params(deep=False)
            return _compare_items(name, *params)
        if hasattr(own, "split") and hasattr(own, "get_n_splits"):
            return _compare_items(name, vars(own), vars(theirs))
        if isinstance(own, list | tuple) and _are_steps(own) and _are_steps(theirs):
            # Steps have the names that ``set_params`` gives them, without that of their list.
            outer = name.rpartition("__")[0]
            steps = [{step[0]: step[1:] for step in steps} for steps in (own, theirs)]
            if list(steps[0]) != list(steps[1]):
                return [Difference(name, str(list(steps[0])), str(list(steps[1])))]
            return _compare_items(outer, *steps)
        if isinstance(own, tuple) and own and isinstance(own[0], BaseEstimator):
            # The parts of a step: the estimator, and for a ColumnTransformer its columns.
            columns = _compare(f"{name}__columns", own[1:], theirs[1:])
            return _compare(name, own[0], theirs[0]) + columns
    return [] if _are_equal(own, theirs) else [Difference(name, _show(own), _show(theirs))]


def _compare_items(
    name: str, own: Mapping[Any, Any], theirs: Mapping[Any, Any]
) -> list[Difference]:
    found = []
    for key in dict.fromkeys([*theirs, *own]):
        if key in _NOT_COMPARED:
            continue
        full = f"{name}__{key}" if name else str(key)
        if key in own and key in theirs:
            found += _compare(full, own[key], theirs[key])
        else:
            shown = [_show(side[key]) if key in side else "(none)" for side in (own, theirs)]
            found.append(Difference(full, *shown))
    return found


def _compare_with_search(name: str, own: Any, search: Any) -> list[Difference]:
    """Compare with what a search can find."""
    inside = _compare("", own, search.estimator)
    space = getattr(search, "param_grid", getattr(search, "param_distributions", None))
    if callable(space):  # It tells what it searches only when it is asked for a trial.
        space = {difference.name: None for difference in inside}
    attempts = []
    for part in [space] if isinstance(space, Mapping) else space or [{}]:
        left = [item for item in inside if not _is_searched(item.name, part)]
        for key, values in part.items():
            if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str):
                value = own.get_params(deep=True).get(key)
                if all(_compare(key, value, each) for each in values):
                    left.append(Difference(key, _show(value), f"one of {_show(list(values))}"))
        attempts.append(left)
    best = min(attempts, key=len)
    return [item._replace(name=f"{name}__{item.name}".strip("_")) for item in best]


def _is_searched(name: str, space: Mapping[str, Any]) -> bool:
    return any(name == key or name.startswith((f"{key}__", f"{key}[")) for key in space)


def _are_steps(value: Sequence[Any]) -> bool:
    return bool(value) and all(
        isinstance(item, tuple) and len(item) > 1 and isinstance(item[0], str) for item in value
    )


def _are_equal(own: Any, theirs: Any) -> bool:
    if own is theirs:
        return True
    if isinstance(own, Number | np.bool_) and isinstance(theirs, Number | np.bool_):
        # 1 is 1.0 and numpy's 1, as a grid or a saved model may have it; True is neither.
        kinds = [isinstance(value, bool | np.bool_) for value in (own, theirs)]
        return kinds[0] == kinds[1] and bool(own == theirs or (own != own and theirs != theirs))
    return fingerprint_estimator(own) == fingerprint_estimator(theirs)


def _check_classes(comparison: ModelComparison, pipeline: BaseEstimator) -> None:
    own = getattr(pipeline, "classes_", None)
    if own is None:
        return
    known = np.asarray(own).tolist()
    if set(known) != set(comparison.classes.tolist()):
        raise ValueError(
            f"the model tells apart {known}, the comparison {comparison.classes.tolist()}: its "
            "scores are of other classes"
        )


def _show(value: Any) -> str:
    if isinstance(value, BaseEstimator):
        return type(value).__name__
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _list(found: Sequence[Difference]) -> str:
    return list_some(found, _MOST_SHOWN, "; ")
