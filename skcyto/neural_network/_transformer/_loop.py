"""The loop that fine-tunes: steps, epochs, the best weights, and a state to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from timm.utils import ModelEmaV3
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from skcyto.losses import Criterion
from skcyto.losses._criterion import spread
from skcyto.neural_network._samplers import draws_per_row, validation_weight
from skcyto.neural_network._stages import (
    begins_stage,
    epochs_without_gain,
    forget_best,
    monitored_loss,
    stage_start,
)
from skcyto.neural_network._training import optimizer_settings
from skcyto.neural_network._transformer._batches import DROPOUT, MIXING, EpochPlan, derive_seed
from skcyto.neural_network._transformer._mixing import Mixer
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.neural_network._transformer._settings import FineTuneSettings
from skcyto.utils._devices._batch_halver import BatchHalver
from skcyto.utils._random import torch_seed

_PLATEAU_PATIENCE = 2
_PLATEAU_FACTOR = 0.5


class FineTuning:
    """A network in training.

    Parameters
    ----------
    network : TransformerClassifier
        On its device.
    criterion : Criterion
        Fitted to the rows that train, on the same device.
    settings : FineTuneSettings
        How it is trained.
    plan : EpochPlan
        What each epoch shows.
    target : ndarray of int, shape (n_images,)
        Class of every image, those included that are not part of the plan.
    sample_weight : ndarray of shape (n_images,) or None
        Weights of the images.
    precision : torch.dtype
        What the network computes in.
    batches : BatchHalver
        Images that go through the network at once.
    keeps_trained_alone : bool, default=False
        Whether the state leaves out what is frozen.

    Attributes
    ----------
    history : list of dict
        One row for each epoch that is done.
    draws_per_row : ndarray of float, shape (n_classes,)
        How often an epoch shows an image of each class.
    """

    def __init__(
        self,
        network: TransformerClassifier,
        criterion: Criterion,
        settings: FineTuneSettings,
        plan: EpochPlan,
        target: NDArray[np.intp],
        sample_weight: NDArray | None,
        *,
        precision: torch.dtype,
        batches: BatchHalver,
        keeps_trained_alone: bool = False,
    ) -> None:
        self.history: list[dict[str, Any]] = []
        self._network = network
        self._criterion = criterion
        self._settings = settings
        self._plan = plan
        self._precision = precision
        self._batches = batches
        self._device = batches.device
        self._target = torch.from_numpy(target.astype(np.int64)).to(self._device)
        self._weight = None
        if sample_weight is not None:
            self._weight = torch.from_numpy(sample_weight.astype(np.float32)).to(self._device)
        valid_weight = None if sample_weight is None else sample_weight[plan.valid]
        self.draws_per_row = draws_per_row(
            plan.sampler, plan.target, criterion.n_classes, plan.batch_size
        )
        if criterion.supports_sample_weight:
            valid_weight = validation_weight(self.draws_per_row, target[plan.valid], valid_weight)
        self._valid_weight = None
        if valid_weight is not None:
            self._valid_weight = torch.from_numpy(valid_weight.astype(np.float32)).to(self._device)
        self._mixer = None
        if settings.mixup_alpha or settings.cutmix_alpha:
            self._mixer = Mixer(settings.mixup_alpha, settings.cutmix_alpha, criterion.n_classes)
        self._average = None if settings.ema_decay is None else _average(network, settings)
        self._forward: Callable[[torch.Tensor], torch.Tensor] = network
        if settings.compile:
            # Static shapes: an epoch has three at most, and each gets kernels of its own.
            self._forward = torch.compile(network, dynamic=False)
        optimizer, optimizer_kwargs = optimizer_settings("adamw", self._device)
        self._optimizer = optimizer(
            network.parameter_groups(
                settings.learning_rate, settings.weight_decay, settings.layer_decay
            ),
            **optimizer_kwargs,
        )
        for group in self._optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._scheduler = _make_scheduler(self._optimizer, settings)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == torch.float16)
        self._best: dict[str, torch.Tensor] | None = None
        self._keeps_trained_alone = keeps_trained_alone
        self._n_updates = 0

    def run(
        self,
        stream: Iterable[torch.Tensor],
        *,
        save: Callable[[], None],
        advance: Callable[[int], Any],
        report: Callable[[dict[str, Any]], Any],
    ) -> None:
        """Train the epochs that are missing.

        Parameters
        ----------
        stream : iterable of torch.Tensor
            Batches of images in the order of the plan, from the first epoch that is missing on.
        save : callable
            Called after each epoch.
        advance : callable
            Told how many images were trained on.
        report : callable
            Told the row of the history of each epoch.

        Raises
        ------
        ValueError
            If the loss is no number any more.
        DeviceMemoryError
            If the device's memory does not hold the training on one image.
        """
        batches = iter(stream)
        while not self.is_done:
            epoch = len(self.history)
            start = time.perf_counter()
            with torch_seed(derive_seed(self._plan.seed, epoch, DROPOUT), self._device):
                row = {"epoch": epoch + 1, **self._train(epoch, batches, advance)}
                row.update(self._validate(batches))
            row["learning_rate"] = max(group["lr"] for group in self._optimizer.param_groups)
            row["dur"] = time.perf_counter() - start
            self._finish_epoch(row)
            save()
            report(row)
        self._optimizer.zero_grad(set_to_none=True)  # Gives the gradients' memory back.

    @property
    def is_done(self) -> bool:
        """Whether all epochs were run, or too many without improvement."""
        settings = self._settings
        if len(self.history) == settings.max_epochs:
            return True
        if settings.patience is None:
            return False
        losses = [row[monitored_loss(row)] for row in self.history]
        n_vain = epochs_without_gain(losses, self._criterion, settings.max_epochs)
        return n_vain >= settings.patience

    def restore_best(self) -> None:
        """Give the network the weights of the best epoch, or the averaged ones, as asked for."""
        if self._settings.restore_best_weights and self._best is not None:
            self._network.load_trained_state(self._best)
        elif self._average is not None:
            self._network.load_trained_state(self._average.module.trained_state())

    def state_dict(self) -> dict[str, Any]:
        """Return what the rest of the training depends on; of a training that is done, its results.

        Returns
        -------
        state : dict
            Tensors and plain Python values.
        """
        state = {"history": self.history, "best": self._best}
        if self.is_done and self._best is not None:
            return state
        return state | {
            "network": self._state(self._network),
            "average": None if self._average is None else self._state(self._average.module),
            "criterion": self._criterion.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict(),
            "n_updates": self._n_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned.

        Parameters
        ----------
        state : dict
            As returned.
        """
        self.history = state["history"]
        self._best = state["best"]
        self._criterion.set_epoch(len(self.history) - 1)
        if "network" not in state:
            return
        self._network.load_trained_state(state["network"])
        if self._average is not None:
            self._average.module.load_trained_state(state["average"])
        self._criterion.load_state_dict(state["criterion"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self._scaler.load_state_dict(state["scaler"])
        self._n_updates = state["n_updates"]

    def _state(self, network: TransformerClassifier) -> dict[str, torch.Tensor]:
        """Return what a network has learnt; the rest is where it came from."""
        return network.trained_state() if self._keeps_trained_alone else network.state_dict()

    def _warm_up(self, epoch: int, number: int, n_batches: int) -> None:
        """Let the learning rates rise evenly, up to the end of the last epoch of the warm-up."""
        n_epochs = self._settings.warmup_epochs
        if epoch >= n_epochs:
            return
        share = (epoch * n_batches + number + 1) / (n_epochs * n_batches)
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _mix(
        self, images: torch.Tensor, rows: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mix the images of a batch, where that is asked for; also return the shares of classes."""
        if self._mixer is None:
            return images, None
        return self._mixer.mix(images, self._target[rows], seed)

    def _train(
        self, epoch: int, stream: Iterator[torch.Tensor], advance: Callable[[int], Any]
    ) -> dict[str, float]:
        self._network.train()
        self._criterion.set_epoch(epoch)
        total = torch.zeros((), device=self._device)
        n_images = 0
        targets, predictions = [], []
        batches = self._plan.train_batches(epoch)
        mixing = np.random.SeedSequence([self._plan.seed, epoch, MIXING])
        for number, seed in enumerate(mixing.generate_state(len(batches)).tolist()):
            self._warm_up(epoch, number, len(batches))
            rows = torch.from_numpy(self._plan.train[batches[number]]).to(self._device)
            images, shares = self._mix(next(stream), rows, seed)
            loss, predicted = self._batches.run(partial(self._step, images, rows, shares))
            if self._average is not None:
                self._n_updates += 1
                self._average.update(self._network, step=self._n_updates)
            # Nothing is asked of the device before the end of the epoch.
            total += loss * len(rows)
            n_images += len(rows)
            targets.append(self._target[rows] if shares is None else shares.argmax(dim=1))
            predictions.append(predicted)
            advance(len(rows))
        return {
            "train_loss": float(total) / n_images,
            "train_f1_macro": _score(torch.cat(targets), torch.cat(predictions)),
        }

    def _step(
        self, images: torch.Tensor, rows: torch.Tensor, shares: torch.Tensor | None, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of the optimiser on a batch that goes through the network in parts."""
        self._optimizer.zero_grad(set_to_none=True)
        whole = self._share(rows, shares)
        total = torch.zeros((), device=self._device)
        predictions = []
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            of_part = None if shares is None else shares[part]
            with self._autocast():
                logits = self._forward(images[part])
            weight = None if self._weight is None else self._weight[rows[part]]
            if of_part is None:
                loss = self._criterion(logits, self._target[rows[part]], weight)
            else:
                loss = self._criterion.soft_loss(logits, of_part, weight)
            # The criterion divides by the weights of the part: the sum over all parts is then the
            # loss of the whole batch, for every loss that is a weighted mean over rows.
            loss = loss * (self._share(rows[part], of_part) / whole)
            self._scaler.scale(loss).backward()
            total += loss.detach()
            predictions.append(logits.detach().argmax(dim=1))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return total, torch.cat(predictions)

    def _share(self, rows: torch.Tensor, shares: torch.Tensor | None) -> torch.Tensor | float:
        """Return what the criterion divides the summed losses of some rows by."""
        target, weight = self._target[rows], None
        if self._weight is not None:
            weight = self._weight[rows]
        if shares is not None:
            target, weight = spread(shares, weight)
        # Class weights may be in force from a later epoch on only.
        active = getattr(self._criterion, "active_class_weight", None)
        if active is None or active() is not None:
            like = torch.zeros((), device=self._device)
            weight = self._criterion.row_weight(target, weight, like)
        if weight is None:
            return float(len(rows))
        return self._criterion.divisor(weight, len(rows))

    def _validate(self, stream: Iterator[torch.Tensor]) -> dict[str, float]:
        valid = self._plan.valid
        if not len(valid):
            return {}
        forward = self._forward
        self._network.eval()
        if self._average is not None:
            forward = self._average.module
        n_batches = -(-len(valid) // self._plan.valid_batch_size)
        with torch.no_grad():
            logits = compute_logits(
                forward, islice(stream, n_batches), self._precision, self._batches
            )
            rows = torch.from_numpy(valid).to(self._device)
            loss = self._criterion(logits, self._target[rows], self._valid_weight)
        return {
            "valid_loss": float(loss),
            "valid_f1_macro": _score(self._target[rows], logits.argmax(dim=1)),
        }

    def _finish_epoch(self, row: dict[str, Any]) -> None:
        """Check the losses of an epoch, and draw the conclusions."""
        for key in ("train_loss", "valid_loss"):
            value = row.get(key, 0.0)
            if not abs(value) < float("inf"):
                raise ValueError(
                    f"the {key} became {value} in epoch {row['epoch']}: training diverged. Lower "
                    f"learning_rate (now {self._settings.learning_rate:.3g}), or use "
                    "precision='bfloat16' or 'float32' if it is float16"
                )
        monitor = monitored_loss(row)
        epoch = len(self.history)
        comparable = self.history[stage_start(self._criterion, epoch) :]
        if all(row[monitor] < before[monitor] for before in comparable):
            self._best = None
            if self._settings.restore_best_weights:
                network = self._network if self._average is None else self._average.module
                state = self._state(network)
                self._best = {k: v.detach().to("cpu", copy=True) for k, v in state.items()}
        self.history.append(row)
        if epoch < self._settings.warmup_epochs:
            return
        if isinstance(self._scheduler, ReduceLROnPlateau):
            if begins_stage(self._criterion, epoch):
                forget_best(self._scheduler)
            self._scheduler.step(row[monitor])
        elif self._scheduler is not None:
            self._scheduler.step()

    def _autocast(self) -> torch.autocast:
        return autocast(self._device, self._precision)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Compute in a lower precision where one is asked for."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def compute_logits(
    forward: Callable[[torch.Tensor], torch.Tensor],
    stream: Iterable[torch.Tensor],
    precision: torch.dtype,
    batches: BatchHalver,
    advance: Callable[[int], Any] = lambda n_images: None,
) -> torch.Tensor:
    """Send images through a network in evaluation mode.

    Parameters
    ----------
    forward : callable
        The network.
    stream : iterable of torch.Tensor
        Batches of images.
    precision : torch.dtype
        What the network computes in.
    batches : BatchHalver
        Images that go through the network at once.
    advance : callable, optional
        Told how many images are done.

    Returns
    -------
    logits : torch.Tensor of shape (n_images, n_classes), dtype float32
        On the network's device.
    """
    logits: list[torch.Tensor] = []
    for images in stream:

        def work(size: int, images: torch.Tensor = images) -> torch.Tensor:
            with autocast(batches.device, precision):
                return torch.cat([forward(part) for part in images.split(size)])

        logits.append(batches.run(work).float())
        advance(len(images))
    return torch.cat(logits)


def _average(network: TransformerClassifier, settings: FineTuneSettings) -> ModelEmaV3:
    """Make the moving average of a network's weights; what is frozen is shared with it."""
    average = ModelEmaV3(network, decay=settings.ema_decay, use_warmup=True)
    for own, copied in zip(network.parameters(), average.module.parameters(), strict=True):
        if not own.requires_grad:
            copied.data = own.data
    return average


def _score(target: torch.Tensor, predicted: torch.Tensor) -> float:
    y_true, y_pred = target.numpy(force=True), predicted.numpy(force=True)
    return float(f1_score(y_true, y_pred, average="macro", zero_division=0))


def _make_scheduler(
    optimizer: torch.optim.Optimizer, settings: FineTuneSettings
) -> ReduceLROnPlateau | CosineAnnealingLR | None:
    if settings.lr_scheduler == "plateau":
        # eps=0: the learning rates here are of the size of its default.
        return ReduceLROnPlateau(
            optimizer, patience=_PLATEAU_PATIENCE, factor=_PLATEAU_FACTOR, eps=0.0
        )
    if settings.lr_scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=settings.max_epochs - settings.warmup_epochs)
    return None
