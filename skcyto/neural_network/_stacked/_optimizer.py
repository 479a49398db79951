"""Adam, AdamW and SGD for stacked networks: each has its own learning rate and number of steps."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# torch's own defaults, which the estimator trains with.
_BETA1, _BETA2 = 0.9, 0.999
_EPSILON = 1e-8

Tensors = dict[str, torch.Tensor]


class StackedOptimizer:
    """Updates parameters of shape (n_models, ...) in place."""

    def __init__(self, name: str, parameters: Tensors, weight_decay: list[float]) -> None:
        self._name = name
        self._weight_decay = np.array(weight_decay)
        self._n_steps: NDArray[np.int64] = np.zeros(len(weight_decay), dtype=np.int64)
        self._moments: list[Tensors] = [
            {key: torch.zeros_like(value) for key, value in parameters.items()}
            for _ in range(0 if name == "sgd" else 2)
        ]

    def step(
        self,
        parameters: Tensors,
        gradients: Tensors,
        models: slice,
        learning_rate: NDArray[np.float64],
    ) -> None:
        """Update some networks, given theirs of everything."""
        self._n_steps[models] += 1
        n_steps, decay = self._n_steps[models], self._weight_decay[models]
        root = np.sqrt(1 - _BETA2**n_steps)
        # lr / (1 - b1^t) * m / (sqrt(v) / r + e) with r = sqrt(1 - b2^t), multiplied by r / r.
        scale = -learning_rate / (1 - _BETA1**n_steps) * root
        factors = np.stack([-learning_rate, scale, _EPSILON * root, learning_rate * decay, decay])
        tensor = torch.from_numpy(factors).to(next(iter(parameters.values())))
        for key, parameter in parameters.items():
            rate, scale, epsilon, shrink, added = tensor.view(5, -1, *[1] * (parameter.ndim - 1))
            gradient = gradients[key]
            if decay.any() and self._name == "adamw":
                parameter.mul_(1 - shrink)
            elif decay.any():
                gradient = torch.addcmul(gradient, parameter, added)
            if not self._moments:
                parameter.addcmul_(gradient, rate)
                continue
            mean, square = (moment[key][models] for moment in self._moments)
            mean.lerp_(gradient, 1 - _BETA1)
            square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
            parameter.addcdiv_(mean * scale, square.sqrt().add_(epsilon))

    def keep(self, models: list[int]) -> None:
        """Drop all networks but some."""
        for moment in self._moments:
            moment.update({key: value[models] for key, value in moment.items()})
        self._weight_decay, self._n_steps = self._weight_decay[models], self._n_steps[models]
