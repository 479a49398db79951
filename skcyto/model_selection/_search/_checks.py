"""What a search optimises and on which folds, checked before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np
from optuna.pruners import NopPruner
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

from skcyto.metrics import get_scorer, get_scorers
from skcyto.model_selection._search._study import check_grid
from skcyto.model_selection._stacked_fits import is_net, refuse_unstackable


def named_scorers(scoring: Any) -> Any:
    """Put scorers in place of the names of scorers, skcyto's own among them.

    Returns
    -------
    scoring : callable, dict or None
        The same without names; what scikit-learn refuses is left to it.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if isinstance(scoring, str):
        return get_scorer(scoring)
    if isinstance(scoring, Mapping):
        return {
            name: get_scorer(scorer) if isinstance(scorer, str) else scorer
            for name, scorer in scoring.items()
        }
    is_list = isinstance(scoring, list | tuple) and len(scoring) > 0
    if is_list and all(isinstance(name, str) for name in scoring):
        # Of a name that comes twice scikit-learn says so.
        return get_scorers(scoring) if len(set(scoring)) == len(scoring) else scoring
    return scoring


def check_objectives(search: Any, scorers: Any) -> list[str]:
    """Return the names of the scores to maximise and check what depends on their number.

    Raises
    ------
    ValueError
        If parameters contradict one another.
    """
    names = sorted(getattr(scorers, "_scorers", {}))
    if search.objectives is not None:
        objectives = list(search.objectives)
        unknown = [name for name in objectives if names and name not in names]
        if not objectives or unknown or len(set(objectives)) < len(objectives):
            raise ValueError(
                f"objectives={objectives} must be distinct names of scores of scoring: "
                f"{names or ['score']}"
            )
    elif isinstance(search.refit, str) and (names or callable(search.scoring)):
        objectives = [search.refit]
    else:
        objectives = names or ["score"]
    if search.study is not None:
        given = [n for n in ("storage", "sampler", "pruner") if getattr(search, n) is not None]
        if given:
            raise ValueError(
                f"{' and '.join(given)} can't be given along with study, which has its own: "
                "hand them to optuna.create_study"
            )
        check_grid(search.study.sampler, search.study._storage)
    check_grid(search.sampler, search.storage)
    if search.pruner is not None and len(objectives) > 1:
        raise ValueError(
            f"pruner can't be used with several objectives ({objectives}), between which "
            "optuna knows no order: name one in refit or objectives"
        )
    if search.engine == "stacked":
        pruner = search.pruner if search.study is None else search.study.pruner
        if not isinstance(pruner, NopPruner | None):
            raise ValueError(
                f"pruner={type(pruner).__name__} can't be used with engine='stacked', which trains "
                "all folds of a batch together: leave one of them out"
            )
        if not is_net(search.estimator):
            refuse_unstackable(f"estimator {type(search.estimator).__name__}", search.estimator)
    if search.n_trials is None and search.timeout is None:
        raise ValueError("n_trials and timeout are both None: the search would never end")
    if getattr(search, "_skl_callbacks", None):
        raise ValueError(
            "OptunaSearchCV doesn't run scikit-learn's callbacks: use verbose=1 for a progress "
            "bar, or set the callbacks on the estimator"
        )
    return objectives


def draw_splits(
    search: Any, X: Any, y: Any, split_params: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw the folds, once for all candidates.

    Returns
    -------
    splits : list of (ndarray, ndarray)
        Training and test rows.

    Raises
    ------
    ValueError
        If there is no fold, or a storage could never find the same folds again.
    """
    cv = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
    splits = [(np.asarray(a), np.asarray(b)) for a, b in cv.split(X, y, **split_params)]
    if not splits:
        raise ValueError("No fits were performed. Was the CV iterator empty?")
    expected = cv.get_n_splits(X, y, **split_params)
    if len(splits) != expected:
        raise ValueError(
            "cv.split and cv.get_n_splits returned inconsistent results. Expected "
            f"{expected} splits, got {len(splits)}"
        )
    if search.storage is not None:
        again = [(np.asarray(a), np.asarray(b)) for a, b in cv.split(X, y, **split_params)]
        if joblib.hash(splits) != joblib.hash(again):
            raise ValueError(
                f"cv={cv} gives other folds at every call, so that no search in a storage "
                "could be taken up again: give it random_state=0, say"
            )
    return splits
