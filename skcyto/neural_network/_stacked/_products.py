"""Batched matrix products that give a network the very bits that it gets alone.

Training amplifies rounding: a unit whose input is zero to seven digits passes a gradient on or
doesn't, and from then on two trainings differ. So on the CPU a batched product is used only for
shapes for which it was seen to give the bits of single products, which libraries do for nearly
all; the others are calculated one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

# Numbers that must have been the same before a batched product is trusted. A few may agree by luck.
_ENOUGH = 20_000
# By shapes and strides, how many numbers agreed; NaN once one didn't.
_AGREED: dict[Hashable, float] = {}


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Apply a linear map of each network to its own rows.

    Parameters
    ----------
    x : tensor of shape (n_models, n_rows, n_in)
        Rows.
    weight : tensor of shape (n_models, n_out, n_in)
        Weights.
    bias : tensor of shape (n_models, n_out) or None
        Shifts.

    Returns
    -------
    y : tensor of shape (n_models, n_rows, n_out)
    """
    return _Linear.apply(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        # Strides between rows change the bits, too: as one network has them.
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        if bias is None:
            return _checked("product", _products, _product, x, weight.mT)
        return _checked("map", _maps, torch.addmm, bias, x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        gradient = gradients[0].contiguous()
        x, weight = ctx.saved_tensors
        below = None
        if ctx.needs_input_grad[0]:
            below = _checked("product", _products, _product, gradient, weight)
        of_weight = _checked("product", _products, _product, gradient.mT, x)
        of_bias = _checked("sum", _sums, _sum, gradient) if ctx.has_bias else None
        return below, of_weight, of_bias


class BatchNorm(torch.autograd.Function):
    """Normalise over the rows of each network's batch, with torch's own kernels.

    To them the units of all networks are channels. On the CPU the last channels, fewer than fit
    into a vector, are rounded otherwise in the gradient, and these are others here than in one
    network: where that shows, gradients are calculated one by one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        var: torch.Tensor,
        momentum: float,
        epsilon: float,
    ) -> torch.Tensor:
        """Normalise, and let running means and variances follow."""
        normal, batch_mean, inverse = torch.native_batch_norm(
            _side_by_side(x),
            weight.reshape(-1),
            bias.reshape(-1),
            mean.view(-1),
            var.view(-1),
            True,
            momentum,
            epsilon,
        )
        ctx.save_for_backward(x, weight, batch_mean.view_as(weight), inverse.view_as(weight))
        ctx.epsilon = epsilon
        return _apart(normal, x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients of rows, weights and shifts."""
        gradient = gradients[0].contiguous()
        x, weight, mean, inverse = ctx.saved_tensors
        tensors = (gradient, x, weight, mean, inverse)
        key = ("norm", tuple(gradient.shape))
        if gradient.device.type != "cpu" or _is_trusted(key):
            return *_batched_norm_gradient(*tensors, ctx.epsilon), None, None, None, None
        models = zip(*[tensor.unbind(0) for tensor in tensors], strict=True)
        found = [_norm_gradient(g, x, w, m, i, ctx.epsilon) for g, x, w, m, i in models]
        result = [torch.stack(parts) for parts in zip(*found, strict=True)]
        if _is_open(key):
            _compare(key, result, _batched_norm_gradient(*tensors, ctx.epsilon))
        return *result, None, None, None, None


def _norm_gradient(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    inverse: torch.Tensor,
    epsilon: float,
) -> tuple[torch.Tensor, ...]:
    return torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, inverse, True, epsilon, [True, True, True]
    )


def _batched_norm_gradient(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    inverse: torch.Tensor,
    epsilon: float,
) -> tuple[torch.Tensor, ...]:
    below, of_weight, of_bias = _norm_gradient(
        _side_by_side(gradient),
        _side_by_side(x),
        weight.reshape(-1),
        mean.reshape(-1),
        inverse.reshape(-1),
        epsilon,
    )
    return _apart(below, x.shape), of_weight.view_as(weight), of_bias.view_as(weight)


def _side_by_side(x: torch.Tensor) -> torch.Tensor:
    """Lay the units of all networks out as channels."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _apart(x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    n_models, n_rows, n_units = shape
    return x.view(n_rows, n_models, n_units).transpose(0, 1).contiguous()


def _checked(
    name: str,
    batched: Callable[..., torch.Tensor],
    single: Callable[..., torch.Tensor],
    *tensors: torch.Tensor,
) -> torch.Tensor:
    if tensors[0].device.type != "cpu":
        return batched(*tensors)
    key = (name, *[(tuple(t.shape), t.stride()) for t in tensors])
    if _is_trusted(key):
        return batched(*tensors)
    # Where in memory a matrix begins may change bits as well: alone, it begins where a clone does.
    models = zip(*[tensor.unbind(0) for tensor in tensors], strict=True)
    result = torch.stack([single(*[part.clone() for part in parts]) for parts in models])
    if _is_open(key):
        _compare(key, [result], [batched(*tensors)])
    return result


def _is_trusted(key: Hashable) -> bool:
    return _AGREED.get(key, 0) >= _ENOUGH


def _is_open(key: Hashable) -> bool:
    return not math.isnan(_AGREED.get(key, 0))


def _compare(
    key: Hashable, single: Sequence[torch.Tensor], batched: Sequence[torch.Tensor]
) -> None:
    is_same = all(map(torch.equal, single, batched))
    n_numbers = sum(tensor.numel() for tensor in single)
    _AGREED[key] = _AGREED.get(key, 0) + n_numbers if is_same else math.nan


def _products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.bmm(a, b)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.mm(a, b)


def _maps(bias: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(bias.unsqueeze(1), x, weight)


def _sums(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.sum(1)


def _sum(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.sum(0)
