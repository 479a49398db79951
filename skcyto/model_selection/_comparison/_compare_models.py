"""Compare classifiers on the same folds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Memory
from numpy.typing import ArrayLike
from sklearn.exceptions import FitFailedWarning
from sklearn.utils._param_validation import HasMethods

from skcyto.model_selection._comparison._candidates import make_candidates
from skcyto.model_selection._comparison._cases import (
    Cases,
    ExternalSet,
    check_cases,
    check_external,
)
from skcyto.model_selection._comparison._fit import Measuring
from skcyto.model_selection._comparison._folds import check_engine
from skcyto.model_selection._comparison._metadata import route_metadata
from skcyto.model_selection._comparison._model_comparison import ModelComparison
from skcyto.model_selection._comparison._plan import Plan
from skcyto.model_selection._comparison._record_folder import RecordFolder
from skcyto.model_selection._results._measures import resolve_scoring
from skcyto.model_selection._results._records import Outcome
from skcyto.model_selection._splits import Splits, make_splits
from skcyto.utils._random import draw_seed
from skcyto.utils._validation import OPTIONAL_PATH, RANDOM_STATE, check_parameters
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
       majority  0.39 0.00    0.34     0.44
    naive Bayes  0.93 0.02    0.90     0.96
    >>> test = comparison.ttest().loc[("naive Bayes", "majority")]
    >>> round(float(test["difference"]), 2), bool(test["p_holm"] < 0.001)
    (0.55, True)
    """
    cases = check_cases(X, y, groups, params)
    sets = check_external(external, cases)
    candidates = make_candidates(estimators, cache)
    wanted = resolve_scoring(scoring, cases.X, cases.y, bounds=bounds, pos_label=pos_label)
    routes = route_metadata(candidates, set(cases.metadata))
    check_engine(engine, candidates)
    store = None if checkpoint is None else RecordFolder(checkpoint, wanted.scorers)
    seed = draw_seed(random_state)
    if store is not None and random_state is None:
        seed = store.seed(seed)
    splits = make_splits(cv, cases.y, cases.groups, seed, reproducible=store is not None)
    measuring = Measuring(cases.classes, wanted.scorers, store)
    plan = Plan(candidates, routes, cases, measuring, seed)

    def collect(
        part: Cases | ExternalSet, splits: Splits, results: Mapping[str, Sequence[Outcome]]
    ) -> ModelComparison:
        found = ModelComparison(
            estimators=candidates,
            y=part.y,
            groups=part.groups,
            splits=splits,
            measures=wanted.measures,
            primary_metric=wanted.primary,
            results=results,
            seed=seed,
            pos_label=wanted.pos_label,
            classes=cases.classes,
        )
        _report_failures(found, f" on external[{splits.site!r}]" if splits.site else "")
        return found

    results = plan.cross_validate(splits.splits, n_jobs=n_jobs, engine=engine, verbose=verbose)
    comparison = collect(cases, splits, results)
    validated = plan.validate(sets, n_jobs=n_jobs, verbose=verbose) if sets else {}
    for each in sets:
        split = Splits([each.split(len(cases.y))], np.zeros(1, dtype=int), "external", each.name)
        outcomes = {name: [outcome] for name, outcome in validated[each.name].items()}
        comparison.external[each.name] = collect(each, split, outcomes)
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
