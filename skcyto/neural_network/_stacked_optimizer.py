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
# Numbers a pass: what is read and written of a block stays in the cache of a core.
_CPU_BLOCK = 65_536


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
        factors = [values[batch, start:stop] for values in self._factors]
        for number, gradient in enumerate(gradients):
            parameter = self.parameters[number]
            on_cpu = parameter.device.type == "cpu"
            rows = max(1, _CPU_BLOCK // parameter[0].numel()) if on_cpu else stop - start
            shape = (-1, *[1] * (parameter.ndim - 1))
            tensors = [parameter[start:stop], gradient]
            if self.means:
                tensors += [self.means[number][start:stop], self.squares[number][start:stop]]
            tensors += [values.view(shape) for values in factors]
            for block in zip(*[tensor.split(rows) for tensor in tensors], strict=True):
                self._update(*block)

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
