"""The rows of stacked networks: stored once for all that share them, sliced by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from skcyto.neural_network._mlp._prepared import PreparedFit

# Where rows are, their classes and their weights.
Columns = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


class StackedRows:
    """Training and validation rows of each network, from tables that they may share."""

    def __init__(self, prepared: Sequence[PreparedFit], device: torch.device) -> None:
        tables = {_place_of(fit.data.X): fit.data.X for fit in prepared}
        self.X = torch.cat(list(tables.values())).to(device)
        starts = np.cumsum([0, *(len(table) for table in tables.values())])
        first = dict(zip(tables, starts.tolist(), strict=False))
        self._train: list[Columns] = []
        self._valid: list[Columns] = []
        for fit in prepared:
            offset, weight = first[_place_of(fit.data.X)], fit.data.sample_weight
            train, valid = torch.from_numpy(fit.train), torch.from_numpy(fit.valid)
            own = None if fit.valid_weight is None else torch.from_numpy(fit.valid_weight).float()
            self._train.append(
                (train + offset, fit.data.y[train], None if weight is None else weight[train])
            )
            self._valid.append((valid + offset, fit.data.y[valid], own))
        self._read_valid()

    def draw_epoch(self, batches: Sequence[Any]) -> list[list[tuple[slice, int, int]]]:
        """Draw the batches of the next epoch, each network's as it would draw them alone.

        What comes back is, for each batch, the neighbours that have as many rows: which networks,
        the first row, and the number of rows.
        """
        drawn = [list(iter(of_model)) for of_model in batches]
        orders = [torch.cat(found) for found in drawn]
        self._epoch = self._pad(
            [
                (rows[order], y[order], None if weight is None else weight[order])
                for (rows, y, weight), order in zip(self._train, orders, strict=True)
            ]
        )
        sizes = np.zeros((len(drawn), max(map(len, drawn))), dtype=np.int64)
        for model, found in enumerate(drawn):
            sizes[model, : len(found)] = [len(rows) for rows in found]
        starts = sizes.cumsum(axis=1) - sizes
        return [list(_runs(sizes[:, i], starts[:, i])) for i in range(sizes.shape[1])]

    def batch(self, models: slice, start: int, size: int) -> Columns:
        """Read a batch: features, classes and weights."""
        return self._read(self._epoch, models, start, size)

    def validation(self, models: slice, size: int) -> Columns:
        """Read the validation rows."""
        return self._read(self._padded_valid, models, 0, size)

    def keep(self, models: list[int]) -> None:
        """Drop all networks but some."""
        self._train = [self._train[model] for model in models]
        self._valid = [self._valid[model] for model in models]
        self._read_valid()

    def _read_valid(self) -> None:
        self._padded_valid = self._pad(self._valid)
        sizes = np.array([len(rows) for rows, _, _ in self._valid])
        self.valid_runs = list(_runs(sizes, np.zeros_like(sizes)))

    def _pad(self, columns: Sequence[Columns]) -> list[torch.Tensor | None]:
        rows, y, weights = zip(*columns, strict=True)
        tables = [pad_sequence(values, batch_first=True) for values in (rows, y)]
        if any(weight is not None for weight in weights):
            given = [
                torch.ones(len(r)) if w is None else w for r, w in zip(rows, weights, strict=True)
            ]
            tables.append(pad_sequence(given, batch_first=True))
        tables = [table.to(self.X.device) for table in tables]
        return [*tables, *[None] * (3 - len(tables))]

    def _read(
        self, tables: list[torch.Tensor | None], models: slice, start: int, size: int
    ) -> Columns:
        at = (models, slice(start, start + size))
        rows, y, weight = (None if table is None else table[at] for table in tables)
        assert rows is not None
        assert y is not None
        return self.X[rows], y, weight


def _place_of(table: torch.Tensor) -> tuple[Any, ...]:
    """Return what tells whether two tables are the same numbers in the same memory."""
    return table.data_ptr(), tuple(table.shape), table.stride()


def _runs(sizes: NDArray[np.int64], starts: NDArray[np.int64]) -> Iterator[tuple[slice, int, int]]:
    """Cut networks into neighbours that have as many rows at the same place."""
    differs = (np.diff(sizes) != 0) | (np.diff(starts) != 0)
    edges = [0, *(np.flatnonzero(differs) + 1).tolist(), len(sizes)]
    for first, last in pairwise(edges):
        if sizes[first]:
            yield slice(first, last), int(starts[first]), int(sizes[first])
