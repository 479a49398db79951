"""Samplers of row positions that decide which classes meet in a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from skcyto.utils._random import draw_seed
from skcyto.utils._validation import check_vector


def _check_batch_size(batch_size: Any) -> int:
    if not isinstance(batch_size, Integral) or not 1 <= int(batch_size) < 2**31:
        raise ValueError(f"batch_size={batch_size!r} must be an int between 1 and 2**31 - 1")
    return int(batch_size)


class _ClassSampler(ABC):
    """Rows sorted by class, and the generator that shuffles them."""

    def __init__(self, y: Any, random_state: Any) -> None:
        labels = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
        labels = check_vector(labels, "y")
        if len(labels) == 0:
            raise ValueError("y is empty: it must hold the class of one row or more")
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self._codes = torch.from_numpy(codes.astype(np.int64))
        self._counts: np.ndarray = counts
        self._starts: np.ndarray = counts.cumsum() - counts
        if isinstance(random_state, torch.Generator):
            self._generator = random_state
        else:
            self._generator = torch.Generator().manual_seed(draw_seed(random_state))

    @abstractmethod
    def epoch_batches(self, device: torch.device | str | None = None) -> tuple[torch.Tensor, ...]:
        """Positions of the rows of each batch of an epoch."""

    @abstractmethod
    def draws_per_row(self) -> np.ndarray:
        """How often, on average, an epoch shows a row of each class that is present."""

    def _uniform(self, n: int) -> torch.Tensor:
        return torch.rand(n, generator=self._generator, dtype=torch.float64)

    def _rows_by_class(self) -> torch.Tensor:
        """Shuffle the rows of each class; classes follow one another."""
        return (self._codes + self._uniform(len(self._codes))).argsort()


class BalancedSampler(_ClassSampler, Sampler[int]):
    """Draw rows with replacement, each class with the same probability.

    Every draw picks a class, all equally likely, then a row of it. Of three classes, each gives a
    third of the draws, however rare; rows of rare classes come back many times and some rows
    of frequent ones don't come at all.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class of each row.
    batch_size : int or None, default=None
        Rows of a batch of :meth:`epoch_batches`; None makes the epoch one batch. Iteration gives
        single rows, whatever it is.
    random_state : int, RandomState, torch.Generator or None, default=None
        Source of the draws. Each epoch goes on where the last one stopped.

    See Also
    --------
    GroupedBatchSampler : The same number of rows of each class in every batch.
    StratifiedBatchSampler : The same shares of the classes in every batch.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from skcyto.neural_network import BalancedSampler
    >>> y = torch.tensor([0] * 90 + [1] * 10)
    >>> loader = DataLoader(
    ...     TensorDataset(y), batch_size=50, sampler=BalancedSampler(y, random_state=0)
    ... )
    >>> [batch.bincount().tolist() for (batch,) in loader]
    [[19, 31], [28, 22]]
    """

    def __init__(self, y: Any, batch_size: int | None = None, *, random_state: Any = None) -> None:
        super().__init__(y, random_state)
        self.batch_size = None if batch_size is None else _check_batch_size(batch_size)

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[int]:
        # Drawn at the first row, not here: a DataLoader with workers asks for two iterators.
        yield from self._draw().tolist()

    def epoch_batches(self, device: torch.device | str | None = None) -> tuple[torch.Tensor, ...]:
        """Draw the batches of one epoch at once.

        Parameters
        ----------
        device : torch.device, str or None, default=None
            Where the positions go; None leaves them on the CPU.

        Returns
        -------
        batches : tuple of torch.Tensor, dtype int64
            Positions of the rows of each batch; the last batch may be smaller.
        """
        rows = self._draw().to(device) if device is not None else self._draw()
        return rows.split(int(self.batch_size or len(rows)))

    def draws_per_row(self) -> np.ndarray:
        """Average number of times that an epoch shows a row of each class.

        Returns
        -------
        draws : ndarray of float, shape (n_classes_present,)
            In the order of the sorted labels.
        """
        return len(self._codes) / (len(self._counts) * self._counts)

    def _draw(self) -> torch.Tensor:
        n_samples = len(self._codes)
        counts = torch.from_numpy(self._counts)
        classes = torch.randint(len(counts), (n_samples,), generator=self._generator)
        within = (self._uniform(n_samples) * counts[classes]).long()
        return self._codes.argsort(stable=True)[torch.from_numpy(self._starts)[classes] + within]


class _DealtBatchSampler(_ClassSampler, Sampler[list[int]]):
    """Batches with a fixed number of rows of each class, dealt like cards.

    Each class's rows are shuffled and dealt out; where a class runs out before the last batch,
    all its rows are shuffled and dealt again.
    """

    def __init__(self, y: Any, batch_size: int, random_state: Any) -> None:
        super().__init__(y, random_state)
        self.batch_size = _check_batch_size(batch_size)
        quotas = self._quotas()
        self._sizes: list[int] = quotas.sum(axis=1).tolist()
        self._dealt = dealt = quotas.sum(axis=0)
        # One slot for each card dealt, class after class: the card's place in its pack of rows
        # sorted by class, and the number of its round through that class.
        n_rounds = -(-dealt // self._counts)
        round_offset = n_rounds.cumsum() - n_rounds
        places, rounds, batches = [], [], []
        for c, n_rows in enumerate(self._counts):
            number = np.arange(dealt[c])
            places.append(self._starts[c] + number % n_rows)
            rounds.append(round_offset[c] + number // n_rows)
            batches.append(np.repeat(np.arange(len(quotas)), quotas[:, c]))
        self._place = torch.from_numpy(np.concatenate(places))
        self._round = torch.from_numpy(np.concatenate(rounds))
        self._by_batch = torch.from_numpy(np.concatenate(batches).argsort(kind="stable"))
        self._repeats = bool((dealt > self._counts).any())

    def draws_per_row(self) -> np.ndarray:
        """Average number of times that an epoch shows a row of each class.

        Returns
        -------
        draws : ndarray of float, shape (n_classes_present,)
            In the order of the sorted labels.
        """
        return self._dealt / self._counts

    @abstractmethod
    def _quotas(self) -> np.ndarray:
        """Decide how many rows of each class (columns) a batch (rows) holds."""

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[int]]:
        # Dealt at the first batch, not here: a DataLoader with workers asks for two iterators.
        for batch in self.epoch_batches():
            yield batch.tolist()

    def epoch_batches(self, device: torch.device | str | None = None) -> tuple[torch.Tensor, ...]:
        """Deal the batches of one epoch at once.

        Parameters
        ----------
        device : torch.device, str or None, default=None
            Where the positions go; None leaves them on the CPU.

        Returns
        -------
        batches : tuple of torch.Tensor, dtype int64
            Positions of the rows of each batch, class after class.
        """
        rows = self._rows_by_class()[self._place]
        if self._repeats:
            rows = rows[(self._round + self._uniform(len(rows))).argsort()]
        rows = rows[self._by_batch]
        return (rows if device is None else rows.to(device)).split(self._sizes)


class StratifiedBatchSampler(_DealtBatchSampler):
    """Batches in which each class has its share of the data, and at least one row.

    The quota of a class in a batch is its share of what has been dealt so far, rounded by largest
    remainders. In an epoch every row comes exactly once, with one exception: where there are as
    many classes as `batch_size` or fewer, every batch holds at least one row of each class
    present in `y`, and the rows of a class with fewer rows than there are batches come
    more than once, all of them equally often to within one.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class of each row.
    batch_size : int
        Rows of a batch. The last batch is smaller where rows are left over; if too few are left
        for one of each class, or only one, all batches get the same size to within one instead.
    random_state : int, RandomState, torch.Generator or None, default=None
        Source of the shuffling. Each epoch goes on where the last one stopped.

    See Also
    --------
    GroupedBatchSampler : The same number of rows of each class in every batch.
    BalancedSampler : Classes equally likely, drawn with replacement.

    Examples
    --------
    >>> from skcyto.neural_network import StratifiedBatchSampler
    >>> y = ["benign"] * 57 + ["malignant"] * 3
    >>> sampler = StratifiedBatchSampler(y, batch_size=20, random_state=0)
    >>> [(len(rows), sum(row >= 57 for row in rows)) for rows in sampler]
    [(20, 1), (20, 1), (20, 1)]
    """

    def __init__(self, y: Any, batch_size: int, *, random_state: Any = None) -> None:
        super().__init__(y, batch_size, random_state)

    def _quotas(self) -> np.ndarray:
        counts, size = self._counts, self.batch_size
        least = int(len(counts) <= size)
        n_batches = math.ceil(counts.sum() / size)
        while True:
            # Rows repeated for the sake of one in each batch may call for one more batch.
            due = np.maximum(counts, least * n_batches)
            if (enough := math.ceil(due.sum() / size)) == n_batches:
                break
            n_batches = enough
        total = int(due.sum())
        sizes = np.full(n_batches, size)
        sizes[-1] = total - size * (n_batches - 1)
        if sizes[-1] < max(least * len(counts), 2):
            sizes = total // n_batches + (np.arange(n_batches) < total % n_batches)
        quotas = np.empty((n_batches, len(counts)), dtype=np.int64)
        dealt = np.zeros(len(counts), dtype=np.int64)
        seen = sizes.cumsum()
        for b in range(n_batches):
            most = due - dealt - least * (n_batches - b - 1)
            quotas[b] = largest_remainder(due * seen[b] / total - dealt, sizes[b], least, most)
            dealt += quotas[b]
        return quotas


class GroupedBatchSampler(_DealtBatchSampler):
    """Batches with ``batch_size // n_classes`` rows of every class.

    An epoch has as many batches as it takes to deal as many rows as `y` has, so that it
    costs what an epoch without a sampler costs. Each class is dealt the same number of rows: all
    rows of a class with that many or fewer come, equally often to within one; of a larger class
    that many different rows come, others in each epoch.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class of each row.
    batch_size : int
        Rows of a batch, at least one for each class present in `y`. Batches hold the
        largest multiple of the number of classes that is no larger.
    random_state : int, RandomState, torch.Generator or None, default=None
        Source of the shuffling. Each epoch goes on where the last one stopped.

    See Also
    --------
    BalancedSampler : Classes equally likely, but not equal in each batch.
    skcyto.losses.Minimax : A loss that wants such batches.
    skcyto.losses.GroupDRO : Another one.

    Examples
    --------
    >>> from skcyto.neural_network import GroupedBatchSampler
    >>> y = ["benign"] * 57 + ["malignant"] * 3
    >>> sampler = GroupedBatchSampler(y, batch_size=20, random_state=0)
    >>> [(len(rows), sum(row >= 57 for row in rows)) for rows in sampler]
    [(20, 10), (20, 10), (20, 10)]
    """

    def __init__(self, y: Any, batch_size: int, *, random_state: Any = None) -> None:
        super().__init__(y, batch_size, random_state)

    def _quotas(self) -> np.ndarray:
        n_classes = len(self._counts)
        each = self.batch_size // n_classes
        if each == 0:
            raise ValueError(
                f"batch_size={self.batch_size} holds no row of each of {n_classes} classes: make "
                f"it at least {n_classes}"
            )
        n_batches = math.ceil(self._counts.sum() / (each * n_classes))
        return np.full((n_batches, n_classes), each)


def largest_remainder(ideal: np.ndarray, total: int, least: int, most: np.ndarray) -> np.ndarray:
    """Round numbers to integers that have a given sum.

    Parameters
    ----------
    ideal : ndarray of float
        What to round.
    total : int
        The sum.
    least, most : int, ndarray of int
        Limits of each.

    Returns
    -------
    quota : ndarray of int
    """
    quota = np.floor(ideal).astype(np.int64).clip(least, most)
    while missing := int(total - quota.sum()):
        step = 1 if missing > 0 else -1
        open_to_change = quota < most if step > 0 else quota > least
        gain = np.where(open_to_change, step * (ideal - quota), -np.inf)
        chosen = np.argsort(-gain, kind="stable")[: min(abs(missing), int(open_to_change.sum()))]
        quota[chosen] += step
    return quota


SAMPLERS: dict[str, type[BalancedSampler | StratifiedBatchSampler | GroupedBatchSampler]] = {
    "balanced": BalancedSampler,
    "stratified": StratifiedBatchSampler,
    "grouped": GroupedBatchSampler,
}


class _EpochBatches:
    """Iterate over the batches of a sampler as tensors, a new epoch each time."""

    def __init__(self, sampler: _ClassSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.sampler.epoch_batches())


def make_batch_sampler(
    name: str, y: Any, batch_size: int, random_state: Any = None
) -> Iterable[torch.Tensor]:
    """Make a sampler by name, as an iterable over the batches of an epoch.

    Parameters
    ----------
    name : {"balanced", "stratified", "grouped"}
        Key of ``SAMPLERS``.
    y : array-like of shape (n_samples,)
        Class of each row.
    batch_size : int
        Rows of a batch.
    random_state : int, RandomState, torch.Generator or None, default=None
        Source of the draws.

    Returns
    -------
    batches : iterable of torch.Tensor, dtype int64
        Each iteration is an epoch: positions of the rows of each batch.
    """
    return _EpochBatches(SAMPLERS[name](y, batch_size, random_state=random_state))


def draws_per_row(
    name: str | None, encoded: np.ndarray, n_classes: int, batch_size: int
) -> np.ndarray:
    """How often, on average, an epoch shows a row of each class.

    Parameters
    ----------
    name : {"balanced", "stratified", "grouped"} or None
        Key of ``SAMPLERS``; None for every row once.
    encoded : ndarray of int, shape (n_samples,)
        Class of each row that trains.
    n_classes : int
        Number of classes, those without a row included.
    batch_size : int
        Rows of a batch.

    Returns
    -------
    draws : ndarray of float, shape (n_classes,)
        1 for a class without a row.
    """
    draws = np.ones(n_classes)
    if name is not None:
        sampler = SAMPLERS[name](encoded, batch_size, random_state=0)
        draws[np.unique(encoded)] = sampler.draws_per_row()
    return draws


def validation_weight(
    draws: np.ndarray, encoded: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray | None:
    """Weigh validation rows as training sees their class.

    Training minimises the loss of what the sampler draws. A validation loss of the rows as they
    are has its minimum elsewhere, often where training begins.

    Parameters
    ----------
    draws : ndarray of shape (n_classes,)
        As :func:`draws_per_row` gives them.
    encoded : ndarray of int, shape (n_samples,)
        Class of each row.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    weight : ndarray of float32, shape (n_samples,), or None where all weigh the same
    """
    if np.allclose(draws, draws[0]):
        return sample_weight
    weight = draws[encoded].astype(np.float32)
    return weight if sample_weight is None else weight * sample_weight
