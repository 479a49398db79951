"""Adam, AdamW and SGD for networks that are stacked along the first axis.

An optimiser of torch has one learning rate for all rows of a tensor; here each network has its own,
and its own number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

# torch's own defaults, which the estimator trains with.
_BETA1, _BETA2 = 0.9, 0.999
_EPSILON = 1e-8


class StackedOptimizer:
    """Updates the parameters of stacked networks in place.

    Parameters
    ----------
    name : {"adam", "adamw", "sgd"}
        Update rule.
    parameters : list of tensor
        Each of shape (n_models, ...).
    weight_decay : ndarray of shape (n_models,)
        Weight decay of each network.
    """

    def __init__(
        self, name: str, parameters: Sequence[torch.Tensor], weight_decay: NDArray[np.float64]
    ) -> None:
        self.name = name
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.n_steps: NDArray[np.int64] = np.zeros(len(weight_decay), dtype=np.int64)
        has_moments = name != "sgd"
        self.means = [torch.zeros_like(p) for p in self.parameters] if has_moments else []
        self.squares = [torch.zeros_like(p) for p in self.parameters] if has_moments else []
        self._has_decay = bool((weight_decay != 0).any())
        self._update: Callable[..., None] = self._adapt if has_moments else self._descend

    def begin_epoch(self, learning_rate: NDArray[np.float64], sizes: NDArray[np.int64]) -> None:
        """Work out the factors of all steps of an epoch, so that a GPU need not wait for them.

        Parameters
        ----------
        learning_rate : ndarray of shape (n_models,)
            Learning rate of each network in this epoch.
        sizes : ndarray of shape (n_models, n_batches)
            Rows of each batch; a network without rows makes no step.
        """
        steps = self.n_steps[:, None] + (sizes > 0).cumsum(axis=1)
        self.n_steps = steps[:, -1].copy()
        self._steps, self.learning_rate = steps, learning_rate
        if self.parameters[0].device.type == "cpu":
            return
        rate = np.broadcast_to(learning_rate[:, None], steps.shape)
        decay = np.broadcast_to(self.weight_decay[:, None], steps.shape)
        first = np.maximum(steps, 1)
        # lr / (1 - b1^t) * m / (sqrt(v) / r + e) with r = sqrt(1 - b2^t), multiplied by r / r.
        root = np.sqrt(1 - _BETA2**first)
        factors = [
            -rate if self.name == "sgd" else -rate / (1 - _BETA1**first) * root,
            _EPSILON * root,
            # What is left of a parameter, or what comes to its gradient.
            1 - rate * decay if self.name == "adamw" else decay,
        ]
        device = self.parameters[0].device
        # By batch, then network.
        self._factors = [
            torch.from_numpy(np.ascontiguousarray(values.T)).to(device, torch.float32)
            for values in factors
        ]

    def step(self, batch: int, start: int, stop: int, gradients: Sequence[torch.Tensor]) -> None:
        """Update the networks from `start` to `stop`.

        Parameters
        ----------
        batch : int
            Number of the batch in the epoch.
        start, stop : int
            Networks.
        gradients : list of tensor, each of shape (stop - start, ...)
            Changed.
        """
        if self.parameters[0].device.type == "cpu":
            self._step_one_by_one(batch, start, stop, gradients)
            return
        factors = [values[batch, start:stop] for values in self._factors]
        for number, gradient in enumerate(gradients):
            shape = (-1, *[1] * (gradient.ndim - 1))
            rows = slice(start, stop)
            moments = [m[number][rows] for m in (self.means, self.squares) if m]
            self._update(
                self.parameters[number][rows],
                gradient,
                *moments,
                *[values.view(shape) for values in factors],
            )

    def _step_one_by_one(
        self, batch: int, start: int, stop: int, gradients: Sequence[torch.Tensor]
    ) -> None:
        """Call torch's fused kernel for each network, so that not a bit differs.

        Small networks are updated within microseconds; what makes an optimiser slow is all
        that surrounds its kernel.
        """
        tensors = (self.parameters, self.means, self.squares)
        parts = [
            zip(*[t[start:stop].unbind(0) for t in group], strict=True)
            for group in tensors
            if group
        ]
        parts.insert(1, zip(*[gradient.unbind(0) for gradient in gradients], strict=True))
        for model, (parameters, given, *moments) in enumerate(zip(*parts, strict=True), start):
            settings = {
                "lr": float(self.learning_rate[model]),
                "weight_decay": float(self.weight_decay[model]),
                "maximize": False,
            }
            if not moments:
                torch._fused_sgd_(
                    parameters,
                    given,
                    [],
                    momentum=0.0,
                    dampening=0.0,
                    nesterov=False,
                    is_first_step=False,
                    **settings,
                )
                continue
            n_steps = torch.tensor(float(self._steps[model, batch]))
            kernel = torch._fused_adam_ if self.name == "adam" else torch._fused_adamw_
            kernel(
                parameters,
                given,
                *moments,
                [],
                [n_steps] * len(parameters),
                beta1=_BETA1,
                beta2=_BETA2,
                eps=_EPSILON,
                amsgrad=False,
                **settings,
            )

    def keep(self, models: torch.Tensor) -> None:
        """Drop all networks but some.

        Parameters
        ----------
        models : tensor of int64
            Those that stay; their parameters are taken by the caller.
        """
        self.means = [mean.index_select(0, models) for mean in self.means]
        self.squares = [square.index_select(0, models) for square in self.squares]
        kept = models.cpu().numpy()
        self.n_steps, self.weight_decay = self.n_steps[kept], self.weight_decay[kept]

    def _descend(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        step: torch.Tensor,
        epsilon: torch.Tensor,
        decay: torch.Tensor,
    ) -> None:
        if self._has_decay:
            gradient.addcmul_(parameter, decay)
        parameter.addcmul_(gradient, step)

    def _adapt(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        mean: torch.Tensor,
        square: torch.Tensor,
        step: torch.Tensor,
        epsilon: torch.Tensor,
        decay: torch.Tensor,
    ) -> None:
        if self._has_decay and self.name == "adamw":
            parameter.mul_(decay)
        elif self._has_decay:
            gradient.addcmul_(parameter, decay)
        mean.lerp_(gradient, 1 - _BETA1)
        square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        update = torch.sqrt(square, out=gradient).add_(epsilon)
        torch.div(mean, update, out=update)
        parameter.addcmul_(update, step)
