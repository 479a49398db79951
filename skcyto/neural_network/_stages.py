"""Which epochs of a training can be compared, where its loss changes on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from skorch.callbacks import EarlyStopping, LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skcyto.losses import Criterion


def begins_stage(criterion: Criterion, epoch: int) -> bool:
    """Say whether losses of an epoch can't be compared with those before it.

    Parameters
    ----------
    criterion : Criterion
        Of the training.
    epoch : int
        From 0.

    Returns
    -------
    begins : bool
        False for the first epoch of all, before which there is none.
    """
    stage = criterion.training_stage
    return epoch > 0 and stage(epoch) != stage(epoch - 1)


def is_in_last_stage(criterion: Criterion, epoch: int, max_epochs: int) -> bool:
    """Say whether losses of an epoch can be compared with those of the last one of all.

    Parameters
    ----------
    criterion : Criterion
        Of the training.
    epoch : int
        From 0.
    max_epochs : int
        Length of the training.

    Returns
    -------
    is_in_last : bool
    """
    return criterion.training_stage(epoch) == criterion.training_stage(max_epochs - 1)


def stage_start(criterion: Criterion, epoch: int) -> int:
    """Find the first epoch of a stage.

    Parameters
    ----------
    criterion : Criterion
        Of the training.
    epoch : int
        Any of the stage, from 0.

    Returns
    -------
    start : int
        From 0.
    """
    while epoch > 0 and not begins_stage(criterion, epoch):
        epoch -= 1
    return epoch


def find_best_epoch(losses: Sequence[float], criterion: Criterion) -> int:
    """Find the epoch with the lowest loss among those of the last stage that was reached.

    Parameters
    ----------
    losses : sequence of float
        Of the epochs that were run.
    criterion : Criterion
        Of the training.

    Returns
    -------
    epoch : int
        From 1.
    """
    start = stage_start(criterion, len(losses) - 1)
    return start + int(np.argmin(losses[start:])) + 1


def monitored_loss(row: Mapping[str, Any]) -> str:
    """Name the loss of an epoch that schedules, stops and chooses the best one."""
    return "valid_loss" if "valid_loss" in row else "train_loss"


def epochs_without_gain(losses: Sequence[float], criterion: Criterion, max_epochs: int) -> int:
    """Count the epochs since the best one; none before the last stage.

    Parameters
    ----------
    losses : sequence of float
        Of the epochs that were run.
    criterion : Criterion
        Of the training.
    max_epochs : int
        Length of the training.

    Returns
    -------
    n_epochs : int
    """
    if not losses or not is_in_last_stage(criterion, len(losses) - 1, max_epochs):
        return 0
    return len(losses) - find_best_epoch(losses, criterion)


def forget_best(scheduler: ReduceLROnPlateau) -> None:
    """Let a scheduler wait for improvement anew; the learning rate stays what it is.

    Parameters
    ----------
    scheduler : ReduceLROnPlateau
        Changed in place.
    """
    scheduler.best = scheduler.mode_worse
    scheduler.num_bad_epochs = 0


class EpochLRScheduler(LRScheduler):
    """A scheduler that steps once an epoch, so that no batch need be announced to it."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Step, on a plateau that begins anew with each stage."""
        is_plateau = isinstance(self.lr_scheduler_, ReduceLROnPlateau)
        if is_plateau and begins_stage(net.criterion_, len(net.history) - 1):
            forget_best(self.lr_scheduler_)
        super().on_epoch_end(net, **kwargs)


class BestEpoch(EarlyStopping):
    """The best epoch of the last stage, which no early stop comes before."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare the epoch with those of its stage."""
        epoch = len(net.history) - 1
        if begins_stage(net.criterion_, epoch):
            self.dynamic_threshold_ = np.inf if self.lower_is_better else -np.inf
        if not is_in_last_stage(net.criterion_, epoch, net.max_epochs):
            self.misses_ = -net.max_epochs  # too few to end the training
        super().on_epoch_end(net, **kwargs)
