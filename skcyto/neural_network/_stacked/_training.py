"""Train stacked networks: the steps for many at once, everything else as their own nets do it.

Each network has the skorch net that a single fit would train. It draws the initial weights, batches
and dropout masks that it would draw alone; its callbacks hear of every epoch, set its learning
rate, keep its best weights and end its training. Only forward and backward pass and the step of the
optimiser are those of all networks together. Networks whose batches are of different lengths are
computed in runs of equal length, so that no row need be masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier
from skcyto.neural_network._mlp._prepared import PreparedFit
from skcyto.neural_network._stacked._modules import StackedCriteria, StackedNetworks, criterion_kind
from skcyto.neural_network._stacked._optimizer import StackedOptimizer
from skcyto.neural_network._stacked._rows import StackedRows
from skcyto.neural_network._training import StopTraining, TrainingNet, one_thread
from skcyto.utils._random import torch_seed

# Numbers of validation rows that go through the networks at once.
_VALIDATION_NUMBERS = 8_000_000


@dataclass
class _Member:
    """A network of the stack, and the number that the caller knows it by."""

    number: int
    classifier: ImbalancedMLPClassifier
    prepared: PreparedFit
    net: TrainingNet
    generator: torch.Generator
    batches: Any


class StackedTraining:
    """Trains classifiers whose networks have one shape, all on one device.

    What failed is in `errors` afterwards; in `unfit` are those that can't be trained in a stack
    after all, since their own ``fit`` says why.
    """

    def __init__(self, fits: Sequence[tuple[int, ImbalancedMLPClassifier, PreparedFit]]) -> None:
        self.device = fits[0][2].device
        self.errors: dict[int, Exception] = {}
        self.unfit: set[int] = set()

        def neighbours(fit: tuple[int, ImbalancedMLPClassifier, PreparedFit]) -> tuple[Any, ...]:
            # Those of equal length make long runs, and losses of one kind are called as one.
            _, classifier, prepared = fit
            sizes = (len(prepared.train), len(prepared.valid))
            return *sizes, str(classifier.sampler), str(criterion_kind(prepared.criterion))

        self.members = [self._begin(*fit) for fit in sorted(fits, key=neighbours)]
        self.rows = StackedRows([member.prepared for member in self.members], self.device)
        self._stack()
        classifiers = [member.classifier for member in self.members]
        self.optimizer = StackedOptimizer(
            str(classifiers[0].optimizer),
            self.networks.parameters,
            [float(classifier.weight_decay) for classifier in classifiers],
        )

    def run(self) -> None:
        """Train until the last network is done."""
        with one_thread(self.device):
            while self.members:
                self._run_epoch()

    def _begin(
        self, number: int, classifier: ImbalancedMLPClassifier, prepared: PreparedFit
    ) -> _Member:
        with torch_seed(prepared.net_seed, self.device):
            net = classifier._make_net(prepared).initialize()
            # The masks go on where the initial weights ended.
            generator = torch.Generator(self.device).manual_seed(prepared.net_seed)
            if self.device.type == "cpu":
                generator.set_state(torch.get_rng_state())
        # Bars of many nets would run into one another.
        net.callbacks_ = [pair for pair in net.callbacks_ if pair[0] != "progress"]
        net.notify("on_train_begin", X=None, y=None)
        net.optimizer_.step()  # of nothing: schedulers warn where there was none
        batches = net.train_batches.of_classes(prepared.data.y[torch.from_numpy(prepared.train)])
        return _Member(number, classifier, prepared, net, generator, batches)

    def _stack(self) -> None:
        """Stack the networks and criteria of the nets, as they are."""
        nets = [member.net for member in self.members]
        for net in nets:
            net.criterion_.train()
        generators = [member.generator for member in self.members]
        self.networks = StackedNetworks([net.module_ for net in nets], generators)
        self.criteria = StackedCriteria([net.criterion_ for net in nets])

    def _run_epoch(self) -> None:
        for member in self.members:
            member.net.module_.train()
            member.net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
        self.criteria.set_epoch(len(self.members[0].net.history) - 1)
        self._rates = np.array([m.net.optimizer_.param_groups[0]["lr"] for m in self.members])
        totals = torch.zeros(len(self.members), device=self.device)
        n_rows = np.zeros(len(self.members))
        for batch in self.rows.draw_epoch([member.batches for member in self.members]):
            for run in batch:
                models, _, size = run
                n_rows[models] += size
                try:
                    totals[models] += self._step(*run) * size
                except (ValueError, RuntimeError):
                    # Such as a batch of one row, over which nothing can be normalised.
                    self.unfit |= {member.number for member in self.members[models]}
        self._end_epoch(np.array(totals.tolist()) / n_rows, self._validate())

    def _step(self, models: slice, start: int, size: int) -> torch.Tensor:
        X, *given = self.rows.read(models, start, size, training=True)
        own = {name: value[models] for name, value in self.networks.parameters.items()}
        leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
        logits = self.networks.forward(X, leaves, models, training=True)
        losses = self.criteria.forward([logits, *given], models, training=True)
        # The sum's gradient is that of each network's own loss.
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        named = dict(zip(own, gradients, strict=True))
        self.optimizer.step(own, named, models, self._rates[models])
        return losses.detach()

    @torch.no_grad()
    def _validate(self) -> np.ndarray:
        """Return the validation loss of each network; NaN without validation rows."""
        found = torch.full((len(self.members),), torch.nan, device=self.device)
        width = max(value.shape[-1] for value in self.networks.parameters.values())
        for run, start, size in self.rows.valid_runs:
            n_models = max(1, _VALIDATION_NUMBERS // (size * width))
            for low in range(run.start, run.stop, n_models):
                models = slice(low, min(low + n_models, run.stop))
                X, *given = self.rows.read(models, start, size, training=False)
                own = {name: value[models] for name, value in self.networks.parameters.items()}
                logits = self.networks.forward(X, own, models, training=False)
                found[models] = self.criteria.forward([logits, *given], models, training=False)
        return np.array(found.tolist())

    def _end_epoch(self, train: np.ndarray, valid: np.ndarray) -> None:
        """Let the nets' own callbacks draw the conclusions, and drop those that are done."""
        kept = []
        for position, member in enumerate(self.members):
            if member.number in self.unfit:
                continue
            net = member.net
            self.networks.write(position, net.module_)
            self.criteria.write(position)
            net.record_loss("train_loss", float(train[position]))
            if len(member.prepared.valid):
                net.record_loss("valid_loss", float(valid[position]))
            is_done = len(net.history) == net.max_epochs
            try:
                net.notify("on_epoch_end", dataset_train=None, dataset_valid=None)
            except StopTraining:
                is_done = True
            except ValueError as error:  # The training diverged.
                self.errors[member.number] = error
                continue
            net.history.record("dur", net.history[-1, "dur"] / len(self.members))
            if is_done:
                _finish(member)
            else:
                kept.append(position)
        if len(kept) < len(self.members):
            self.members = [self.members[position] for position in kept]
            if kept:
                self.rows.keep(kept)
                self.optimizer.keep(kept)
                self._stack()


def _finish(member: _Member) -> None:
    """Hand a network over to its classifier."""
    net = member.net
    net.notify("on_train_end", X=None, y=None)
    net.module_.eval()
    net.criterion_.eval()
    member.classifier.net_ = net
    member.classifier._store_history()
