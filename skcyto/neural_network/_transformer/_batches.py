"""Batches of images for fine-tuning: what each epoch shows, and how it is read in time.

What is shown follows from the seed and the number of the epoch alone: neither the number of
processes that read nor an interruption between epochs changes it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from skcyto.exceptions import InvalidImageError
from skcyto.neural_network._samplers import make_batch_sampler
from skcyto.neural_network._training import ShuffledBatches
from skcyto.utils._backbones._source import BackboneInfo
from skcyto.utils._backbones._transforms import Augment, make_transform
from skcyto.utils._backbones._views import View, show
from skcyto.utils._images._inputs import ImageInputs, explain, list_bad_images
from skcyto.utils._images._notes import ImageNotes
from skcyto.utils._prefetch import resolve_n_threads
from skcyto.utils._random import all_seeded

_BATCHES_AHEAD = 2  # of each reading process
# Purposes that have seeds of their own.
_ORDER, _AUGMENTATION, DROPOUT, MIXING = range(4)


class Draw(NamedTuple):
    """One image to show: its position, and the seed of its augmentation or None for none."""

    row: int
    seed: int | None = None


@dataclass(frozen=True)
class EpochPlan:
    """What each epoch trains on and is validated by.

    Attributes
    ----------
    train, valid : ndarray of int
        Positions of the images.
    target : ndarray of int, shape (n_train,)
        Class of each image that trains.
    sampler : str or None
        How batches are drawn.
    batch_size : int
        Images of one step of the optimiser.
    valid_batch_size : int
        Images of one forward pass of the validation.
    augmented : bool
        Whether training images are augmented.
    seed : int
        Of order and augmentation.
    """

    train: NDArray[np.intp]
    valid: NDArray[np.intp]
    target: NDArray[np.intp]
    sampler: str | None
    batch_size: int
    valid_batch_size: int
    augmented: bool
    seed: int

    def train_batches(self, epoch: int) -> list[NDArray[np.intp]]:
        """Draw the batches of an epoch.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        batches : list of ndarray of int
            Numbers into `train`.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, _ORDER))
        if self.sampler is None:
            batches = ShuffledBatches(len(self.train), self.batch_size, generator)
        else:
            batches = make_batch_sampler(self.sampler, self.target, self.batch_size, generator)
        return [batch.numpy() for batch in batches]

    def draws(self, epochs: Iterable[int]) -> Iterator[list[Draw]]:
        """List all images in the order of their use: each epoch's training, then validation.

        Parameters
        ----------
        epochs : iterable of int
            Numbers of the epochs, from 0.

        Yields
        ------
        batch : list of Draw
        """
        for epoch in epochs:
            for number, batch in enumerate(self.train_batches(epoch)):
                rows = self.train[batch].tolist()
                if not self.augmented:
                    yield [Draw(row) for row in rows]
                    continue
                sequence = np.random.SeedSequence([self.seed, epoch, _AUGMENTATION, number])
                seeds = sequence.generate_state(len(rows)).tolist()
                yield [Draw(row, seed) for row, seed in zip(rows, seeds, strict=True)]
            yield from plain_draws(self.valid, self.valid_batch_size)


def plain_draws(rows: NDArray[np.intp], batch_size: int) -> Iterator[list[Draw]]:
    """Show images in their order, as at prediction.

    Parameters
    ----------
    rows : ndarray of int
        Their positions.
    batch_size : int
        Images of a batch.

    Yields
    ------
    batch : list of Draw
    """
    for start in range(0, len(rows), batch_size):
        yield [Draw(row) for row in rows[start : start + batch_size].tolist()]


def derive_seed(seed: int, epoch: int, purpose: int) -> int:
    """Give each purpose in each epoch a seed of its own.

    Parameters
    ----------
    seed : int
        Of the fit.
    epoch : int
        From 0.
    purpose : int
        Any number, another one for each purpose.

    Returns
    -------
    seed : int
    """
    return int(np.random.SeedSequence([seed, epoch, purpose]).generate_state(1)[0])


_Prepared = tuple[int, torch.Tensor | str, list[str]]


class _PreparedImages(Dataset):
    """Views of images, or the reason why one cannot be had, and notes on them."""

    def __init__(
        self, inputs: ImageInputs, info: BackboneInfo, augment: Augment, views: list[View]
    ) -> None:
        self._inputs = inputs
        self._views = views
        self._transform = make_transform(info)
        self._augmentation = make_transform(info, augment)

    def __getitem__(self, draw: Draw) -> _Prepared:
        notes: list[str] = []
        try:
            image = self._inputs.load(draw.row, notes.append)
            if draw.seed is None:
                prepare = partial(show, views=self._views, transform=self._transform)
                return draw.row, image.decode_for(prepare, notes.append), notes
            with all_seeded(draw.seed):
                pixels = image.decode_for(self._augmentation, notes.append)
                return draw.row, pixels[None], notes
        except MemoryError:
            raise
        except Exception as error:  # Each of Pillow's decoders fails in its own way.
            return draw.row, explain(error), []


def _collate(
    items: list[_Prepared],
) -> tuple[torch.Tensor | None, dict[int, str], dict[int, list[str]]]:
    bad = {row: found for row, found, _ in items if isinstance(found, str)}
    pixels = [found for _, found, _ in items if not isinstance(found, str)]
    noted = {row: notes for row, _, notes in items if notes}
    return (torch.cat(pixels) if pixels else None), bad, noted


class ImageStream:
    """Read, prepare and stack images beside the network, in a given order.

    Parameters
    ----------
    inputs : ImageInputs
        The images.
    draws : iterable of list of Draw
        What each batch holds; consumed only as far as the work ahead needs.
    info : BackboneInfo
        Description of the network.
    augment : str, callable or None, default=None
        Kind of augmentation for the draws that have a seed.
    views : sequence of View, default=(View(),)
        How an image is shown for the draws that have none; all views of an image follow one
        another.
    n_workers : int, default=0
        Processes that read; 0 reads here, between the batches.
    pin_memory : bool, default=False
        Whether batches lie where a GPU can fetch them by itself.
    find_all_bad : bool, default=True
        Whether the rest is still read after the first bad image, to name all of them.
    warn_of_notes : bool, default=True
        Whether a warning tells at the end what of the images is lost or doubtful.

    Raises
    ------
    InvalidImageError
        While iterating, if an image cannot be read.
    """

    def __init__(
        self,
        inputs: ImageInputs,
        draws: Iterable[list[Draw]],
        *,
        info: BackboneInfo,
        augment: Augment = None,
        views: Sequence[View] = (View(),),
        n_workers: int = 0,
        pin_memory: bool = False,
        find_all_bad: bool = True,
        warn_of_notes: bool = True,
    ) -> None:
        self._inputs = inputs
        self._find_all_bad = find_all_bad
        self._warn_of_notes = warn_of_notes
        self._loader = DataLoader(
            _PreparedImages(inputs, info, augment, list(views)),
            batch_sampler=draws,
            collate_fn=_collate,
            num_workers=n_workers,
            prefetch_factor=_BATCHES_AHEAD if n_workers else None,
            pin_memory=pin_memory,
            # torch draws the seeds of its workers, which are not used here, from the global
            # generator otherwise.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[torch.Tensor]:
        bad: dict[int, str] = {}
        notes = ImageNotes()
        for pixels, unreadable, noted in self._loader:
            bad.update(unreadable)
            for row, texts in noted.items() if self._warn_of_notes else ():
                for text in texts:
                    notes.of(self._inputs.name(row))(text)
            if not bad:
                yield pixels
            elif not self._find_all_bad:
                break
        if bad:
            raise InvalidImageError(
                f"{list_bad_images(self._inputs, bad)}\nMend or leave out these."
            )
        if self._warn_of_notes:
            notes.warn()


def resolve_n_workers(n_jobs: int | None, device: torch.device) -> int:
    """Turn `n_jobs` into a number of reading processes.

    Parameters
    ----------
    n_jobs : int or None
        None takes one process a core, at most 8, beside a CUDA device, and none elsewhere.
    device : torch.device
        Where the network runs.

    Returns
    -------
    n_workers : int
        0 for none, which is also all that a daemonic process, such as Dask's, may have.
    """
    if multiprocessing.current_process().daemon:
        return 0
    if n_jobs is None and device.type != "cuda":
        return 0
    n_workers = resolve_n_threads(n_jobs)
    return n_workers if n_workers > 1 else 0
