"""Train stacked networks: the loop of one network, for many at once.

What a network does depends on itself alone. It draws the initial weights, batches and dropout
masks that it would draw by itself, follows its own schedule, and leaves the stack when it is done.
Networks whose batches are of different lengths are computed in runs of equal length, so that no
row need be masked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from skcyto.neural_network._mlp._prepared import BatchMaker, PreparedFit, make_net
from skcyto.neural_network._stacked._dropout import StackedDropout
from skcyto.neural_network._stacked._losses import stack_losses
from skcyto.neural_network._stacked._network import StackedMLP
from skcyto.neural_network._stacked._optimizer import StackedOptimizer
from skcyto.neural_network._stacked._rows import StackedRows, runs
from skcyto.neural_network._stages import begins_stage, forget_best, is_in_last_stage
from skcyto.neural_network._training import PLATEAU_FACTOR, PLATEAU_PATIENCE, diverged, one_thread
from skcyto.utils._random import torch_seed

if TYPE_CHECKING:
    from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier

# Numbers of validation rows that go through the networks at once.
_VALIDATION_NUMBERS = 8_000_000


@dataclass
class _Member:
    """A network of the stack and how its training stands."""

    classifier: ImbalancedMLPClassifier
    prepared: PreparedFit
    net: Any
    scheduler: Any
    optimizer: torch.optim.Optimizer
    position: int
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_epoch: int = 0
    misses: int = 0

    @property
    def learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def end_epoch(self, row: dict[str, Any]) -> bool:
        """Take note of an epoch; say whether it was the best so far."""
        if self.scheduler is not None:
            row["learning_rate"] = self.learning_rate
        criterion, epoch = self.prepared.criterion, len(self.history)
        self.history.append(row)
        if begins_stage(criterion, epoch):
            self.best_loss = float("inf")
            if isinstance(self.scheduler, ReduceLROnPlateau):
                forget_best(self.scheduler)
        loss = row[self.prepared.monitor]
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        elif self.scheduler is not None:
            self.optimizer.step()  # of nothing: schedulers warn where there was none
            self.scheduler.step()
        is_best = loss < self.best_loss
        counts = is_in_last_stage(criterion, epoch, self.classifier.max_epochs)
        self.misses = self.misses + 1 if counts and not is_best else 0
        if is_best:
            self.best_loss, self.best_epoch = loss, row["epoch"]
        return is_best

    @property
    def is_done(self) -> bool:
        classifier = self.classifier
        stops = classifier.early_stopping and self.misses == classifier.n_iter_no_change
        return stops or len(self.history) == classifier.max_epochs


class StackedTraining:
    """Trains classifiers whose networks have one shape and whose losses are of one family.

    Parameters
    ----------
    fits : list of (ImbalancedMLPClassifier, PreparedFit)
        What to train, all on one device.
    """

    def __init__(self, fits: list[tuple[ImbalancedMLPClassifier, PreparedFit]]) -> None:
        self.device = fits[0][1].device
        # Neighbours of equal length make long runs.
        order = sorted(
            range(len(fits)),
            key=lambda i: (str(fits[i][0].sampler), len(fits[i][1].train), len(fits[i][1].valid)),
        )
        generators: list[torch.Generator] = []
        self.members = [self._begin(*fits[i], i, generators) for i in order]
        self.errors: dict[int, Exception] = {}
        prepared = [member.prepared for member in self.members]
        classifiers = [member.classifier for member in self.members]
        self.rows = StackedRows(
            prepared,
            [
                BatchMaker(c.sampler, c.batch_size, p.batch_seed)
                for c, p in zip(classifiers, prepared, strict=True)
            ],
            self.device,
        )
        self.network = StackedMLP([m.net.module_ for m in self.members], self.device)
        self.dropout = StackedDropout(
            [c.dropout for c in classifiers], self.network.widths, generators, self.device
        )
        self.loss = stack_losses([fit.criterion for fit in prepared], self.device)
        name = str(classifiers[0].optimizer)
        decay = np.array([float(c.weight_decay) for c in classifiers])
        self.optimizer = StackedOptimizer(name, self.network.parameters, decay)
        self.best = [tensor.clone() for tensor in self.network.state()]
        self.normalizes = bool(self.network.buffers)

    def run(self) -> dict[int, Exception]:
        """Train until the last network is done.

        Returns
        -------
        errors : dict of int to Exception
            Why networks failed, by position in `fits`. All others are fitted.
        """
        with one_thread(self.device):
            epoch = 0
            while self.members:
                self._run_epoch(epoch)
                epoch += 1
        return self.errors

    def _begin(
        self,
        classifier: ImbalancedMLPClassifier,
        prepared: PreparedFit,
        position: int,
        generators: list[torch.Generator],
    ) -> _Member:
        with torch_seed(prepared.net_seed, self.device):
            net = make_net(classifier, prepared).initialize()
            # The masks go on where the initial weights ended.
            generators.append(
                torch.Generator().set_state(torch.get_rng_state())
                if self.device.type == "cpu"
                else torch.Generator(self.device).manual_seed(prepared.net_seed)
            )
        dummy = torch.optim.SGD([torch.zeros(1)], lr=classifier.learning_rate)
        scheduler: Any = None
        if classifier.lr_scheduler == "plateau":
            scheduler = ReduceLROnPlateau(dummy, patience=PLATEAU_PATIENCE, factor=PLATEAU_FACTOR)
        elif classifier.lr_scheduler == "cosine":
            scheduler = CosineAnnealingLR(dummy, T_max=classifier.max_epochs)
        return _Member(classifier, prepared, net, scheduler, dummy, position)

    def _run_epoch(self, epoch: int) -> None:
        begin = time.perf_counter()
        self.loss.set_epoch(epoch)
        sizes = self.rows.draw_epoch()
        if self.normalizes and (sizes == 1).any():
            sizes = self._refuse_single_rows(sizes)
            if not self.members:
                return
        rates = np.array([member.learning_rate for member in self.members])
        self.optimizer.begin_epoch(rates, sizes)
        self.dropout.begin_epoch(sizes)
        totals = torch.zeros(len(self.members), device=self.device)
        for number in range(sizes.shape[1]):
            for start, stop, size in runs(sizes[:, number]):
                self._step(number, start, stop, size, totals)
        losses = {"train_loss": np.array(totals.tolist()) / sizes.sum(axis=1)}
        losses["valid_loss"] = self._validate()
        seconds = (time.perf_counter() - begin) / len(self.members)
        self._end_epoch(epoch, losses, seconds)

    def _step(self, number: int, start: int, stop: int, size: int, totals: torch.Tensor) -> None:
        x, y, weight = self.rows.batch(number, start, stop, size)
        leaves = self.network.leaves(start, stop)
        masks = self.dropout.masks(number, start, stop, size)
        logits = self.network.forward(x, leaves, start, stop, masks, training=True)
        losses = self.loss(logits, y, weight, slice(start, stop), training=True)
        # The sum's gradient is that of each network's own loss.
        gradients = torch.autograd.grad(losses.sum(), leaves)
        self.optimizer.step(number, start, stop, gradients)
        totals[start:stop] += losses.detach() * size

    def _validate(self) -> NDArray[np.float64]:
        """Return the validation loss of each network; NaN without validation rows."""
        found = torch.full((len(self.members),), torch.nan, device=self.device)
        width = max([self.rows.X.shape[1], *self.network.widths])
        with torch.no_grad():
            for start, stop, size in runs(self.rows.valid.sizes):
                n_models = max(1, _VALIDATION_NUMBERS // (size * width))
                for low in range(start, stop, n_models):
                    high = min(low + n_models, stop)
                    x, y, weight = self.rows.validation(low, high, size)
                    parameters = [p[low:high] for p in self.network.parameters]
                    logits = self.network.forward(x, parameters, low, high, training=False)
                    found[low:high] = self.loss(logits, y, weight, slice(low, high), training=False)
        return np.array(found.tolist())

    def _end_epoch(self, epoch: int, losses: dict[str, NDArray], seconds: float) -> None:
        improved: list[int] = []
        done: list[int] = []
        for number, member in enumerate(self.members):
            row: dict[str, Any] = {"epoch": epoch + 1, "dur": seconds}
            row["train_loss"] = float(losses["train_loss"][number])
            if len(member.prepared.valid):
                row["valid_loss"] = float(losses["valid_loss"][number])
            error = diverged(row, member.learning_rate)
            if error is not None:
                self.errors[member.position] = error
                done.append(number)
                continue
            if member.end_epoch(row):
                improved.append(number)
            if member.is_done:
                done.append(number)
        if improved:
            models = torch.tensor(improved, device=self.device)
            for best, now in zip(self.best, self.network.state(), strict=True):
                best.index_copy_(0, models, now.index_select(0, models))
        if done:
            self._finish(done)

    def _finish(self, done: list[int]) -> None:
        """Hand networks over to their classifiers and go on with the others."""
        self.loss.write()
        for number in done:
            member = self.members[number]
            if member.position in self.errors:
                continue
            is_last = member.best_epoch == len(member.history)
            restores = member.classifier.restore_best_weights and not is_last
            state = self.best if restores else self.network.state()
            _hand_over(member, self.network, state, number, int(self.optimizer.n_steps[number]))
        kept = [number for number in range(len(self.members)) if number not in set(done)]
        self.members = [self.members[number] for number in kept]
        if not kept:
            return
        models = torch.tensor(kept, device=self.device)
        self.network.keep(models)
        self.rows.keep(models)
        self.dropout.keep(kept)
        self.optimizer.keep(models)
        self.optimizer.parameters = self.network.parameters
        self.best = [tensor.index_select(0, models) for tensor in self.best]
        self.loss = self.loss.keep(kept)

    def _refuse_single_rows(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Fail networks with a batch of one row, over which nothing can be normalised."""
        single = np.flatnonzero((sizes == 1).any(axis=1)).tolist()
        for number in single:
            self.errors[self.members[number].position] = ValueError(
                "Expected more than 1 value per channel when training: a batch of one row has no "
                "variance; use a larger batch_size, or batch_norm=False"
            )
        self._finish(single)
        return sizes[[number for number in range(len(sizes)) if number not in set(single)]]


def _hand_over(
    member: _Member, network: StackedMLP, state: list[torch.Tensor], number: int, n_steps: int
) -> None:
    net, classifier = member.net, member.classifier
    network.write(net.module_, state, number)
    for part in net.module_:
        if isinstance(part, torch.nn.BatchNorm1d) and part.num_batches_tracked is not None:
            part.num_batches_tracked.fill_(n_steps)
    net.module_.eval()
    net.criterion_.eval()
    for row in member.history:
        net.history.new_epoch()
        for key, value in row.items():
            net.history.record(key, value)
    net.optimizer_.param_groups[0]["lr"] = member.learning_rate
    classifier.net_ = net
    classifier._store_history()
