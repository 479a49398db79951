"""Search hyperparameters with optuna, as GridSearchCV does with a grid."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import optuna
from numpy.typing import ArrayLike
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from sklearn.base import _fit_context, clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures
from sklearn.utils import indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_method_params

from skcyto.metrics import get_scorer_names
from skcyto.model_selection._groups import hand_groups_on
from skcyto.model_selection._inner_folds import check_grouped_folds
from skcyto.model_selection._search._checks import check_objectives, draw_splits, named_scorers
from skcyto.model_selection._search._cv_results import fill_folds, format_results, refuse_undefined
from skcyto.model_selection._search._damage import name_lost_storage
from skcyto.model_selection._search._ledger import RECORD, TrialLedger
from skcyto.model_selection._search._quiet_optuna import quiet_optuna
from skcyto.model_selection._search._rounds import BatchRunner
from skcyto.model_selection._search._scoring import prepare_scoring
from skcyto.model_selection._search._space import Space, make_space
from skcyto.model_selection._search._study import (
    check_study,
    open_study,
    sampler_of_rank,
    search_key,
)
from skcyto.model_selection._search._worker import Heartbeat, Worker
from skcyto.utils._parallel import streaming_parallel
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import draw_seed

# Seconds between looks at what other processes do.
_POLL = 0.5
# Workers that may die before the search gives up.
_MOST_LOSSES = 10


class OptunaSearchCV(BaseSearchCV):
    """Search hyperparameters with optuna under cross-validation.

    Everything that :class:`~sklearn.model_selection.GridSearchCV` does, with the candidates
    suggested by an optuna sampler from what earlier ones scored. Beyond that: conditional spaces,
    pruning between folds and between the epochs of a net, several objectives, and storages from
    which a search goes on after a crash and which many machines may share.

    Parameters
    ----------
    estimator : estimator
        Cloned for each candidate and fold.
    param_distributions : dict, list of dict or callable
        Names of parameters with a list of values, a distribution of :mod:`scipy.stats`, any
        object with ``rvs``, or a distribution of :mod:`optuna.distributions`. A list of dicts
        is a conditional space: each trial draws one of the dicts. A callable is given the optuna
        trial and returns a dict of parameters, and must return the same for the same trial.
        See :func:`suggest_space`.
    n_trials : int or None, default=50
        Number of trials, together with those that the storage has already and those of other
        processes that share it. None goes on until `timeout`.
    timeout : float or None, default=None
        Seconds after which no new batch is begun.
    study : optuna.Study or None, default=None
        Study of your own, with its own sampler and pruner; one that holds trials of other data is
        refused.
    storage : str, optuna storage or None, default=None
        Where trials are kept: the URL of a database or an optuna storage. The study's name is
        made from the content of the data, metadata and folds, the estimator with its
        parameters, the scores and the space, so that the same search goes on where it was and
        different ones, such as those of the outer folds of nested cross-validation, share
        nothing.
    sampler : optuna sampler or None, default=None
        Suggests the candidates; None is optuna's tree-structured Parzen estimator. Only the
        latter is seeded by `random_state`.
    pruner : optuna pruner or None, default=None
        Breaks trials off that lag behind; None fits every fold of every candidate. With a pruner
        the folds of a trial run one after another, and where `estimator` is a net of skcyto or
        skorch, or a pipeline that ends in one, it is asked between epochs too.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`, with the names of
        :func:`skcyto.metrics.get_scorer`: scikit-learn's and skcyto's own.
    objectives : list of str or None, default=None
        Names of the scores that the study maximises; several make a multi-objective study. None
        is the score that `refit` names, and all of them where it names none.
    refit : bool, str or callable, default=True
        As in :class:`~sklearn.model_selection.GridSearchCV`; with several scores the name of that
        which chooses ``best_params_``.
    cv : int, splitter, iterable or None, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`. The folds are drawn once, and are
        the same for all candidates.
    n_jobs : int or None, default=None
        Folds that run at once, over the candidates of a batch; changes nothing in the results.
    trials_per_batch : int, default=4
        Candidates that are suggested before any of them has scored. More keeps more processes
        busy (`trials_per_batch` times the number of folds, or without this factor where there is
        a pruner), fewer learns more from each.
    engine : {"separate", "stacked"}, default="separate"
        "separate" fits every candidate on every fold by itself. "stacked" trains the networks of
        all candidates and folds of a batch together, as one batched network on one device;
        `estimator` is then an :class:`~skcyto.neural_network.ImbalancedMLPClassifier` or a
        pipeline that ends in one. Scores are the same to rounding. Set `trials_per_batch` to
        some twenty with it.
    error_score : "raise" or float, default=np.nan
        Score of a fold that failed. A trial that scores NaN counts as failed in the study.
    random_state : int, RandomState or None, default=None
        Seed of the default sampler. The results are the same for every `n_jobs`, and after a
        crash.
    verbose : int, default=0
        1 shows a progress bar, 2 and more also the messages of scikit-learn and optuna.
    pre_dispatch : int or str, default="2*n_jobs"
        As in :class:`~sklearn.model_selection.GridSearchCV`.
    return_train_score : bool, default=False
        Whether ``cv_results_`` has training scores.
    pos_label : label, default=None
        The positive one of two classes, for scores such as "f1" and "average_precision". None
        takes the rarer one, the second of equally many.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in :class:`~sklearn.model_selection.GridSearchCV`, one row a trial, with two more
        columns: ``trial`` is its number in the study and ``status`` is "complete", "pruned" or
        "failed" (a fold failed or scored NaN). A pruned trial has the scores of the folds that it
        finished, NaN for the others and in the mean, and ranks last.
    best_estimator_ : estimator
        Fitted on all data, where `refit` is not False.
    best_score_ : float
        Mean score of the best candidate.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its row in ``cv_results_``.
    study_ : optuna.Study
        All trials, for :mod:`optuna.visualization` and :mod:`optuna.importance`.
    scorer_ : callable or dict
        Scorer or scorers.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.
    classes_ : ndarray of shape (n_classes,)
        Labels, where the estimator is a classifier.
    n_features_in_ : int
        Number of features, where the estimator tells.
    feature_names_in_ : ndarray of str
        Names of the features, where the estimator tells.

    See Also
    --------
    suggest_space : A sensible space for skcyto's estimators.
    compare_models : Compare what was found on folds that no search has seen.

    Notes
    -----
    A score that averages over classes ("f1_macro", "balanced_accuracy") is another quantity on a
    fold that lacks a class. One of predicted labels is then NaN for every fold, and the trial's
    score (``mean_test_...``, what is maximised and what a pruner is told) is that of the pooled
    predictions of each round. Areas under curves are means over the folds that hold every class.

    A pruner is told the mean score of the folds so far, at the number of folds done. Within a
    fold, a net is scored on the fold's test rows some twenty times in a training; its steps are
    epochs, on the scale of the estimator's own ``max_epochs`` also for candidates with another
    one. :class:`optuna.pruners.WilcoxonPruner` is told each fold's own score, as it expects.

    References
    ----------
    .. [1] Akiba, Sano, Yanase, Ohta and Koyama, Optuna: A next-generation hyperparameter
       optimization framework, KDD 2019.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skcyto.model_selection import OptunaSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = OptunaSearchCV(
    ...     LogisticRegression(max_iter=500),
    ...     {"C": loguniform(1e-2, 1e2), "class_weight": [None, "balanced"]},
    ...     n_trials=8,
    ...     cv=3,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> sorted(search.best_params_)
    ['C', 'class_weight']
    >>> len(search.cv_results_["params"])
    8
    """

    # Its presence tells that `groups` reach the estimator too.
    _hands_groups_on = True

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, list, tuple, callable],
        "scoring": [StrOptions(set(get_scorer_names())), callable, list, tuple, dict, None],
        "n_trials": [Interval(Integral, 1, None, closed="left"), None],
        "timeout": [Interval(Real, 0, None, closed="neither"), None],
        "study": [HasMethods(["ask", "tell", "get_trials"]), None],
        "storage": [str, HasMethods(["create_new_study", "create_new_trial"]), None],
        "sampler": [HasMethods(["sample_relative", "sample_independent"]), None],
        "pruner": [HasMethods(["prune"]), None],
        "objectives": [list, tuple, None],
        "trials_per_batch": [Interval(Integral, 1, None, closed="left")],
        "engine": [StrOptions({"separate", "stacked"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any]
        | Sequence[Mapping[str, Any]]
        | Callable[[optuna.Trial], dict[str, Any]],
        *,
        n_trials: int | None = 50,
        timeout: float | None = None,
        study: optuna.Study | None = None,
        storage: Any = None,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        scoring: Any = None,
        objectives: Sequence[str] | None = None,
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        cv: Any = None,
        n_jobs: int | None = None,
        trials_per_batch: int = 4,
        engine: str = "separate",
        error_score: Any = np.nan,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        return_train_score: bool = False,
        pos_label: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.timeout = timeout
        self.study = study
        self.storage = storage
        self.sampler = sampler
        self.pruner = pruner
        self.objectives = objectives
        self.trials_per_batch = trials_per_batch
        self.engine = engine
        self.random_state = random_state
        self.pos_label = pos_label

    # The fit of BaseSearchCV fits every candidate on every fold and gives up where all fits of one
    # call fail; pruning and single batches need neither, and records of earlier runs come in.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> OptunaSearchCV:
        """Run the search.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or what the estimator takes
            Cases.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets.
        **params : dict
            Metadata such as ``groups`` and ``sample_weight``, routed as by
            :class:`~sklearn.model_selection.GridSearchCV`. Without metadata routing, ``groups``
            go to the estimator too, and to the steps of a pipeline whose ``fit`` names them.

        Returns
        -------
        self : OptunaSearchCV

        Raises
        ------
        ValueError
            If parameters contradict one another, the study does not fit, a scorer can't work, all
            fits failed, or the first trials all score NaN.
        """
        scorers, refit_metric = self._get_scorers()
        objectives = check_objectives(self, scorers)
        space = make_space(self.param_distributions)

        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        if params.get("groups") is not None:
            check_grouped_folds(self.estimator, fixable=False)
        handed_on = hand_groups_on(self.estimator, params.get("groups"))
        routed.estimator.fit = handed_on | routed.estimator.fit
        splits = draw_splits(self, X, y, routed.splitter.split)
        scorers, scoring, marks = prepare_scoring(
            self, scorers, objectives, X, y, splits, routed.scorer.score
        )
        self.n_splits_ = len(splits)
        estimator = clone(self.estimator)
        settings = self._fold_settings(scorers, routed)
        key = ""
        if self.study is not None or self.storage is not None:
            measured = [self.scoring, objectives, self.return_train_score, *marks]
            key = search_key(estimator, X, y, params, splits, measured, space.fingerprint())

        with (
            Worker() as worker,
            quiet_optuna(0 if self.verbose > 1 else 30),
            name_lost_storage(self.storage),
        ):
            ledger = self._open_ledger(key, len(objectives), space, worker)
            pruner = self.study_.pruner if len(objectives) == 1 else None
            # Each trial is recorded as soon as its last fold is done.
            with streaming_parallel(
                self.n_jobs, ordered=False, pre_dispatch=self.pre_dispatch
            ) as parallel:
                runner = BatchRunner(
                    parallel,
                    estimator,
                    X,
                    y,
                    splits,
                    settings,
                    objectives,
                    self._error_score(),
                    None if isinstance(pruner, optuna.pruners.NopPruner) else pruner,
                    self.engine,
                    scoring,
                )
                self._run_search(runner, ledger)
            results = self._collect(ledger, refit_metric)
        self._choose(results, refit_metric)
        if self.refit:
            self._refit(estimator, X, y, routed.estimator.fit)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        self.cv_results_ = results
        return self

    def _fold_settings(self, scorers: Any, routed: Any) -> dict[str, Any]:
        """Return the keywords of scikit-learn's ``_fit_and_score`` that all folds share."""
        return {
            "scorer": scorers,
            "fit_params": routed.estimator.fit,
            "score_params": routed.scorer.score,
            "return_train_score": self.return_train_score,
            "return_times": True,
            "error_score": self.error_score,
            # At 1 there is the progress bar.
            "verbose": self.verbose if self.verbose > 1 else 0,
        }

    def _get_scorers(self) -> Any:
        # The base class knows scikit-learn's names only. It is asked about a copy, since fit must
        # leave the parameters as they are.
        named = copy.copy(self)
        named.scoring = named_scorers(self.scoring)
        return super(OptunaSearchCV, named)._get_scorers()

    def _open_ledger(
        self, key: str, n_objectives: int, space: Space, worker: Worker
    ) -> TrialLedger:
        seed = draw_seed(self.random_state)
        make_sampler: Callable[[int], BaseSampler] | None = None
        if self.study is not None:
            check_study(self.study, key, n_objectives)
            self.study_ = self.study
        else:
            # Copies: they have a state, and a second fit is to find what the first one found.
            sampler, pruner = copy.deepcopy(self.sampler), copy.deepcopy(self.pruner)
            if sampler is None:
                make_sampler = partial(sampler_of_rank, seed)
            name = f"{type(self).__name__}-{type(self.estimator).__name__}"
            self.study_ = open_study(self.storage, key, name, n_objectives, sampler, pruner)
        return TrialLedger(
            self.study_, key, space, worker, n_trials=self.n_trials, make_sampler=make_sampler
        )

    def _run_search(self, runner: BatchRunner, ledger: TrialLedger) -> None:
        """Ask for batches of trials, run them and tell, until there are enough."""
        deadline = np.inf if self.timeout is None else time.monotonic() + self.timeout
        is_first = True
        losses = 0
        with progress_bar(
            total=self.n_trials, desc=type(self).__name__, unit="trial", verbose=self.verbose
        ) as bar:
            while True:
                ledger.recover()
                bar.update(len(ledger.recorded()) - bar.n)
                is_late = time.monotonic() >= deadline and not is_first
                size = self.trials_per_batch - ledger.position() % self.trials_per_batch
                batch = [] if is_late else ledger.ask(size)
                if batch:
                    is_first = False
                    try:
                        self._run_batch(runner, ledger, batch)
                    except CancelledError:
                        # A worker of a Dask cluster died with data that it alone held; the batch
                        # is queued again, and the data are sent anew.
                        losses += 1
                        if losses > _MOST_LOSSES:
                            raise
                    refuse_undefined(
                        [t.user_attrs[RECORD] for t in ledger.recorded()], self.n_trials
                    )
                elif ledger.others_run() and time.monotonic() < deadline:
                    time.sleep(_POLL)
                else:
                    break
            bar.update(len(ledger.recorded()) - bar.n)

    @staticmethod
    def _run_batch(runner: BatchRunner, ledger: TrialLedger, batch: list[Any]) -> None:
        ids = [candidate.trial._trial_id for candidate in batch]
        try:
            with Heartbeat(ledger.study._storage, ids):
                runner.run(batch, ledger)
        except BaseException:
            # Also of an interrupt: what has run is kept, the rest can be taken up again.
            for trial in ledger.study.get_trials(deepcopy=False):
                is_ours = trial._trial_id in ids and not trial.state.is_finished()
                if is_ours and RECORD not in trial.user_attrs:
                    ledger.release(trial.number)
            raise

    def _error_score(self) -> float:
        return np.nan if self.error_score == "raise" else float(self.error_score)

    def _collect(self, ledger: TrialLedger, refit_metric: Any) -> dict[str, Any]:
        """Make ``cv_results_`` of all trials, whoever ran them."""
        trials = ledger.recorded()
        records = [trial.user_attrs[RECORD] for trial in trials]
        done = [fold for record in records for fold in record["folds"]]
        if not done:
            raise ValueError("No fits were performed: no trial finished a fold")
        _warn_or_raise_about_fit_failures(done, self._error_score())
        filled = fill_folds(records, self.n_splits_, self._error_score())
        scores = filled[0]["test_scores"]
        self.multimetric_ = isinstance(scores, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores)
        return format_results(
            self._format_results,
            [ledger.params_of(trial) for trial in trials],
            records,
            [trial.number for trial in trials],
            self.n_splits_,
            self._error_score(),
        )

    def _choose(self, results: dict[str, Any], refit_metric: str) -> None:
        if not self.refit and self.multimetric_:
            return
        if self.multimetric_ and callable(self.scoring):
            refit_metric = self.refit
        self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit(self, estimator: Any, X: Any, y: Any, fit_params: Mapping[str, Any]) -> None:
        self.best_estimator_ = clone(estimator).set_params(**clone(self.best_params_, safe=False))
        start = time.time()
        if y is None:
            self.best_estimator_.fit(X, **fit_params)
        else:
            self.best_estimator_.fit(X, y, **fit_params)
        self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
