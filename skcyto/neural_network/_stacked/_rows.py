"""The rows of stacked networks: stored once for all that share them, sliced by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from skcyto.neural_network._mlp._prepared import PreparedFit

# Where rows are, their classes and their weights.
Columns = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
# Neighbours that have as many rows: which networks, the first row, the number of rows.
Run = tuple[slice, int, int]


class StackedRows:
    """Training and validation rows of each network, from tables that they may share."""

    def __init__(self, prepared: Sequence[PreparedFit], device: torch.device) -> None:
        tables = {_place_of(fit.data.X): fit.data.X for fit in prepared}
        self.X = torch.cat(list(tables.values())).to(device)
        starts = np.cumsum([0, *map(len, tables.values())]).tolist()
        first = dict(zip(tables, starts, strict=False))
        self._train: list[Columns] = []
        self._valid: list[Columns] = []
        for fit in prepared:
            offset, weight, own = first[_place_of(fit.data.X)], fit.data.sample_weight, None
            train, valid = torch.from_numpy(fit.train), torch.from_numpy(fit.valid)
            if fit.valid_weight is not None:
                own = torch.from_numpy(fit.valid_weight).float()
            given = None if weight is None else weight[train]
            self._train.append((train + offset, fit.data.y[train], given))
            self._valid.append((valid + offset, fit.data.y[valid], own))
        self.keep(list(range(len(prepared))))

    def keep(self, models: list[int]) -> None:
        """Drop all networks but some."""
        self._train = [self._train[model] for model in models]
        self._valid = [self._valid[model] for model in models]
        self._padded_valid = self._pad(self._valid)
        sizes = np.array([len(rows) for rows, _, _ in self._valid])
        self.valid_runs = list(_runs(sizes, np.zeros_like(sizes)))

    def draw_epoch(self, batches: Sequence[Any]) -> list[list[Run]]:
        """Draw the batches of the next epoch, each network's as it would draw them alone."""
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
        return [list(_runs(*columns)) for columns in zip(sizes.T, starts.T, strict=True)]

    def read(self, models: slice, start: int, size: int, training: bool) -> Columns:
        """Read a batch of the epoch, or validation rows: features, classes and weights."""
        tables = self._epoch if training else self._padded_valid
        rows, y, *weight = (table[models, start : start + size] for table in tables)
        return self.X[rows], y, weight[0] if weight else None

    def _pad(self, columns: Sequence[Columns]) -> list[torch.Tensor]:
        weights = [torch.ones(len(y)) if weight is None else weight for _, y, weight in columns]
        tables: list[Any] = [[rows for rows, _, _ in columns], [y for _, y, _ in columns]]
        if any(weight is not None for _, _, weight in columns):
            tables.append(weights)
        return [pad_sequence(table, batch_first=True).to(self.X.device) for table in tables]


def _place_of(table: torch.Tensor) -> tuple[Any, ...]:
    """Return what tells whether two tables are the same numbers in the same memory."""
    return table.data_ptr(), tuple(table.shape), table.stride()


def _runs(sizes: np.ndarray, starts: np.ndarray) -> Iterator[Run]:
    """Cut networks into neighbours that have as many rows at the same place."""
    differs = (np.diff(sizes) != 0) | (np.diff(starts) != 0)
    for first, last in itertools.pairwise([0, *np.flatnonzero(differs) + 1, len(sizes)]):
        if sizes[first]:
            yield slice(int(first), int(last)), int(starts[first]), int(sizes[first])
