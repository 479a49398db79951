"""Run the folds of a batch of trials: all at once, or round by round where trials are pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel
from optuna.pruners import BasePruner, WilcoxonPruner
from sklearn.base import BaseEstimator, clone
from sklearn.utils.parallel import delayed

from skcyto.model_selection._search._cv_results import to_record
from skcyto.model_selection._search._fold import FoldCall, FoldOutcome, fit_fold, score_fitted
from skcyto.model_selection._search._ledger import Candidate, TrialLedger
from skcyto.model_selection._search._pruning import EpochPruning, StudySnapshot, final_net
from skcyto.model_selection._search._scoring import FoldScoring, ScoreSoFar
from skcyto.model_selection._stacked_fits import FoldTask, fit_in_stacks, refuse_unstackable


@dataclass
class BatchRunner:
    """Fits candidates on folds and reports to their trials.

    Parameters
    ----------
    parallel : joblib.Parallel
        Runs the folds.
    estimator : estimator
        Cloned for each fold.
    X, y : array-like
        Cases.
    splits : list of (ndarray, ndarray)
        Rows of the folds.
    settings : mapping
        Keywords of scikit-learn's ``_fit_and_score``.
    objectives : list of str
        Names of the scores that the study maximises.
    error_score : float
        Score of a failed fold.
    pruner : optuna pruner or None
        None fits all folds of all candidates.
    engine : {"separate", "stacked"}
        How the nets of a batch are trained.
    scoring : FoldScoring or None
        Given where folds lack a class that a score needs.
    """

    parallel: Parallel
    estimator: BaseEstimator
    X: Any
    y: Any
    splits: Sequence[tuple[np.ndarray, np.ndarray]]
    settings: Mapping[str, Any]
    objectives: Sequence[str]
    error_score: float
    pruner: BasePruner | None
    engine: str = "separate"
    scoring: FoldScoring | None = None

    def run(self, batch: Sequence[Candidate], ledger: TrialLedger) -> None:
        """Fit a batch and tell the study."""
        records: dict[int, dict[str, Any]] = {}
        if self.pruner is None:
            self._run_at_once(batch, ledger, records)
        else:
            self._run_in_rounds(batch, ledger, records)
        # In order, so that samplers and pruners find the same study whoever was first.
        for position, candidate in enumerate(batch):
            ledger.tell(candidate, records[position])

    def _run_at_once(
        self, batch: Sequence[Candidate], ledger: TrialLedger, records: dict[int, dict[str, Any]]
    ) -> None:
        n_splits = len(self.splits)
        outcomes: dict[int, dict[int, FoldOutcome]] = {
            position: {} for position in range(len(batch))
        }
        calls = [self._call(batch, p, fold) for p in range(len(batch)) for fold in range(n_splits)]
        for call, outcome in self._fit(batch, calls):
            position = call.position
            outcomes[position][call.fold] = outcome
            if len(outcomes[position]) == n_splits:
                folds = [outcomes[position][number].result for number in range(n_splits)]
                records[position] = self._record(batch[position], folds, False, ledger)

    def _run_in_rounds(
        self, batch: Sequence[Candidate], ledger: TrialLedger, records: dict[int, dict[str, Any]]
    ) -> None:
        net = final_net(self.estimator)
        # One step a fold; a net's folds are as long as its training.
        reports_epochs = net is not None and not isinstance(self.pruner, WilcoxonPruner)
        steps_per_fold = net.max_epochs if reports_epochs and net is not None else 1
        folds: list[list[dict[str, Any]]] = [[] for _ in batch]
        for fold in range(len(self.splits)):
            running = [position for position in range(len(batch)) if position not in records]
            pruning = self._pruning(batch, running, folds, steps_per_fold, ledger)
            calls = [self._call(batch, p, fold, pruning.get(p)) for p in running]
            outcomes = {call.position: outcome for call, outcome in self._fit(batch, calls)}
            for position in running:
                outcome, trial = outcomes[position], batch[position].trial
                for name, value in outcome.system_attrs.items():
                    trial.study._storage.set_trial_system_attr(trial._trial_id, name, value)
                for step, value in outcome.reports:
                    trial.report(value, step)
                if not outcome.is_pruned:
                    folds[position].append(outcome.result)
            last = fold == len(self.splits) - 1
            for position in running:
                is_pruned = outcomes[position].is_pruned or self._prunes(
                    batch[position], folds[position], (fold + 1) * steps_per_fold, last
                )
                if is_pruned or last:
                    records[position] = self._record(
                        batch[position], folds[position], is_pruned, ledger
                    )

    def _call(
        self, batch: Sequence[Any], position: int, fold: int, pruning: EpochPruning | None = None
    ) -> FoldCall:
        n_splits = len(self.splits)
        return FoldCall(position, fold, self.splits[fold], len(batch), n_splits, pruning)

    def _pruning(
        self,
        batch: Sequence[Candidate],
        running: Sequence[int],
        folds: Sequence[Sequence[dict[str, Any]]],
        steps_per_fold: int,
        ledger: TrialLedger,
    ) -> dict[int, EpochPruning]:
        if steps_per_fold == 1:
            return {}
        snapshot = StudySnapshot.take(ledger.study)
        (objective,) = self.objectives
        return {
            position: EpochPruning(
                snapshot,
                batch[position].number,
                [self._scores(result)[0] for result in folds[position]],
                steps_per_fold,
                objective,
                self._score_so_far(objective, folds[position]),
                self.scoring is not None and objective in self.scoring.whole,
            )
            for position in running
        }

    def _prunes(
        self, candidate: Candidate, folds: Sequence[dict[str, Any]], step: int, last: bool
    ) -> bool:
        scores = [self._scores(result)[0] for result in folds]
        # That pruner compares trials fold by fold; all others look at how a trial stands.
        value = (
            scores[-1]
            if isinstance(self.pruner, WilcoxonPruner)
            else self._trial_score(self.objectives[0], folds)
        )
        if np.isnan(value):
            return False
        candidate.trial.report(value, step)
        return not last and candidate.trial.should_prune()

    def _fit(
        self, batch: Sequence[Candidate], calls: Sequence[FoldCall]
    ) -> Iterator[tuple[FoldCall, FoldOutcome]]:
        if self.engine == "stacked":
            yield from self._fit_stacked(batch, calls)
            return
        yield from self.parallel(
            delayed(fit_fold)(
                clone(self.estimator),
                self.X,
                self.y,
                batch[call.position].params,
                call,
                self.settings,
                self.scoring,
            )
            for call in calls
        )

    def _fit_stacked(
        self, batch: Sequence[Candidate], calls: Sequence[FoldCall]
    ) -> Iterator[tuple[FoldCall, FoldOutcome]]:
        candidates = [
            clone(self.estimator).set_params(**clone(candidate.params, safe=False))
            for candidate in batch
        ]
        for candidate, estimator in zip(batch, candidates, strict=True):
            refuse_unstackable(f"the candidate {candidate.params}", estimator)
        tasks = [
            FoldTask(candidates[call.position], call.split[0], self.settings["fit_params"])
            for call in calls
        ]
        fits = fit_in_stacks(tasks, self.X, self.y, self.parallel)
        for fit, call in zip(fits, calls, strict=True):
            yield score_fitted(fit, self.X, self.y, call, self.settings, self.scoring)

    def _score_so_far(self, objective: str, folds: Sequence[dict[str, Any]]) -> ScoreSoFar | None:
        if self.scoring is None or objective not in self.scoring.pooled:
            return None
        if any(fold.get("labels") is None for fold in folds):
            return None  # a fold failed, and so has the trial
        return ScoreSoFar(self.scoring, objective, [fold["labels"] for fold in folds])

    def _trial_score(self, name: str, folds: Sequence[dict[str, Any]]) -> float:
        """Return a score of a trial from the folds that are done."""
        scores = [self._score(fold, name) for fold in folds]
        if self.scoring is None:
            return float(np.mean(scores))
        if any(fold["fit_error"] is not None for fold in folds):
            return self.error_score
        labels = [fold.get("labels") for fold in folds]
        if name in self.scoring.pooled and any(each is None for each in labels):
            return self.error_score  # predict failed
        return self.scoring.value(name, scores, [each for each in labels if each is not None])

    def _record(
        self,
        candidate: Candidate,
        folds: Sequence[dict[str, Any]],
        is_pruned: bool,
        ledger: TrialLedger,
    ) -> dict[str, Any]:
        failed = any(fold["fit_error"] is not None for fold in folds)
        values = np.full(len(self.objectives), np.nan)
        if not is_pruned:
            values = np.array([self._trial_score(name, folds) for name in self.objectives])
        status = "complete"
        if is_pruned:
            status = "pruned"
        elif failed or np.isnan(values).any():
            status = "failed"
        named = {}
        if self.scoring is not None and not is_pruned:
            names = sorted(self.scoring.pooled | self.scoring.whole)
            named = {name: self._trial_score(name, folds) for name in names}
        record = to_record(folds, status, values.tolist(), named)
        ledger.record(candidate, record)
        return record

    def _scores(self, result: dict[str, Any]) -> list[float]:
        """Return the scores of a fold on all objectives."""
        scores = result["test_scores"] if result["fit_error"] is None else self.error_score
        if not isinstance(scores, dict):
            return [float(scores)] * len(self.objectives)
        missing = [name for name in self.objectives if name not in scores]
        if missing:
            raise ValueError(
                f"scoring returned {sorted(scores)}, and not {missing}: name one of them in refit, "
                "or one or several in objectives"
            )
        return [float(scores[name]) for name in self.objectives]

    def _score(self, result: dict[str, Any], name: str) -> float:
        if name in self.objectives:
            return self._scores(result)[self.objectives.index(name)]
        scores = result["test_scores"] if result["fit_error"] is None else self.error_score
        return float(scores[name] if isinstance(scores, dict) else scores)
