"""Networks and criteria called for many models at once, each with numbers of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.func import functional_call, stack_module_state, vmap

from skcyto.losses import Criterion


class _Masked(torch.nn.Module):
    """Dropout by a mask that is handed in, since each network draws its own."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask if self.training else x


class StackedNetworks:
    """Networks of one architecture, called as one; `generators` draw each one's dropout."""

    def __init__(
        self, modules: Sequence[torch.nn.Module], generators: Sequence[torch.Generator]
    ) -> None:
        self.parameters, self.buffers = stack_module_state(list(modules))
        self.parameters = {name: value.detach() for name, value in self.parameters.items()}
        self._generators = list(generators)
        self._keep_rates: dict[str, list[float]] = {}
        self._template = copy.deepcopy(modules[0])
        for name, layer in list(self._template.named_children()):
            if isinstance(layer, torch.nn.Dropout):
                self._keep_rates[name] = [1 - getattr(module, name).p for module in modules]
                setattr(self._template, name, _Masked())

    def forward(
        self, X: torch.Tensor, parameters: dict[str, torch.Tensor], models: slice, training: bool
    ) -> torch.Tensor:
        """Compute the logits (n_models, n_rows, n_classes) of networks, each on rows of its own."""
        self._template.train(training)
        state = parameters | {name: buffer[models] for name, buffer in self.buffers.items()}
        if training:
            state |= self._draw_masks(X, parameters, models)
        # The buffers of batch norm are slices of those of all: what it writes stays.
        return vmap(lambda state, rows: functional_call(self._template, state, (rows,)))(state, X)

    def _draw_masks(
        self, X: torch.Tensor, parameters: dict[str, torch.Tensor], models: slice
    ) -> dict[str, torch.Tensor]:
        """Draw what torch's own layer would draw for each network, in the order of the layers."""
        masks = {}
        widths = [value.shape[1] for value in parameters.values() if value.ndim == 3]
        for width, (name, rates) in zip(widths, self._keep_rates.items(), strict=False):
            mask = X.new_empty((*X.shape[:2], width))
            chosen = zip(mask, rates[models], self._generators[models], strict=True)
            for part, rate, generator in chosen:
                part.bernoulli_(rate, generator=generator).div_(rate)
            masks[f"{name}.mask"] = mask
        return masks

    def write(self, model: int, module: torch.nn.Module) -> None:
        """Copy a network into a module of the same architecture."""
        with torch.no_grad():
            for name, value in (*module.named_parameters(), *module.named_buffers()):
                stacked = self.parameters.get(name)
                value.copy_((self.buffers[name] if stacked is None else stacked)[model])

    def keep(self, models: list[int]) -> None:
        """Drop all networks but some."""
        for state in (self.parameters, self.buffers):
            for name, value in state.items():
                state[name] = value[models]
        self._generators = [self._generators[model] for model in models]
        self._keep_rates = {
            name: [rates[model] for model in models] for name, rates in self._keep_rates.items()
        }


def criterion_kind(criterion: Criterion) -> tuple[Any, ...]:
    """Return what criteria that are called as one have in common; others are of their own kind."""
    if not criterion.is_stackable:
        return (type(criterion), id(criterion))
    own = type(criterion).stackable_numbers or ()
    plain = (
        (name, value)
        for name, value in vars(criterion).items()
        if isinstance(value, bool | int | float | str) and name not in (*own, "training")
    )
    return (type(criterion), *sorted(plain))


class StackedCriteria:
    """Criteria, called as one where neighbours are of one kind, and one by one elsewhere."""

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        self.criteria = list(criteria)
        self._groups: list[tuple[int, int, Any]] = []
        start = 0
        for _, members in itertools.groupby(self.criteria, criterion_kind):
            group = list(members)
            stack = _Stack(group) if len(group) > 1 else None
            self._groups.append((start, start + len(group), stack))
            start += len(group)

    def forward(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        sample_weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        """Compute the loss of each model."""
        losses = []
        for start, stop, stack in self._groups:
            low, high = max(start, models.start), min(stop, models.stop)
            if low >= high:
                continue
            part = slice(low - models.start, high - models.start)
            given = [logits[part], target[part]]
            if sample_weight is not None:
                given.append(sample_weight[part])
            if stack is not None:
                losses.append(stack(given, slice(low - start, high - start), training))
                continue
            criterion = self.criteria[low].train(training)
            losses.append(criterion(*[value[0] for value in given]).unsqueeze(0))
        return losses[0] if len(losses) == 1 else torch.cat(losses)

    def set_epoch(self, epoch: int) -> None:
        """Tell the criteria which epoch begins; those called alone hear it from their nets."""
        for _, _, stack in self._groups:
            if stack is not None:
                stack.template.set_epoch(epoch)

    def write(self, model: int) -> None:
        """Copy what changed in training, such as the shares of group DRO, to a criterion."""
        for start, stop, stack in self._groups:
            if stack is not None and start <= model < stop:
                for name, buffer in self.criteria[model].named_buffers():
                    buffer.copy_(stack.buffers[name][model - start])

    def keep(self, models: list[int]) -> StackedCriteria:
        """Return a stack of some of the criteria."""
        for model in models:
            self.write(model)
        return StackedCriteria([self.criteria[model] for model in models])


class _Stack:
    """Criteria of one kind, more than one."""

    def __init__(self, criteria: list[Criterion]) -> None:
        _, self.buffers = stack_module_state(list(criteria))
        self.template = copy.deepcopy(criteria[0])
        names = type(criteria[0]).stackable_numbers or ()
        self._numbers = {
            name: torch.tensor(
                [getattr(criterion, name) for criterion in criteria],
                device=criteria[0].class_counts.device,
            )
            for name in names
        }

    def __call__(self, given: list[torch.Tensor], models: slice, training: bool) -> torch.Tensor:
        self.template.train(training)
        buffers = {name: value[models] for name, value in self.buffers.items()}
        numbers = {name: value[models] for name, value in self._numbers.items()}

        def compute(
            buffers: dict[str, torch.Tensor], numbers: dict[str, torch.Tensor], *given: torch.Tensor
        ) -> torch.Tensor:
            for name, number in numbers.items():
                setattr(self.template, name, number)
            return functional_call(self.template, buffers, given)

        return vmap(compute)(buffers, numbers, *given)
