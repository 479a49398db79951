"""Compare classifiers on the same folds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Memory
from numpy.typing import ArrayLike
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from skcyto.metrics._class_dependence import positive_class
from skcyto.model_selection._comparison._candidates import make_candidates
from skcyto.model_selection._comparison._checkpoint import Checkpoint, record_key
from skcyto.model_selection._comparison._external import check_external, run_external
from skcyto.model_selection._comparison._folds import FoldPart, check_engine, run_folds
from skcyto.model_selection._comparison._metadata import check_metadata, route_metadata
from skcyto.model_selection._comparison._model_comparison import ModelComparison
from skcyto.model_selection._fingerprints import fingerprint_data, fingerprint_estimator
from skcyto.model_selection._results._measures import (
    check_measures,
    resolve_scoring,
    with_bounds,
)
from skcyto.model_selection._results._records import FoldFailure, FoldRecord
from skcyto.model_selection._splits import Splits, make_splits
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import draw_seed
from skcyto.utils._validation import OPTIONAL_PATH, RANDOM_STATE, check_parameters, plain_vector
from skcyto.utils._warnings import warn


@check_parameters(
    n_jobs=[Integral, None],
    cache=[*OPTIONAL_PATH, HasMethods("cache")],
    verbose=["verbose"],
    params=[Mapping, None],
    checkpoint=OPTIONAL_PATH,
    random_state=RANDOM_STATE,
)
def compare_models(
    estimators: Mapping[str, Any] | tuple[Any, Any],
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    pos_label: Any = None,
    n_jobs: int | None = None,
    engine: str = "separate",
    cache: str | os.PathLike[str] | Memory | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    params: Mapping[str, ArrayLike] | None = None,
    external: Mapping[str, tuple[Any, ...]] | None = None,
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> ModelComparison:
    """Compare classifiers under cross-validation, every one on the same folds.

    Each candidate is cloned and fitted on the training cases of each fold; its predictions for the
    test cases are kept, and every score, test, curve and table comes from these. With `external`
    each is also fitted on all cases and tested on those of other places.

    Parameters
    ----------
    estimators : dict of str to estimator, or tuple (estimator, param_grid)
        Named classifiers, or one classifier with a grid as for
        :class:`~sklearn.model_selection.GridSearchCV`, each of whose points becomes a candidate.
        The first one is the reference that the others are tested against unless another is named.
    X : array-like, list or DataFrame of length n_samples
        Cases, whatever the estimators take: a table, images of shape (n_samples, height, width,
        channels), a list of paths.
    y : array-like of shape (n_samples,)
        Labels of any type.
    groups : array-like of shape (n_samples,), default=None
        Patient, slide or acquisition of each case. No fold splits a group, and estimators that
        can use groups while they are fitted get those of the training cases (see Notes).
    cv : int, splitter, iterable of (train, test) or None, default=None
        None takes two rounds of five stratified folds, grouped where `groups` are given; an int
        one round of so many. Folds that split a group are refused. A single split,
        ``[(train, test)]``, is no cross-validation but validation on that test set alone: its
        intervals and tests are by case or group. Several test sets of which none is ever trained
        on are refused: give them as `external`.
    scoring : str, callable, list of str, dict or None, default=None
        Names from :func:`skcyto.metrics.get_scorer_names`, "recall_per_class", scorers, or a dict
        of names to either. None takes accuracy, macro precision, recall and F1, average F1,
        balanced accuracy, ROC AUC and average precision (one class against the rest, averaged),
        log-loss, Brier score, expected calibration error, and the recall of every class. Losses
        (``neg_...``) are shown positive, without the prefix.
    bounds : dict of str to (float, float), default=None
        Smallest and largest value of a score of your own, by its name: ``{"cost": (0, 10)}``. No
        interval reaches beyond them; those of skcyto's scores are known.
    pos_label : label, default=None
        The positive one of two classes, in every score, test and curve that has one ("f1",
        "average_precision", DeLong's test, ROC curves). None takes the rarer one, the second of
        equally many.
    n_jobs : int or None, default=None
        Jobs over (candidate, fold), through joblib, so ``joblib.parallel_config`` applies. The
        results are the same for any number.
    engine : {"separate", "stacked"}, default="separate"
        "separate" fits every candidate on every fold by itself. "stacked" trains the networks of
        all candidates that are or end in an
        :class:`~skcyto.neural_network.ImbalancedMLPClassifier` together, over all folds, as far
        as they have the same shape; other candidates are fitted as ever. Scores are the same to
        rounding.
    cache : str, path, joblib.Memory or None, default=None
        For the transformers of candidates that are pipelines whose `memory` is None: a step that
        several candidates share is fitted once a fold.
    checkpoint : str, path or None, default=None
        Folder for the predictions of every finished fold. The same call takes up an interrupted
        comparison; a candidate that was changed, or new data, is computed anew.
    params : dict of str to array-like, default=None
        Further metadata for ``fit``, one value a case: ``{"sample_weight": weights}``.
    external : dict of str to tuple, default=None
        Cases of other places, to validate on: ``{"site B": (X, y)}`` or ``(X, y, groups)``. Each
        candidate is fitted once on all of the cases above and tested on every set;
        ``comparison.external["site B"]`` is the comparison there, with the same methods, and pages
        show it beside the cross-validation.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every `random_state` that a candidate leaves to None, also that
        of a splitter inside it that shuffles. The same fold has the same seed for all candidates.
    verbose : int, default=0
        Shows progress above 0.

    Returns
    -------
    comparison : ModelComparison
        Tables, tests, displays and reports.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing or of one class only, a fold splits a group, a score
        is unknown, a candidate can't take the metadata, or every candidate fails; with
        ``engine="stacked"`` also where a network can't be stacked, or there is none. If an
        external set has labels that the cases lack, other columns, or groups in common with them.
    TypeError
        If a candidate is no classifier.

    Warns
    -----
    FitFailedWarning
        If a candidate fails on a fold. It is left out of tables and tests, and reported with its
        traceback in ``comparison.failures``.
    MissingClassWarning
        If folds or an external set lack a class.
    UserWarning
        If among given folds one tests cases that no other trains on, as data of another place
        would be: it is averaged with the others.

    Notes
    -----
    A score that averages over classes is another quantity where a class has no case: it is NaN on
    such folds. If it is one of predicted labels, it is then taken from the pooled predictions of
    each round instead, and has no test over folds; areas under curves are means over the folds that
    hold every class, since the probabilities of different models have no common ranking.

    With scikit-learn's metadata routing enabled, groups and `params` go to the parts of a
    candidate that requested them: ``classifier.set_fit_request(groups=True)``. Without it, the
    last step of a pipeline gets what its ``fit`` names, so that
    :class:`~skcyto.neural_network.ImbalancedMLPClassifier` keeps patients whole in its own
    validation split, and whatever has inner folds, such as
    :class:`~sklearn.model_selection.GridSearchCV` or
    :class:`~sklearn.ensemble.StackingClassifier`, keeps groups whole where its `cv` is a grouped
    splitter.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcyto.model_selection import compare_models
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> comparison = compare_models(
    ...     {"majority": DummyClassifier(), "naive Bayes": GaussianNB()},
    ...     X, y, scoring=["f1_macro", "roc_auc_ovr"], random_state=0,
    ... )
    >>> print(comparison.table()["f1_macro"].round(2).reset_index().to_string(index=False))
          model  mean  std  ci_low  ci_high
       majority  0.39 0.00    0.35     0.42
    naive Bayes  0.93 0.02    0.90     0.96
    >>> test = comparison.ttest().loc[("naive Bayes", "majority")]
    >>> round(float(test["difference"]), 2), bool(test["p_holm"] < 0.001)
    (0.55, True)
    """
    X, y, groups = indexable(X, y, groups)
    y = column_or_1d(plain_vector(y), warn=True)
    if pd.isna(y).any():
        raise ValueError(f"y holds missing labels in {int(pd.isna(y).sum())} cases")
    target = type_of_target(y, input_name="y")
    if target not in ("binary", "multiclass"):
        raise ValueError(f"compare_models compares classifiers; y is {target}")
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only, {classes.tolist()[0]!r}: nothing to tell apart")
    if groups is not None:
        groups = column_or_1d(plain_vector(groups))
        if pd.isna(groups).any():
            raise ValueError(
                f"groups is missing for {int(pd.isna(groups).sum())} cases: give each a group, "
                "one of its own if nothing is known of it"
            )
    sets = check_external(external, X, classes, groups)
    candidates = make_candidates(estimators, cache)
    positive = positive_class(classes, np.searchsorted(classes, y), pos_label)
    measures, primary = resolve_scoring(scoring, classes, positive)
    measures = with_bounds(measures, bounds)
    check_measures(measures, X, y)
    scorers = {measure.name: measure.scorer for measure in measures if measure.scorer is not None}
    metadata = check_metadata(params, groups, len(y))
    routes = {
        name: route_metadata(name, candidate, set(metadata))
        for name, candidate in candidates.items()
    }
    check_engine(engine, candidates)
    store = None if checkpoint is None else Checkpoint(checkpoint, scorers)
    seed = draw_seed(random_state)
    if store is not None and random_state is None:
        seed = store.seed(seed)
    splits = make_splits(cv, y, groups, seed, reproducible=store is not None)
    fold_seeds = [
        int(state) for state in np.random.SeedSequence(seed).generate_state(len(splits.splits))
    ]
    # Fold by fold, so that an interrupted comparison has whole folds of all candidates.
    tasks = [(name, fold) for fold in range(len(splits.splits)) for name in candidates]
    keys: dict[tuple[str, int], str] = {}
    results: dict[tuple[str, int], FoldRecord | FoldFailure] = {}
    if store is not None:
        data = fingerprint_data(X, y, metadata)
        digests = {name: fingerprint_estimator(item) for name, item in candidates.items()}
        for name, fold in tasks:
            key = record_key(
                data, digests[name], splits.splits[fold], fold_seeds[fold], routes[name]
            )
            keys[name, fold] = key
            record = store.read(key)
            if record is not None:
                results[name, fold] = record
    remaining = [task for task in tasks if task not in results]
    parts = [
        FoldPart(
            candidates[name],
            splits.splits[fold],
            fold,
            fold_seeds[fold],
            {keyword: metadata[key] for keyword, key in routes[name].items()},
            keys.get((name, fold), ""),
            groups,
        )
        for name, fold in remaining
    ]
    outcomes = run_folds(parts, X, y, classes, scorers, store, n_jobs=n_jobs, engine=engine)
    with progress_bar(total=len(remaining), desc="comparing", unit="fit", verbose=verbose) as bar:
        for number, outcome in outcomes:
            results[remaining[number]] = outcome
            bar.update()
    comparison = ModelComparison(
        estimators=candidates,
        y=y,
        groups=groups,
        splits=splits,
        measures=measures,
        primary_metric=primary,
        results={
            name: [results[name, fold] for fold in range(len(splits.splits))] for name in candidates
        },
        seed=seed,
        pos_label=positive,
    )
    _report_failures(comparison, "")
    if not sets:
        return comparison
    set_keys: dict[tuple[str, str], str] = {}
    if store is not None:
        for each in sets:
            where = f"{data} {fingerprint_data(each.X, each.y, {})}"
            for name in candidates:
                set_keys[name, each.name] = record_key(
                    where, digests[name], each.split(len(y)), seed, routes[name]
                )
    outcomes_by_set = run_external(
        sets,
        candidates,
        {
            name: {keyword: metadata[key] for keyword, key in routes[name].items()}
            for name in candidates
        },
        X,
        y,
        classes,
        scorers,
        seed,
        store,
        set_keys,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    for each in sets:
        comparison.external[each.name] = validated = ModelComparison(
            estimators=candidates,
            y=each.y,
            groups=each.groups,
            splits=Splits([each.split(len(y))], np.zeros(1, dtype=int), "external", each.name),
            measures=measures,
            primary_metric=primary,
            results={name: [outcome] for name, outcome in outcomes_by_set[each.name].items()},
            seed=seed,
            classes=classes,
            pos_label=positive,
        )
        _report_failures(validated, f" on external[{each.name!r}]")
    return comparison


def _report_failures(comparison: ModelComparison, where: str) -> None:
    """Warn of candidates that failed; if all did on the internal cases there is no result."""
    if not comparison.failures:
        return
    n_folds = len(comparison.splits.splits)
    summary = "; ".join(
        f"{name!r}{f' on {len(failed)} of {n_folds} folds' if n_folds > 1 else ''} "
        f"({failed[0].error})"
        for name, failed in comparison.failures.items()
    )
    if not comparison.models and not where:
        raise ValueError(
            f"every candidate failed: {summary}\n\n"
            f"{next(iter(comparison.failures.values()))[0].traceback}"
        )
    warn(
        f"left out{where}, since they failed: {summary}. comparison.failures has the tracebacks",
        FitFailedWarning,
    )
