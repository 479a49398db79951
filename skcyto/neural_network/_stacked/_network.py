"""Networks of one shape as one network with a leading axis over the networks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from skcyto.neural_network._modules import CosineLinear, MLPModule
from skcyto.neural_network._stacked._products import BatchNorm, linear


class StackedMLP:
    """Several :class:`MLPModule` of the same shape, computed in batched matrix products.

    Parameters
    ----------
    modules : list of MLPModule
        Give the initial weights; their dropout may differ.
    device : torch.device
        Where to compute.

    Attributes
    ----------
    parameters : list of tensor
        Each of shape (n_models, ...).
    buffers : list of tensor
        Running means and variances.
    widths : list of int
        Units of the hidden layers.
    """

    def __init__(self, modules: Sequence[MLPModule], device: torch.device) -> None:
        self.layers: list[_Layer] = []
        self.parameters: list[torch.Tensor] = []
        self.buffers: list[torch.Tensor] = []
        self.widths: list[int] = []
        columns = list(zip(*[_without_dropout(module) for module in modules], strict=True))
        for column in columns:
            first = column[0]
            if isinstance(first, nn.BatchNorm1d):
                norm = _Slots(self, [m.weight for m in column], [m.bias for m in column])
                norm.add_buffers([m.running_mean for m in column], [m.running_var for m in column])
                assert first.momentum is not None
                self.layers[-1].norm = (norm, first.eps, first.momentum)
            elif isinstance(first, nn.Linear | CosineLinear):
                weights = [m.weight for m in column]
                biases = (
                    [[m.bias for m in column]] if getattr(first, "bias", None) is not None else []
                )
                self.layers.append(
                    _Layer(
                        _Slots(self, weights, *biases),
                        copy.deepcopy(first) if isinstance(first, CosineLinear) else None,
                    )
                )
                self.widths.append(len(weights[0]))
            else:
                self.layers[-1].activation = first
        self.widths.pop()  # the logits
        self._to(device)

    def _to(self, device: torch.device) -> None:
        self.parameters = [p.to(device) for p in self.parameters]
        self.buffers = [b.to(device) for b in self.buffers]

    def leaves(self, start: int, stop: int) -> list[torch.Tensor]:
        """Return the parameters of some networks, as leaves of a graph.

        Parameters
        ----------
        start, stop : int
            Networks.

        Returns
        -------
        leaves : list of tensor
            Views.
        """
        return [p[start:stop].detach().requires_grad_() for p in self.parameters]

    def forward(
        self,
        x: torch.Tensor,
        parameters: Sequence[torch.Tensor],
        start: int,
        stop: int,
        masks: Sequence[torch.Tensor] | None = None,
        *,
        training: bool,
    ) -> torch.Tensor:
        """Compute the logits.

        Parameters
        ----------
        x : tensor of shape (stop - start, n_rows, n_features)
            A batch for each network.
        parameters : list of tensor
            Of these networks.
        start, stop : int
            Networks.
        masks : list of tensor or None
            What each hidden layer is multiplied by: zero for dropped units.
        training : bool
            Whether layers are normalised over the batch, and running values follow.

        Returns
        -------
        logits : tensor of shape (stop - start, n_rows, n_classes)
        """
        for number, layer in enumerate(self.layers):
            weight, *bias = layer.linear.of(parameters)
            if layer.cosine_head is not None:
                x = _cosines(layer.cosine_head, weight, x)
            else:
                x = linear(x, weight, bias[0] if bias else None)
            if layer.norm is not None:
                x = self._normalize(x, layer.norm, parameters, start, stop, training)
            if layer.activation is not None:
                x = layer.activation(x)
            if masks is not None and number < len(masks):
                x = x * masks[number]
        return x

    def _normalize(
        self,
        x: torch.Tensor,
        norm: tuple[_Slots, float, float],
        parameters: Sequence[torch.Tensor],
        start: int,
        stop: int,
        training: bool,
    ) -> torch.Tensor:
        slots, epsilon, momentum = norm
        weight, bias = slots.of(parameters)
        mean, var = (buffer[start:stop] for buffer in slots.buffers_of(self.buffers))
        if training:
            return BatchNorm.apply(x, weight, bias, mean, var, momentum, epsilon)
        n_models, n_rows, n_units = x.shape
        normal = F.batch_norm(
            x.transpose(0, 1).reshape(n_rows, -1),
            mean.view(-1),
            var.view(-1),
            weight.reshape(-1),
            bias.reshape(-1),
            eps=epsilon,
        )
        return normal.view(n_rows, n_models, n_units).transpose(0, 1)

    def keep(self, models: torch.Tensor) -> None:
        """Drop all networks but some.

        Parameters
        ----------
        models : tensor of int64
            Those that stay.
        """
        self.parameters = [p.index_select(0, models) for p in self.parameters]
        self.buffers = [b.index_select(0, models) for b in self.buffers]

    def state(self) -> list[torch.Tensor]:
        """Return what a network has learnt: parameters and running values."""
        return [*self.parameters, *self.buffers]

    def write(self, module: MLPModule, state: Sequence[torch.Tensor], model: int) -> None:
        """Copy a network into its module.

        Parameters
        ----------
        module : MLPModule
            Of the same shape.
        state : list of tensor
            As from :meth:`state`, perhaps of an earlier moment.
        model : int
            Position of the network.
        """
        n_parameters = len(self.parameters)
        parameters, buffers = state[:n_parameters], state[n_parameters:]
        layers = iter(self.layers)
        layer = None
        with torch.no_grad():
            for part in _without_dropout(module):
                if isinstance(part, nn.BatchNorm1d):
                    assert layer is not None
                    assert layer.norm is not None
                    slots = layer.norm[0]
                    targets = [part.weight, part.bias, part.running_mean, part.running_var]
                    values = [*slots.of(parameters), *slots.buffers_of(buffers)]
                elif isinstance(part, nn.Linear | CosineLinear):
                    layer = next(layers)
                    weight, *bias = layer.linear.of(parameters)
                    targets, values = [part.weight], [weight]
                    if bias:
                        targets.append(part.bias)
                        values.append(bias[0])
                else:
                    continue
                for target, value in zip(targets, values, strict=True):
                    target.copy_(value[model])


class _Slots:
    """Where the parameters of a layer are in the lists of the stack."""

    def __init__(self, stack: StackedMLP, *tensors: Sequence[torch.Tensor]) -> None:
        self._stack_buffers = stack.buffers
        self._first = len(stack.parameters)
        self._n = len(tensors)
        self._buffers = slice(0, 0)
        for models in tensors:
            stack.parameters.append(torch.stack([t.detach() for t in models]).contiguous())

    def add_buffers(self, *tensors: Sequence[Any]) -> None:
        first = len(self._stack_buffers)
        self._stack_buffers.extend(torch.stack(list(models)) for models in tensors)
        self._buffers = slice(first, first + len(tensors))

    def of(self, parameters: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return parameters[self._first : self._first + self._n]

    def buffers_of(self, buffers: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return buffers[self._buffers]


class _Layer:
    """A linear map and what comes after it."""

    def __init__(self, linear: _Slots, cosine_head: CosineLinear | None) -> None:
        self.linear = linear
        self.cosine_head = cosine_head
        self.norm: tuple[_Slots, float, float] | None = None
        self.activation: nn.Module | None = None


def _cosines(head: CosineLinear, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Apply a head of each network to its own rows."""

    def apply(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return functional_call(head, {"weight": weight}, (x,))

    if x.device.type != "cpu":
        return torch.vmap(apply)(weight, x)
    return torch.stack([apply(*parts) for parts in zip(weight.unbind(0), x.unbind(0), strict=True)])


def _without_dropout(module: MLPModule) -> list[nn.Module]:
    return [part for part in module if not isinstance(part, nn.Dropout)]
