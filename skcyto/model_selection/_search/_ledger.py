"""Trials of a search in its study: asked for, recorded, told, taken up again after a crash.

For those who are new here. A trial takes four steps, each of which the storage has at once:

1. *asked for*: the study gives it a number, and its state is RUNNING;
2. *signed*: the attribute `OWNER` says to which data it belongs and which process works on it, and
   once more when all its parameters are suggested;
3. *recorded*: the attribute `RECORD` has the scores of all its folds, as soon as the last is done;
4. *told*: the study gets its values, trial by trial in the order of the batch, so that samplers
   find the same study whichever process was first.

So what a crash left is read from the trials alone (`recover`): one with a record is told by
whoever comes next; one without is queued again with the parameters that it had, twice at most
(`queue_again`). Whose process still lives, its own machine knows (`_worker`); of other machines
optuna's heartbeats tell, which databases keep and files do not.

Numbers of trials have gaps: some came to nothing. What counts is a trial's *rank*, the number of
trials before it that have run or are running. It decides which sampler, with which seed, suggests
its parameters, and whether it is one too many, so that several processes together make the very
trials that one alone would make. Between steps 1 and 2 a trial is nobody's for a moment, and
whoever asks for the next one waits for it to be signed (`_trials_once_settled`).
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.trial import FrozenTrial, TrialState

from skcyto.model_selection._search._space import Space
from skcyto.model_selection._search._worker import (
    Worker,
    fail_stale_trials,
    heartbeat_interval,
    is_alive,
)

# User attributes of a trial. Whose it is: the key of its data, how often it was retried, and,
# once it runs, the worker; and what came out of it.
OWNER = "skcyto:owner"
RECORD = "skcyto:record"
# Of a record and the parameters that it belongs to, in the record.
CHECKSUM = "checksum"
# A trial that has taken its process down this often is left alone.
_MAX_RETRIES = 2
# How long a trial that runs may keep to itself whose it is, and how often it is looked at.
_PATIENCE, _PAUSE = 10.0, 0.01  # seconds


@dataclass
class Candidate:
    """A trial and the parameters that it stands for.

    Parameters
    ----------
    trial : optuna.Trial
        Running.
    params : dict
        Parameters of the estimator.
    """

    trial: optuna.Trial
    params: dict[str, Any]

    @property
    def number(self) -> int:
        """Number of the trial in its study."""
        return self.trial.number


class TrialLedger:
    """The trials of one search, which other processes may share.

    Parameters
    ----------
    study : optuna.Study
        Where the trials are.
    key : str
        Stands for the data, folds and estimator; trials with another key are not of this search.
    space : Space
        From trials to parameters.
    worker : Worker
        This search.
    n_trials : int or None
        Number of trials, over all processes.
    make_sampler : callable or None
        From a trial's rank to its sampler; None leaves the study its own.
    """

    def __init__(
        self,
        study: optuna.Study,
        key: str,
        space: Space,
        worker: Worker,
        *,
        n_trials: int | None,
        make_sampler: Callable[[int], BaseSampler] | None,
    ) -> None:
        self.study = study
        self.key = key
        self.space = space
        self.worker = worker
        self.n_trials = n_trials
        self.make_sampler = make_sampler
        self.is_exhausted = False
        self._params: dict[int, dict[str, Any]] = {}
        self._strangers: set[int] = set()

    def recorded(self) -> list[FrozenTrial]:
        """Return the trials that have run, in their order."""
        return [trial for trial in self._trials() if _is_recorded(trial)]

    def params_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the estimator's parameters of a trial, whoever asked for it."""
        if trial.number not in self._params:
            self._params[trial.number] = self.space.suggest(trial)
        return self._params[trial.number]

    def others_run(self) -> bool:
        """Say whether another search still works on trials of this one."""
        return any(self._runs(trial) for trial in self._trials())

    def recover(self) -> None:
        """Tell what dead searches had recorded; queue once more what they had begun."""
        fail_stale_trials(self.study)
        for trial in self._trials():
            owner = trial.user_attrs[OWNER]
            is_running = trial.state == TrialState.RUNNING and "pid" in owner
            if is_running and is_alive(owner) is False:
                if RECORD in trial.user_attrs:
                    self._tell(trial.number, trial.user_attrs[RECORD])
                else:
                    self.release(trial.number)

    def ask(self, n: int) -> list[Candidate]:
        """Begin up to `n` trials, fewer where `n_trials` or the space end."""
        candidates: list[Candidate] = []
        while len(candidates) < n and not self.is_exhausted:
            trials = self._trials()
            rank = self._rank(trials)
            if self.n_trials is not None and rank >= self.n_trials:
                break
            candidate = self._ask_one(rank, _count_abandoned(trials))
            if candidate is None:
                break
            candidates.append(candidate)
        return candidates

    def position(self) -> int:
        """Return the number of trials that have run or are running."""
        return self._rank(self._trials())

    def record(self, candidate: Candidate, record: dict[str, Any]) -> None:
        """Keep what came out of a trial, at once.

        Parameters
        ----------
        candidate : Candidate
            The trial.
        record : dict
            ``status``, ``folds`` and ``values``, of what JSON can hold.
        """
        checksum = checksum_of(candidate.trial.params, record)
        # A trial that another process took for dead is finished, and queued again, by now.
        with suppress(RuntimeError):
            candidate.trial.set_user_attr(RECORD, {**record, CHECKSUM: checksum})

    def tell(self, candidate: Candidate, record: dict[str, Any]) -> None:
        """Tell the study of a recorded trial."""
        self._tell(candidate.number, record)

    def release(self, number: int) -> None:
        """Give up a running trial and queue it again."""
        if self._finish(number, state=TrialState.FAIL):
            queue_again(self.study, self.study.get_trials(deepcopy=False)[number])
            self.is_exhausted = False

    def _trials(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if key_of(trial) == self.key]

    def _trials_once_settled(self, number: int) -> list[FrozenTrial]:
        """Return the trials as soon as those before `number` have said whose they are.

        To ask for a trial and to say so are two steps. Whoever counted a trial of another process
        between them as nobody's would take its rank, and with it its parameters.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            nameless = {
                trial.number
                for trial in self.study.get_trials(deepcopy=False)[:number]
                if trial.state == TrialState.RUNNING
                and "pid" not in trial.user_attrs.get(OWNER, {})
            } - self._strangers
            if not nameless:
                return self._trials()
            if time.monotonic() > deadline:
                # Of no search of skcyto, or of a process that died between the two steps.
                self._strangers |= nameless
                return self._trials()
            time.sleep(_PAUSE)

    def _rank(self, trials: Sequence[FrozenTrial], number: float = np.inf) -> int:
        """Count the trials before `number` that have run or are running."""
        return sum(_is_recorded(t) or self._runs(t) for t in trials if t.number < number)

    def _runs(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs[OWNER]
        if trial.state != TrialState.RUNNING or "pid" not in owner:
            return False
        alive = is_alive(owner)
        if alive is None:
            # On another machine: it runs until its heart stops, which a storage without
            # heartbeats would never tell.
            return heartbeat_interval(self.study._storage) is not None
        return alive

    def _ask_one(self, expected_rank: int, n_abandoned: int) -> Candidate | None:
        if self.make_sampler is not None:
            # What was given up is not to be suggested once more.
            self.study.sampler = self.make_sampler(expected_rank + n_abandoned)
        with warnings.catch_warnings():
            # Heartbeats are sent while the folds are fitted.
            warnings.filterwarnings("ignore", message="Heartbeat of storage")
            trial = self.study.ask()
        owner = {"key": self.key, "retries": 0, **trial.user_attrs.get(OWNER, {})}
        owner |= self.worker.identity
        trial.set_user_attr(OWNER, owner)
        trials = self._trials_once_settled(trial.number)
        rank = self._rank(trials, trial.number)
        if self.n_trials is not None and rank >= self.n_trials:
            # Other processes began the last ones in the same moment.
            self._finish(trial.number, state=TrialState.FAIL)
            return None
        if self.make_sampler is not None and rank != expected_rank:
            # Other processes asked in the same moment: the sampler of that rank is theirs.
            self.study.sampler = self.make_sampler(rank + n_abandoned)
            trial = optuna.Trial(self.study, trial._trial_id)
        try:
            params = self.space.suggest(trial)
        except BaseException:
            self._finish(trial.number, state=TrialState.FAIL)
            raise
        if isinstance(self.study.sampler, GridSampler | BruteForceSampler) and any(
            trial.params == other.params
            for other in trials
            if other.number != trial.number and (_is_recorded(other) or self._runs(other))
        ):
            # They begin anew where nothing is left.
            self._finish(trial.number, state=TrialState.FAIL)
            self.is_exhausted = True
            return None
        # Until it says so, a trial may have some of its parameters and lack others.
        trial.set_user_attr(OWNER, {**owner, "is_suggested": True})
        self._params[trial.number] = params
        return Candidate(trial, params)

    def _tell(self, number: int, record: dict[str, Any]) -> None:
        if record["status"] == "pruned":
            self._finish(number, state=TrialState.PRUNED)
        elif np.isnan(record["values"]).any():
            self._finish(number, state=TrialState.FAIL)
        else:
            self._finish(number, values=record["values"], state=TrialState.COMPLETE)

    def _finish(self, number: int, **outcome: Any) -> bool:
        """End a trial; False where another process was faster."""
        try:
            self.study.tell(number, **outcome)
        except (RuntimeError, KeyError, ValueError) as error:
            if not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            # A sampler that has nothing left calls Study.stop, which works in Study.optimize
            # alone, and GridSampler trips over a queued trial; by then the trial has been told.
            is_stop = isinstance(error, RuntimeError) and "Study.stop" in str(error)
            self.is_exhausted |= is_stop
            return is_stop or isinstance(error, KeyError)
        return True


def queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put a trial that broke off back into the queue, with the parameters it had.

    One that broke off while they were suggested gets all of them anew: the rest alone would come
    out otherwise than in a search that was not interrupted. Nothing of it had run, so it is no
    retry.
    """
    owner = trial.user_attrs.get(OWNER)
    if owner is None or RECORD in trial.user_attrs or owner["retries"] >= _MAX_RETRIES:
        return
    has_params = owner.get("is_suggested", False)
    queued = {"key": owner["key"], "retries": owner["retries"] + has_params}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params if has_params else {},
            distributions=trial.distributions if has_params else {},
            user_attrs={OWNER: queued | ({"is_suggested": True} if has_params else {})},
            # Samplers look for their marks there; those of pruners belong to the run.
            system_attrs={
                name: value
                for name, value in trial.system_attrs.items()
                if not name.startswith("completed_rung_")
            },
        )
    )


def key_of(trial: FrozenTrial) -> str | None:
    """Return the key of the data that a trial belongs to, None where no search asked for it."""
    owner = trial.user_attrs.get(OWNER)
    return None if owner is None else owner["key"]


def checksum_of(params: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Hash a record and the parameters that it belongs to.

    Parameters
    ----------
    params : mapping
        As in the study.
    record : mapping
        Of what JSON can hold; a checksum in it doesn't count.

    Returns
    -------
    checksum : str
        Hexadecimal digits.
    """
    plain = {name: value for name, value in record.items() if name != CHECKSUM}
    text = json.dumps([dict(params), plain], sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _count_abandoned(trials: Sequence[FrozenTrial]) -> int:
    return sum(
        trial.state == TrialState.FAIL
        and RECORD not in trial.user_attrs
        and trial.user_attrs[OWNER]["retries"] >= _MAX_RETRIES
        for trial in trials
    )


def _is_recorded(trial: FrozenTrial) -> bool:
    return RECORD in trial.user_attrs and trial.state.is_finished()
