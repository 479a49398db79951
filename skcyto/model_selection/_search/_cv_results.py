"""Lay recorded trials out as the results of scikit-learn's searches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skcyto.utils._warnings import warn

# Traceback that is kept of a failed fold.
_LONGEST_ERROR = 5_000
# Trials that may score NaN, all of them, before the search gives up.
_MOST_UNDEFINED = 4
_LEFT_OUT = ("fit_error", "labels")


def to_record(
    folds: Sequence[dict[str, Any]],
    status: str,
    values: list[float],
    trial_scores: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Turn results of folds into what a storage can keep.

    Parameters
    ----------
    folds : list of dict
        Results of scikit-learn's ``_fit_and_score``, of those folds that were finished.
    status : {"complete", "pruned", "failed"}
        What became of the trial.
    values : list of float
        Values of the objectives.
    trial_scores : dict of str to float or None, default=None
        Scores of the trial that are no mean over folds.
    """
    kept = []
    for fold in folds:
        entry = {key: _plain(value) for key, value in fold.items() if key not in _LEFT_OUT}
        entry["fit_error"] = fold["fit_error"] and fold["fit_error"][-_LONGEST_ERROR:]
        kept.append(entry)
    record = {"status": status, "values": [float(value) for value in values], "folds": kept}
    return record | ({"trial_scores": dict(trial_scores)} if trial_scores else {})


def fill_folds(
    records: Sequence[dict[str, Any]], n_splits: int, error_score: float
) -> list[dict[str, Any]]:
    """Return a result for every fold of every trial, as scikit-learn formats them.

    Parameters
    ----------
    records : list of dict
        Of the trials.
    n_splits : int
        Number of folds.
    error_score : float
        Score of a fold that failed.

    Returns
    -------
    folds : list of dict
        Trial by trial; folds that pruning left out score NaN.
    """
    done = [fold for record in records for fold in record["folds"]]
    pattern = next((fold for fold in done if fold["fit_error"] is None), None)
    filled = []
    for record in records:
        for number in range(n_splits):
            if number >= len(record["folds"]):
                filled.append(_blank(pattern, np.nan))
                continue
            fold = record["folds"][number]
            if fold["fit_error"] is not None:
                fold = {**fold, **_blank_scores(pattern or fold, error_score)}
            filled.append(fold)
    return filled


def format_results(
    format_: Callable[..., dict[str, Any]],
    params: list[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    numbers: Sequence[int],
    n_splits: int,
    error_score: float,
) -> dict[str, Any]:
    """Make ``cv_results_``.

    Parameters
    ----------
    format_ : callable
        ``BaseSearchCV._format_results``.
    params : list of dict
        Parameters of the trials.
    records : list of dict
        What came out of them.
    numbers : list of int
        Their numbers in the study.
    n_splits : int
        Number of folds.
    error_score : float
        Score of a fold that failed.

    Returns
    -------
    results : dict
        As :class:`~sklearn.model_selection.GridSearchCV` has them, with ``status`` and ``trial``.
    """
    folds = fill_folds(records, n_splits, error_score)
    scored = [record.get("trial_scores", {}) for record in records]
    by_trial = sorted({name for scores in scored for name in scores})
    splits: dict[str, list[list[float]]] = {name: [] for name in by_trial}
    for number, scores in enumerate(scored):
        own = folds[number * n_splits : (number + 1) * n_splits]
        for name in by_trial:
            splits[name].append([_get(fold["test_scores"], name) for fold in own])
        if scores:
            # Their mean is then the trial's score, and scikit-learn ranks by it.
            folds[number * n_splits : (number + 1) * n_splits] = [
                {**fold, "test_scores": _put(fold["test_scores"], scores)} for fold in own
            ]
    more = {"status": [record["status"] for record in records], "trial": list(numbers)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = format_(params, n_splits, folds, more)
    for name in by_trial:
        values = np.asarray(splits[name], dtype=float)
        for fold in range(n_splits):
            results[f"split{fold}_test_{name}"] = values[:, fold]
        results[f"std_test_{name}"] = np.full(len(records), np.nan)
    others = [record["status"] != "pruned" for record in records]
    for warning in caught:
        # Scores that pruning left out are no surprise.
        about_scores = "scores are non-finite" in str(warning.message)
        if not about_scores or any(
            not np.isfinite(values[others]).all()
            for name, values in results.items()
            if name.startswith(("mean_test_", "mean_train_"))
        ):
            warn(warning.message, warning.category)
    return results


def _get(scores: Any, name: str) -> float:
    return float(scores[name] if isinstance(scores, dict) else scores)


def _put(scores: Any, given: Mapping[str, float]) -> Any:
    return {**scores, **given} if isinstance(scores, dict) else next(iter(given.values()))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _blank(pattern: dict[str, Any] | None, score: float) -> dict[str, Any]:
    scores = _blank_scores(pattern or {"test_scores": np.nan, "train_scores": np.nan}, score)
    return {"fit_error": None, "fit_time": np.nan, "score_time": np.nan, **scores}


def _blank_scores(pattern: dict[str, Any], score: float) -> dict[str, Any]:
    blank: dict[str, Any] = {}
    for key in ("test_scores", "train_scores"):
        if key in pattern:
            names = pattern[key]
            blank[key] = dict.fromkeys(names, score) if isinstance(names, dict) else score
    return blank


def refuse_undefined(records: Sequence[dict[str, Any]], n_trials: int | None) -> None:
    """Give up where models were fitted but none of the first trials could be scored.

    Raises
    ------
    ValueError
        If there are some, and all score NaN.
    """
    enough = _MOST_UNDEFINED if n_trials is None else min(_MOST_UNDEFINED, n_trials)
    if len(records) < enough or any(record["status"] != "failed" for record in records):
        return
    if any(fold["fit_error"] is not None for record in records for fold in record["folds"]):
        return  # of failed fits scikit-learn's message tells
    if any(np.isfinite(value) for record in records for value in record["values"]):
        return
    raise ValueError(
        f"all of the first {len(records)} trials score NaN, though their models were fitted: "
        "scoring can't work with this estimator and these labels (the warnings say why)"
    )
