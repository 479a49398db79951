"""Report the epochs of a net to the trial it is trained for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from sklearn.exceptions import UndefinedMetricWarning
from skorch.callbacks import Callback


class EpochReporter(Callback):
    """Report scores on the fold's test rows while a net trains, and stop it where they lag.

    Parameters
    ----------
    score : callable
        Returns the score of the net as it stands.
    trial : optuna.Trial
        Told the scores, asked whether to go on.
    earlier : list of float
        Scores of the folds before; what is reported is the mean of these and the current one.
    steps_per_fold : int
        Length of a fold on the trial's axis, whatever number of epochs the candidate has.
    n_reports : int
        Most reports in a fold.
    is_pooled : bool, default=False
        Whether `score` is of all folds so far.
    skips_undefined : bool, default=False
        Whether folds without a score are left out of the mean.
    """

    def __init__(
        self,
        score: Callable[[], float],
        trial: optuna.Trial,
        earlier: list[float],
        steps_per_fold: int,
        n_reports: int,
        *,
        is_pooled: bool = False,
        skips_undefined: bool = False,
    ) -> None:
        self.score = score
        self.trial = trial
        self.earlier = earlier
        self.steps_per_fold = steps_per_fold
        self.n_reports = n_reports
        self.is_pooled = is_pooled
        self.skips_undefined = skips_undefined
        self.reports: list[tuple[int, float]] = []
        self.is_pruned = False

    def __deepcopy__(self, memo: dict[int, Any]) -> EpochReporter:
        """Return itself: estimators copy callbacks, and this one stands for a single trial."""
        return self

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Report where the training has come to a new step."""
        step = self._step(len(net.history), net.max_epochs)
        if step is None or (self.reports and step <= self.reports[-1][0]):
            return
        with warnings.catch_warnings():
            # A net that has just begun may not predict every class yet.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            value = self._value()
        if np.isnan(value):
            return
        self.reports.append((step, value))
        self.trial.report(value, step)
        if self.trial.should_prune():
            self.is_pruned = True
            raise optuna.TrialPruned(f"pruned at step {step}")

    def _value(self) -> float:
        score = self.score()
        if self.is_pooled:
            return score
        values = [*self.earlier, score]
        if self.skips_undefined:
            values = [each for each in values if not np.isnan(each)]
        return float(np.mean(values)) if values else np.nan

    def _step(self, epoch: int, max_epochs: int) -> int | None:
        """Return the step of an epoch; None where the end of the fold will be reported."""
        if epoch >= max_epochs:
            return None
        done = epoch * self.n_reports // max_epochs
        within = done * self.steps_per_fold // self.n_reports
        return len(self.earlier) * self.steps_per_fold + within if within > 0 else None
