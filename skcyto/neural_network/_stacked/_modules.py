"""Networks and criteria called for many models at once, each with numbers of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.func import functional_call, stack_module_state, vmap

from skcyto.losses import Criterion

Tensors = dict[str, torch.Tensor]


class _Masked(torch.nn.Module):
    """Dropout by a mask that is handed in, since each network draws its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask if self.training else x


class StackedNetworks:
    """Networks of one architecture, called as one; `generators` draw each one's dropout."""

    def __init__(
        self, modules: Sequence[torch.nn.Module], generators: Sequence[torch.Generator]
    ) -> None:
        parameters, self.buffers = stack_module_state(list(modules))
        self.parameters = {name: value.detach() for name, value in parameters.items()}
        self._generators = list(generators)
        self._keep_rates: dict[str, list[float]] = {}
        self._template = copy.deepcopy(modules[0])
        for name, layer in list(self._template.named_children()):
            if isinstance(layer, torch.nn.Dropout):
                self._keep_rates[name] = [1 - getattr(module, name).p for module in modules]
                setattr(self._template, name, _Masked())

    def forward(
        self, X: torch.Tensor, parameters: Tensors, models: slice, training: bool
    ) -> torch.Tensor:
        """Compute the logits of some networks, each on rows of its own."""
        self._template.train(training)
        # The buffers of batch norm are slices of those of all: what it writes stays.
        state = parameters | {name: buffer[models] for name, buffer in self.buffers.items()}
        widths = [value.shape[1] for value in parameters.values() if value.ndim == 3]
        for width, (name, rates) in zip(widths, self._keep_rates.items(), strict=False):
            mask = X.new_ones((*X.shape[:2], width))
            # What torch's own layer would draw for each network, in the order of the layers.
            for part, rate, source in zip(
                mask if training else (), rates[models], self._generators[models], strict=training
            ):
                part.bernoulli_(rate, generator=source).div_(rate)
            state[f"{name}.mask"] = mask
        return vmap(lambda state, rows: functional_call(self._template, state, (rows,)))(state, X)

    def write(self, model: int, module: torch.nn.Module) -> None:
        """Copy a network into a module of the same architecture."""
        state = self.parameters | self.buffers
        with torch.no_grad():
            for name, value in (*module.named_parameters(), *module.named_buffers()):
                value.copy_(state[name][model])


def criterion_kind(criterion: Criterion) -> tuple[Any, ...]:
    """Return what criteria that are called as one have in common."""
    if not criterion.is_stackable:
        return (type(criterion), id(criterion))
    plain = {k: v for k, v in vars(criterion).items() if isinstance(v, bool | int | float | str)}
    for name in ("training", *(criterion.stackable_numbers or ())):
        del plain[name]
    return (type(criterion), *sorted(plain.items()))


class StackedCriteria:
    """Criteria, called as one where neighbours are of one kind, and one by one elsewhere."""

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        self._criteria = list(criteria)
        self._groups: list[tuple[int, int, Criterion, Tensors, Tensors]] = []
        start = 0
        for _, members in itertools.groupby(self._criteria, criterion_kind):
            group = list(members)
            numbers = {
                name: group[0].class_counts.new_tensor([getattr(c, name) for c in group])
                for name in group[0].stackable_numbers or ()
            }
            buffers = stack_module_state(group)[1] if len(group) > 1 else {}
            template = copy.deepcopy(group[0]) if len(group) > 1 else group[0]
            self._groups.append((start, start + len(group), template, buffers, numbers))
            start += len(group)

    def forward(self, given: Sequence[Any], models: slice, training: bool) -> torch.Tensor:
        """Compute the loss of each model from logits, targets and weights."""
        losses = []
        for start, stop, template, buffers, numbers in self._groups:
            low, high = max(start, models.start), min(stop, models.stop)
            if low >= high:
                continue
            template.train(training)
            part = slice(low - models.start, high - models.start)
            own = [value[part] for value in given if value is not None]
            if stop - start == 1:
                losses.append(template(*[value[0] for value in own]).unsqueeze(0))
                continue

            def call(
                buffers: Tensors,
                numbers: Tensors,
                *own: torch.Tensor,
                template: Criterion = template,
            ) -> torch.Tensor:
                for name, value in numbers.items():
                    setattr(template, name, value)
                return functional_call(template, buffers, own)

            rows = slice(low - start, high - start)
            state = ({k: v[rows] for k, v in part.items()} for part in (buffers, numbers))
            losses.append(vmap(call)(*state, *own))
        return torch.cat(losses)

    def set_epoch(self, epoch: int) -> None:
        """Tell the criteria which epoch begins."""
        for _, _, template, _, _ in self._groups:
            template.set_epoch(epoch)

    def write(self, model: int) -> None:
        """Copy what changed in training, such as the shares of group DRO, to a criterion."""
        for start, stop, _, buffers, _ in self._groups:
            if start <= model < stop:
                own = dict(self._criteria[model].named_buffers())
                for name, stacked in buffers.items():
                    own[name].copy_(stacked[model - start])
