"""Prune trials between folds and epochs, with the same outcome however many run at once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from sklearn.base import BaseEstimator

from skcyto.model_selection._search._quiet_optuna import quiet_optuna
from skcyto.utils._pipelines import last_step

# Scores take their time, and storages theirs to keep them.
_REPORTS_PER_FOLD = 20


@dataclass(frozen=True)
class StudySnapshot:
    """A study as it stood when a round of folds began.

    Folds that run side by side must not see one another: which of them is first depends on the
    number of processes. Each gets its own copy, in memory, so that workers need not reach the
    storage either.

    Parameters
    ----------
    name : str
        Of the study; pruners draw brackets from it.
    pruner : optuna pruner
        Decides.
    trials : list of optuna.trial.FrozenTrial
        All of the study, in order.
    """

    name: str
    pruner: BasePruner
    trials: list[FrozenTrial]

    @classmethod
    def take(cls, study: optuna.Study) -> StudySnapshot:
        """Copy what pruners look at."""
        return cls(study.study_name, study.pruner, study.get_trials(deepcopy=True))

    def open(self, number: int) -> optuna.Trial:
        """Return a trial of a copy of the study.

        Returns
        -------
        trial : optuna.Trial
            Running.
        """
        with quiet_optuna():
            study = optuna.create_study(
                study_name=self.name,
                direction="maximize",
                sampler=RandomSampler(seed=0),
                pruner=copy.deepcopy(self.pruner),
            )
        study.add_trials(self.trials)
        return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


@dataclass(frozen=True)
class EpochPruning:
    """What a fold needs to prune a net between its epochs.

    Parameters
    ----------
    snapshot : StudySnapshot
        The study.
    number : int
        Number of the trial.
    earlier : list of float
        Scores of the folds before.
    steps_per_fold : int
        Length of a fold on the trial's axis.
    metric : str or None
        Name of the objective among several scores.
    so_far : callable or None
        Scorer of the pooled predictions of the folds before and of this one, where folds lack a
        class.
    skips_undefined : bool
        Whether folds without a score are left out of the mean.
    """

    snapshot: StudySnapshot
    number: int
    earlier: list[float]
    steps_per_fold: int
    metric: str | None
    so_far: Callable[..., float] | None = None
    skips_undefined: bool = False


def final_net(estimator: Any) -> BaseEstimator | None:
    """Return the net that an estimator ends in, where it can be scored while it trains.

    Parameters
    ----------
    estimator : estimator
        A net of skcyto or skorch, or a pipeline with one as its last step.
    """
    estimator = last_step(estimator)
    if "skorch" not in sys.modules or not hasattr(estimator, "get_params"):
        return None
    params = estimator.get_params(deep=False)
    has_epochs = isinstance(params.get("max_epochs"), int) and "callbacks" in params
    return estimator if has_epochs and params["callbacks"] != "disable" else None


def attach_reporter(
    estimator: BaseEstimator,
    pruning: EpochPruning,
    X_test: Any,
    y_test: Any,
    scorer: Callable[..., Any],
    score_params: dict[str, Any],
) -> Any:
    """Let the net of a candidate report its epochs.

    Parameters
    ----------
    estimator : estimator
        The candidate, about to be fitted.
    pruning : EpochPruning
        The trial and its study.
    X_test, y_test : array-like
        Test rows of the fold.
    scorer : callable
        Of the search.
    score_params : dict
        Metadata of these rows for the scorer.

    Returns
    -------
    reporter : EpochReporter or None
        None where the candidate doesn't end in a net.
    """
    net = final_net(estimator)
    if net is None:
        return None
    from skcyto.model_selection._search._epochs import EpochReporter

    score = _PartialScore(
        estimator,
        X_test,
        y_test,
        pruning.so_far or _one_scorer(scorer, pruning.metric, score_params),
        score_params,
        pruning.metric,
    )
    reporter = EpochReporter(
        score,
        pruning.snapshot.open(pruning.number),
        pruning.earlier,
        pruning.steps_per_fold,
        min(pruning.steps_per_fold, _REPORTS_PER_FOLD),
        is_pooled=pruning.so_far is not None,
        skips_undefined=pruning.skips_undefined,
    )
    net.set_params(callbacks=[*(net.callbacks or []), reporter])
    return reporter


def _one_scorer(
    scorer: Any, metric: str | None, score_params: dict[str, Any]
) -> Callable[..., Any]:
    """Take the objective out of a multi-metric scorer, to spare the other scores."""
    if score_params:
        return scorer  # which alone knows what to hand to each
    return getattr(scorer, "_scorers", {}).get(metric, scorer)


class _PartialScore:
    """Score an estimator whose last step is in training; all before is fitted and applied once."""

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        scorer: Callable[..., Any],
        score_params: dict[str, Any],
        metric: str | None,
    ) -> None:
        self.estimator = estimator
        self.X = X
        self.y = y
        self.scorer = scorer
        self.score_params = score_params
        self.metric = metric
        self._is_transformed = False

    def __call__(self) -> float:
        if not self._is_transformed:
            while hasattr(self.estimator, "steps"):
                *before, (_, last) = self.estimator.steps
                for _, step in before:
                    # Resamplers act in fit alone.
                    if step not in (None, "passthrough") and not hasattr(step, "fit_resample"):
                        self.X = step.transform(self.X)
                self.estimator = last
            self._is_transformed = True
        score = self.scorer(self.estimator, self.X, self.y, **self.score_params)
        return float(score[self.metric] if isinstance(score, dict) else score)
