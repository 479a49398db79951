"""Train stacked networks: the steps for many at once, everything else as their own nets do it.

Each network has the skorch net that a single fit would train. It draws the initial weights, batches
and dropout masks that it would draw alone; its callbacks hear of every epoch, set its learning
rate, keep its best weights and end its training. Only forward and backward pass and the step of the
optimiser are those of all networks together. Networks whose batches are of different lengths are
computed in runs of equal length, so that no row need be masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier
from skcyto.neural_network._mlp._prepared import PreparedFit
from skcyto.neural_network._stacked._modules import (
    StackedCriteria,
    StackedNetworks,
    criterion_kind,
)
from skcyto.neural_network._stacked._optimizer import StackedOptimizer
from skcyto.neural_network._stacked._rows import StackedRows
from skcyto.neural_network._training import StopTraining, TrainingNet, one_thread
from skcyto.utils._random import torch_seed

# Numbers of validation rows that go through the networks at once.
_VALIDATION_NUMBERS = 8_000_000


@dataclass
class _Member:
    """A network of the stack."""

    position: int
    classifier: ImbalancedMLPClassifier
    prepared: PreparedFit
    net: TrainingNet
    generator: torch.Generator
    batches: Any


class StackedTraining:
    """Trains classifiers whose networks have one shape, all on one device.

    What failed is in `errors` afterwards, by position in `fits`; in `unfit` are those that can't be
    trained in a stack after all, since their own ``fit`` says why.
    """

    def __init__(self, fits: list[tuple[ImbalancedMLPClassifier, PreparedFit]]) -> None:
        self.device = fits[0][1].device
        self.errors: dict[int, Exception] = {}
        self.unfit: set[int] = set()
        # Losses of one kind are called as one, and neighbours of equal length make long runs.
        order = sorted(
            range(len(fits)),
            key=lambda i: (
                len(fits[i][1].train),
                len(fits[i][1].valid),
                str(fits[i][0].sampler),
                str(criterion_kind(fits[i][1].criterion)),
            ),
        )
        self.members = [self._begin(i, *fits[i]) for i in order]
        nets = [member.net for member in self.members]
        self.networks = StackedNetworks(
            [net.module_ for net in nets], [member.generator for member in self.members]
        )
        self.criteria = StackedCriteria([net.criterion_ for net in nets])
        self.rows = StackedRows([member.prepared for member in self.members], self.device)
        classifiers = [member.classifier for member in self.members]
        self.optimizer = StackedOptimizer(
            str(classifiers[0].optimizer),
            self.networks.parameters,
            [float(classifier.weight_decay) for classifier in classifiers],
        )

    def run(self) -> None:
        """Train until the last network is done."""
        with one_thread(self.device):
            epoch = 0
            while self.members:
                self._run_epoch(epoch)
                epoch += 1

    def _begin(
        self, position: int, classifier: ImbalancedMLPClassifier, prepared: PreparedFit
    ) -> _Member:
        with torch_seed(prepared.net_seed, self.device):
            net = classifier._make_net(prepared).initialize()
            # The masks go on where the initial weights ended.
            generator = (
                torch.Generator().set_state(torch.get_rng_state())
                if self.device.type == "cpu"
                else torch.Generator(self.device).manual_seed(prepared.net_seed)
            )
        # Bars of many nets would run into one another.
        net.callbacks_ = [pair for pair in net.callbacks_ if pair[0] != "progress"]
        net.notify("on_train_begin", X=None, y=None)
        net.optimizer_.step()  # of nothing: schedulers warn where there was none
        y = prepared.data.y[torch.from_numpy(prepared.train)]
        return _Member(
            position, classifier, prepared, net, generator, net.train_batches.of_classes(y)
        )

    def _run_epoch(self, epoch: int) -> None:
        for member in self.members:
            member.net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
        self.criteria.set_epoch(epoch)
        batches = self.rows.draw_epoch([member.batches for member in self.members])
        rates = np.array(
            [float(member.net.optimizer_.param_groups[0]["lr"]) for member in self.members]
        )
        totals = torch.zeros(len(self.members), device=self.device)
        n_rows = np.zeros(len(self.members))
        for batch in batches:
            for models, start, size in batch:
                try:
                    totals[models] += self._step(models, start, size, rates[models]) * size
                except (ValueError, RuntimeError):
                    # Such as a batch of one row, over which nothing can be normalised.
                    self.unfit |= {member.position for member in self.members[models]}
                n_rows[models] += size
        self._end_epoch(np.array(totals.tolist()) / n_rows, self._validate())

    def _step(
        self, models: slice, start: int, size: int, rates: NDArray[np.float64]
    ) -> torch.Tensor:
        X, y, weight = self.rows.batch(models, start, size)
        own = {name: value[models] for name, value in self.networks.parameters.items()}
        leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
        logits = self.networks.forward(X, leaves, models, True)
        losses = self.criteria.forward(logits, y, weight, models, True)
        # The sum's gradient is that of each network's own loss.
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        self.optimizer.step(own, dict(zip(own, gradients, strict=True)), models, rates)
        return losses.detach()

    @torch.no_grad()
    def _validate(self) -> NDArray[np.float64]:
        """Return the validation loss of each network; NaN without validation rows."""
        found = torch.full((len(self.members),), torch.nan, device=self.device)
        width = max(value.shape[-1] for value in self.networks.parameters.values())
        for run, _, size in self.rows.valid_runs:
            n_models = max(1, _VALIDATION_NUMBERS // (size * width))
            for start in range(run.start, run.stop, n_models):
                models = slice(start, min(start + n_models, run.stop))
                X, y, weight = self.rows.validation(models, size)
                own = {name: value[models] for name, value in self.networks.parameters.items()}
                logits = self.networks.forward(X, own, models, False)
                found[models] = self.criteria.forward(logits, y, weight, models, False)
        return np.array(found.tolist())

    def _end_epoch(self, train: NDArray[np.float64], valid: NDArray[np.float64]) -> None:
        """Let the nets' own callbacks draw the conclusions."""
        kept = []
        for number, member in enumerate(self.members):
            if member.position in self.unfit:
                continue
            net = member.net
            self.networks.write(number, net.module_)
            net.record_loss("train_loss", float(train[number]))
            if len(member.prepared.valid):
                net.record_loss("valid_loss", float(valid[number]))
            try:
                net.notify("on_epoch_end", dataset_train=None, dataset_valid=None)
            except StopTraining:
                is_done = True
            except ValueError as error:  # The training diverged.
                self.errors[member.position] = error
                continue
            else:
                is_done = len(net.history) == net.max_epochs
            net.history.record("dur", net.history[-1, "dur"] / len(self.members))
            if is_done:
                self._finish(number, member)
            else:
                kept.append(number)
        if len(kept) < len(self.members):
            self._keep(kept)

    def _finish(self, number: int, member: _Member) -> None:
        """Hand a network over to its classifier."""
        net = member.net
        net.notify("on_train_end", X=None, y=None)
        self.criteria.write(number)
        net.module_.eval()
        net.criterion_.eval()
        member.classifier.net_ = net
        member.classifier._store_history()

    def _keep(self, kept: list[int]) -> None:
        self.members = [self.members[number] for number in kept]
        if not kept:
            return
        self.criteria = self.criteria.keep(kept)
        for part in (self.networks, self.rows, self.optimizer):
            part.keep(kept)
