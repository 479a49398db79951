"""Networks of one shape as one network with a leading axis over the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from skcyto.neural_network._modules import CosineLinear, MLPModule


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
        Each of shape (n_models, ...). Weights are (n_models, in, out), so that their gradients
        come out of a matrix product in the same order in memory.
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
                weights = [m.weight.T for m in column]
                biases = (
                    [[m.bias for m in column]] if getattr(first, "bias", None) is not None else []
                )
                self.layers.append(
                    _Layer(_Slots(self, weights, *biases), isinstance(first, CosineLinear))
                )
                self.widths.append(weights[0].shape[1])
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
            if layer.is_cosine:
                x = torch.bmm(F.normalize(x, dim=2), F.normalize(weight, dim=1))
            elif bias:
                x = torch.baddbmm(bias[0].unsqueeze(1), x, weight)
            else:
                x = torch.bmm(x, weight)
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
        if not training:
            scale = weight * (var + epsilon).rsqrt()
            return torch.addcmul((bias - mean * scale).unsqueeze(1), x, scale.unsqueeze(1))
        x, batch_mean, batch_var = _BatchNorm.apply(x, weight, bias, epsilon)
        n_rows = x.shape[1]
        mean.lerp_(batch_mean, momentum)
        var.lerp_(batch_var * (n_rows / (n_rows - 1)), momentum)
        return x

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
                    targets, values = [part.weight], [weight.mT]
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

    def __init__(self, linear: _Slots, is_cosine: bool) -> None:
        self.linear = linear
        self.is_cosine = is_cosine
        self.norm: tuple[_Slots, float, float] | None = None
        self.activation: nn.Module | None = None


class _BatchNorm(torch.autograd.Function):
    """Normalise over the rows of each network's batch."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean = x.mean(1)
        normal = x - mean.unsqueeze(1)
        var = normal.square().mean(1)
        inverse = (var + epsilon).rsqrt()
        normal.mul_(inverse.unsqueeze(1))
        ctx.save_for_backward(normal, inverse, weight)
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(bias.unsqueeze(1), normal, weight.unsqueeze(1)), mean, var

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> Any:
        normal, inverse, weight = ctx.saved_tensors
        n_rows = normal.shape[1]
        weight_gradient = (gradient * normal).sum(1)
        bias_gradient = gradient.sum(1)
        below = torch.addcmul(
            gradient - (bias_gradient / n_rows).unsqueeze(1),
            normal,
            (weight_gradient / n_rows).unsqueeze(1),
            value=-1,
        )
        return below.mul_((weight * inverse).unsqueeze(1)), weight_gradient, bias_gradient, None


def _without_dropout(module: MLPModule) -> list[nn.Module]:
    return [part for part in module if not isinstance(part, nn.Dropout)]
