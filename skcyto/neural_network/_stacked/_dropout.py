"""Dropout masks of stacked networks, each from its own generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

# Numbers of a network's masks that are drawn at once on a GPU, where a call for each batch would
# take longer than the batch.
_DRAWN_AT_ONCE = 1 << 20


class StackedDropout:
    """Draws what hidden layers are multiplied by.

    On the CPU a network gets the masks that :class:`torch.nn.Dropout` would give it, to the bit:
    one draw a batch and layer, in the order of the layers. On a GPU torch's own layer draws in an
    order that can't be followed from outside; there, each network has a generator of its own, so
    that its masks don't depend on what it is stacked with.

    Parameters
    ----------
    rates : list of float
        Dropout of each network; one without draws nothing.
    widths : list of int
        Units of the hidden layers.
    generators : list of torch.Generator
        Of the networks.
    device : torch.device
        Where the masks are.
    """

    def __init__(
        self,
        rates: Sequence[float],
        widths: Sequence[int],
        generators: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        self.keep_rates = [1 - float(rate) for rate in rates]
        self.widths = list(widths)
        self.generators = list(generators)
        self.device = device
        self._buffers: list[torch.Tensor] = []

    def begin_epoch(self, sizes: NDArray[np.int64]) -> None:
        """Get ready for batches of these lengths.

        Parameters
        ----------
        sizes : ndarray of shape (n_models, n_batches)
            Rows of each batch.
        """
        self.is_needed = bool(self.widths) and any(rate < 1 for rate in self.keep_rates)
        if not self.is_needed:
            return
        n_models, n_batches = sizes.shape
        width = int(sizes.max())
        self._depth = 1
        if self.device.type != "cpu":
            self._depth = min(n_batches, max(1, _DRAWN_AT_ONCE // (width * sum(self.widths))))
        shapes = [(n_models, self._depth, width, units) for units in self.widths]
        if [tuple(buffer.shape) for buffer in self._buffers] != shapes:
            self._buffers = [torch.ones(shape, device=self.device) for shape in shapes]
            # The rows of a network's batch are one piece of memory, whatever their number.
            self._flat = [list(buffer.flatten(1)) for buffer in self._buffers]
            self._divisors = torch.tensor(self.keep_rates, device=self.device).view(-1, 1, 1)

    def masks(self, number: int, start: int, stop: int, size: int) -> list[torch.Tensor] | None:
        """Return the masks of a batch.

        Parameters
        ----------
        number : int
            Of the batch in the epoch.
        start, stop : int
            Networks.
        size : int
            Rows.

        Returns
        -------
        masks : list of tensor of shape (stop - start, size, n_units), or None
            One for each hidden layer; None where no network drops anything.
        """
        if not self.is_needed:
            return None
        if self.device.type == "cpu":
            return self._draw(start, stop, size)
        if number % self._depth == 0:
            for model in range(start, stop):
                for flat in self._flat:
                    if self.keep_rates[model] < 1:
                        flat[model].bernoulli_(
                            self.keep_rates[model], generator=self.generators[model]
                        )
        return [
            buffer[start:stop, number % self._depth, :size] / self._divisors[start:stop]
            for buffer in self._buffers
        ]

    def keep(self, models: Sequence[int]) -> None:
        """Drop all networks but some.

        Parameters
        ----------
        models : list of int
            Those that stay.
        """
        self.keep_rates = [self.keep_rates[model] for model in models]
        self.generators = [self.generators[model] for model in models]
        self._buffers = []

    def _draw(self, start: int, stop: int, size: int) -> list[torch.Tensor]:
        masks = []
        for flat, buffer, units in zip(self._flat, self._buffers, self.widths, strict=True):
            n_numbers = size * units
            for model in range(start, stop):
                if self.keep_rates[model] < 1:
                    flat[model][:n_numbers].bernoulli_(
                        self.keep_rates[model], generator=self.generators[model]
                    )
            masks.append(buffer[start:stop, 0, :size].div_(self._divisors[start:stop]))
        return masks
