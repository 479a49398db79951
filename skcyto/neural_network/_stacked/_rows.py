"""The rows of stacked networks: stored once for all that share them, sliced by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skcyto.neural_network._mlp._prepared import BatchMaker, PreparedFit


class StackedRows:
    """Training and validation rows of networks, which may be different ones of each.

    Parameters
    ----------
    prepared : list of PreparedFit
        One for each network. Data that several share, in the same memory, are stored once.
    makers : list of BatchMaker
        Draw the batches of each network as it would draw them alone.
    device : torch.device
        Where the networks are.
    """

    def __init__(
        self, prepared: Sequence[PreparedFit], makers: Sequence[BatchMaker], device: torch.device
    ) -> None:
        tables, offsets = _join([fit.data.X for fit in prepared])
        self.X = tables.to(device)
        self.device = device
        self.train = _RowTable(
            [
                (fit, fit.train, _weight_of(fit), o)
                for fit, o in zip(prepared, offsets, strict=True)
            ],
            device,
        )
        self.valid = _RowTable(
            [
                (fit, fit.valid, fit.valid_weight, o)
                for fit, o in zip(prepared, offsets, strict=True)
            ],
            device,
        )
        self._epoch: list[torch.Tensor | None] = []
        self._batches = [
            maker.of_classes(fit.data.y[torch.from_numpy(fit.train)])
            for maker, fit in zip(makers, prepared, strict=True)
        ]

    def draw_epoch(self) -> NDArray[np.int64]:
        """Draw the batches of the next epoch.

        Returns
        -------
        sizes : ndarray of shape (n_models, n_batches)
            Rows of each batch; 0 where a network has none any more.
        """
        drawn = [list(iter(batches)) for batches in self._batches]
        n_batches = max(len(batches) for batches in drawn)
        sizes = np.zeros((len(drawn), n_batches), dtype=np.int64)
        for model, batches in enumerate(drawn):
            sizes[model, : len(batches)] = [len(rows) for rows in batches]
        width = int(sizes.max())
        positions = torch.zeros((len(drawn), n_batches, width), dtype=torch.int64)
        for model, batches in enumerate(drawn):
            if (sizes[model, : len(batches) - 1] == width).all():
                rows = torch.cat(batches)
                positions[model].view(-1)[: len(rows)] = rows
            else:
                for number, rows in enumerate(batches):
                    positions[model, number, : len(rows)] = rows
        self._epoch = self.train.at(positions.to(self.device))
        return sizes

    def batch(
        self, number: int, start: int, stop: int, size: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Read a batch of some networks.

        Parameters
        ----------
        number : int
            Of the batch in the epoch.
        start, stop : int
            Networks.
        size : int
            Rows, as many for each.

        Returns
        -------
        X : tensor of shape (stop - start, size, n_features)
        y : tensor of shape (stop - start, size)
        weight : tensor of shape (stop - start, size) or None
        """
        rows, y, weight = (
            None if table is None else table[start:stop, number, :size] for table in self._epoch
        )
        assert rows is not None
        assert y is not None
        return self._read(rows), y, weight

    def validation(
        self, start: int, stop: int, size: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Read the validation rows of some networks, as many for each; as :meth:`batch`."""
        table = self.valid
        weight = None if table.weight is None else table.weight[start:stop, :size]
        return self._read(table.rows[start:stop, :size]), table.y[start:stop, :size], weight

    def keep(self, models: torch.Tensor) -> None:
        """Drop all networks but some.

        Parameters
        ----------
        models : tensor of int64
            Those that stay.
        """
        self.train.keep(models)
        self.valid.keep(models)
        self._batches = [self._batches[model] for model in models.tolist()]
        self._epoch = [
            None if table is None else table.index_select(0, models) for table in self._epoch
        ]

    def _read(self, rows: torch.Tensor) -> torch.Tensor:
        return self.X.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)


class _RowTable:
    """Where the rows of each network are, their classes and weights; padded to the longest."""

    def __init__(
        self,
        parts: Sequence[tuple[PreparedFit, NDArray[np.intp], NDArray | None, int]],
        device: torch.device,
    ) -> None:
        self.sizes: NDArray[np.int64] = np.array([len(rows) for _, rows, _, _ in parts])
        shape = (len(parts), int(self.sizes.max()))
        self.rows = torch.zeros(shape, dtype=torch.int64)
        self.y = torch.zeros(shape, dtype=torch.int64)
        is_weighted = any(weight is not None for _, _, weight, _ in parts)
        self.weight: torch.Tensor | None = torch.ones(shape) if is_weighted else None
        for model, (fit, rows, weight, offset) in enumerate(parts):
            index = torch.from_numpy(rows)
            self.rows[model, : len(rows)] = index + offset
            self.y[model, : len(rows)] = fit.data.y[index]
            if self.weight is not None and weight is not None:
                self.weight[model, : len(rows)] = torch.from_numpy(weight)
        self.rows, self.y = self.rows.to(device), self.y.to(device)
        if self.weight is not None:
            self.weight = self.weight.to(device)

    def at(self, positions: torch.Tensor) -> list[torch.Tensor | None]:
        """Look up rows, classes and weights by positions in the table."""
        flat = positions.flatten(1)
        return [
            None if table is None else table.gather(1, flat).view_as(positions)
            for table in (self.rows, self.y, self.weight)
        ]

    def keep(self, models: torch.Tensor) -> None:
        self.rows, self.y = self.rows.index_select(0, models), self.y.index_select(0, models)
        if self.weight is not None:
            self.weight = self.weight.index_select(0, models)
        self.sizes = self.sizes[models.cpu().numpy()]


def _weight_of(fit: PreparedFit) -> NDArray | None:
    weight = fit.data.sample_weight
    return None if weight is None else weight.numpy()[fit.train]


def runs(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Cut networks into neighbours that have as many rows.

    Parameters
    ----------
    sizes : ndarray of shape (n_models,)
        Rows of each.

    Yields
    ------
    start, stop, size : int
        Neighbours without rows are left out.
    """
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    for start, stop in itertools.pairwise(edges):
        size = int(sizes[start])
        if size:
            yield start, stop, size


def data_key(table: torch.Tensor) -> Any:
    """Return what tells whether two tensors are the same numbers in the same memory."""
    return table.data_ptr(), tuple(table.shape), table.stride()


def _join(tables: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Put different tables below one another, and say where each begins."""
    offsets: dict[Any, int] = {}
    parts: list[torch.Tensor] = []
    n_rows = 0
    for table in tables:
        key = data_key(table)
        if key not in offsets:
            offsets[key] = n_rows
            parts.append(table)
            n_rows += len(table)
    joined = parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)
    return joined, [offsets[data_key(table)] for table in tables]
