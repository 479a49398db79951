"""Send images through a backbone: read ahead, look up, forward, store.

Four stages work side by side, each a bounded number of images ahead of the next: threads read and
hash the files; this thread looks the hashes up; threads decode and resize what is not known yet;
this thread sends batches through the network and stores what comes out. Memory does not grow with
the number of images, apart from the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.exceptions import EmbeddingCacheWarning
from skcyto.feature_extraction._embedding._store import EmbeddingStore, make_keys
from skcyto.feature_extraction._embedding._tokens import PoolingHead, TokenBackbone
from skcyto.utils._backbones._memory import inference_memory
from skcyto.utils._backbones._source import BackboneInfo
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._devices._batch_halver import BatchHalver, describe_shortage, shortage_raises
from skcyto.utils._devices._reservation import reserve_memory
from skcyto.utils._images._inputs import ImageInputs, LoadedImage, explain
from skcyto.utils._images._notes import ImageNotes
from skcyto.utils._prefetch import map_ahead
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    import torch

# Of files that are being read or wait to be looked up, of those that are looked up together, and of
# those that wait to be decoded.
_MAX_READ_BYTES = 2**26
_MAX_LOOK_UP_BYTES = 2**26
_MAX_WAITING_BYTES = 2**27
_LOOK_UP = 32  # images whose hashes are looked up together
_MAX_NAMED = 5  # images with damaged embeddings that a warning names


@dataclass(frozen=True)
class EmbeddingResult:
    """What came of a call.

    Attributes
    ----------
    embeddings : ndarray of shape (n_images, 2 * embedding_dim)
        Class token and patch mean, float32; NaN where the image is bad.
    head : PoolingHead or None
        How to make features of them; None if there is no good image.
    bad : dict of int to str
        Position and reason of each image that could not be read.
    n_forward_images : int
        Images that went through the network.
    batch_size : int
        Images of one forward pass at the end.
    """

    embeddings: np.ndarray
    head: PoolingHead | None
    bad: dict[int, str]
    n_forward_images: int
    batch_size: int


@dataclass(frozen=True)
class _Miss:
    index: int
    key: str


@dataclass(frozen=True)
class _ReadMiss(_Miss):
    image: LoadedImage


class EmbeddingRun:
    """One call's way through all images.

    Parameters
    ----------
    info : BackboneInfo
        Description of the backbone.
    load_backbone : callable
        Returns the backbone; called when, and only if, an image must go through it.
    device : torch.device
        Where the backbone runs.
    precision : torch.dtype
        What it computes in.
    fingerprint : bytes
        Of everything that determines an embedding beside the image.
    batch_size : int
        Images of one forward pass.
    n_threads : int
        Threads that read and decode.
    stop_on_bad : bool
        Whether nothing more is forwarded once a bad image was met; all are still checked.
    store : EmbeddingStore or None
        Where embeddings are kept.
    advance : callable
        Told how many images were dealt with.
    """

    def __init__(
        self,
        *,
        info: BackboneInfo,
        load_backbone: Callable[[], TokenBackbone],
        device: torch.device,
        precision: torch.dtype,
        fingerprint: bytes,
        batch_size: int,
        n_threads: int,
        stop_on_bad: bool,
        store: EmbeddingStore | None,
        advance: Callable[[int], Any],
    ) -> None:
        self._info = info
        self._load_backbone = load_backbone
        self._device = device
        self._precision = precision
        self._fingerprint = fingerprint
        remedy = f"a smaller image_size or model, another precision than {precision}, or the CPU"
        self._batches = BatchHalver(
            device,
            batch_size,
            partial(describe_shortage, device, "for", info.model_name, info.image_size, remedy),
        )
        self._n_threads = n_threads
        self._stop_on_bad = stop_on_bad
        self._store = store
        self._advance = advance
        self._transform = make_transform(info)
        self._backbone: TokenBackbone | None = None
        self._reservation = ExitStack()
        self._in_flight: tuple[list[_Miss], torch.Tensor] | None = None
        self._head: PoolingHead | None = None
        self._bad: dict[int, str] = {}
        self._copies: list[tuple[int, int]] = []
        self._damaged: list[int] = []
        self._notes = ImageNotes()
        self._n_forward_images = 0
        self._n_hits = 0

    def run(self, inputs: ImageInputs) -> EmbeddingResult:
        """Embed all images.

        Parameters
        ----------
        inputs : ImageInputs
            The images.

        Returns
        -------
        result : EmbeddingResult

        Raises
        ------
        DeviceMemoryError
            If not even one image fits on the device.
        """
        self._inputs = inputs
        shape = (len(inputs), 2 * self._info.embedding_dim)
        self._embeddings = np.full(shape, np.nan, dtype=np.float32)
        if self._stop_on_bad:
            # Before hours of work: most bad images are paths that name nothing.
            self._bad = inputs.find_missing_files()
        self._head = self._look_up_head()
        pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="skcyto-images")
        with self._reservation:
            try:
                self._forward_all(self._prepare(inputs, pool))
            finally:
                pool.shutdown(cancel_futures=True)
        for index, original in self._copies:
            self._embeddings[index] = self._embeddings[original]
            if original in self._bad:
                self._bad[index] = self._bad[original]
        self._count_hits()
        if self._head is None and len(self._bad) < len(inputs):
            self._head = self._get_backbone().head
        self._report_damage(inputs)
        self._notes.warn()
        return EmbeddingResult(
            self._embeddings,
            self._head,
            self._bad,
            self._n_forward_images,
            self._batches.batch_size,
        )

    def _prepare(
        self, inputs: ImageInputs, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[_Miss, torch.Tensor]]:
        """Yield the images that must be forwarded, decoded; deal with all others."""

        def load(index: int) -> tuple[int, LoadedImage | Exception]:
            try:
                return index, inputs.load(index, self._notes.of(inputs.name(index)))
            except MemoryError:
                raise
            except Exception as error:  # Each of Pillow's decoders fails in its own way.
                return index, error

        loaded = map_ahead(
            pool,
            load,
            range(len(inputs)),
            ahead=_LOOK_UP,
            weigh=inputs.weigh,
            max_weight=_MAX_READ_BYTES,
            results_weigh=True,
        )
        misses = self._look_up(loaded)
        decoded = map_ahead(
            pool,
            self._decode,
            misses,
            ahead=2 * self._batches.batch_size,
            weigh=lambda miss: miss.image.n_bytes,
            max_weight=_MAX_WAITING_BYTES,
        )
        for miss, pixels in decoded:
            if isinstance(pixels, Exception):
                self._reject(miss.index, pixels)
            else:
                yield miss, pixels

    def _look_up(
        self, loaded: Iterator[tuple[int, LoadedImage | Exception]]
    ) -> Iterator[_ReadMiss]:
        """Set aside copies, take what is stored, and yield the rest."""
        first: dict[str, int] = {}
        more = True
        while more:
            fresh: deque[tuple[int, LoadedImage]] = deque()
            n_bytes = 0
            more = False
            for index, image in islice(loaded, _LOOK_UP):
                more = True
                if isinstance(image, Exception):
                    self._reject(index, image)
                elif image.digest in first:
                    self._copies.append((index, first[image.digest]))
                    self._advance(1)
                else:
                    first[image.digest] = index
                    fresh.append((index, image))
                    n_bytes += image.n_bytes
                    if n_bytes > _MAX_LOOK_UP_BYTES:
                        break
            keys = make_keys(self._fingerprint, [image.digest for _, image in fresh])
            found, damaged = ({}, []) if self._store is None else self._store.look_up(keys)
            image = None  # An image is let go as soon as it is handed on.
            for key in keys:
                index, content = fresh.popleft()
                if key in found:
                    self._embeddings[index] = np.frombuffer(found[key], dtype="<f4")
                    self._n_hits += 1
                    self._advance(1)
                    continue
                if key in damaged:
                    self._damaged.append(index)
                yield _ReadMiss(index, key, content)
                del content

    def _decode(self, miss: _ReadMiss) -> tuple[_Miss, torch.Tensor | Exception]:
        # The file's bytes are not kept beside the pixels.
        done = _Miss(miss.index, miss.key)
        note = self._notes.of(self._inputs.name(miss.index))
        try:
            return done, miss.image.decode_for(self._transform, note)
        except MemoryError:
            raise
        except Exception as error:  # As above.
            return done, error

    def _reject(self, index: int, error: Exception) -> None:
        self._bad[index] = explain(error)
        self._advance(1)

    def _forward_all(self, prepared: Iterable[tuple[_Miss, torch.Tensor]]) -> None:
        batch: list[tuple[_Miss, torch.Tensor]] = []
        for item in prepared:
            if self._stop_on_bad and self._bad:
                batch.clear()  # An error is certain: go on only to find all bad images.
                self._advance(1)
                continue
            batch.append(item)
            if len(batch) >= self._batches.batch_size:
                self._start(batch)
                batch = []
        if batch and not (self._stop_on_bad and self._bad):
            self._start(batch)
        self._collect()

    def _start(self, batch: list[tuple[_Miss, torch.Tensor]]) -> None:
        """Send a batch off, and take in the one before it while a GPU works on this one."""
        import torch

        pixels = torch.stack([pixels for _, pixels in batch])
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()
        embeddings = self._forward(pixels)
        self._collect()
        self._in_flight = [miss for miss, _ in batch], embeddings

    def _collect(self) -> None:
        if self._in_flight is None:
            return
        misses, embeddings = self._in_flight
        self._in_flight = None
        values = embeddings.cpu().numpy()
        self._embeddings[[miss.index for miss in misses]] = values
        self._n_forward_images += len(misses)
        self._save({miss.key: row.tobytes() for miss, row in zip(misses, values, strict=True)})
        self._advance(len(misses))

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        if self._n_forward_images == 0 and self._in_flight is None:
            # Not before: a call that finds everything in its cache needs no device.
            size = self._batches.batch_size
            needed = inference_memory(self._info, size, self._precision)
            self._reservation.enter_context(reserve_memory(self._device, needed))
        backbone = self._get_backbone()

        def work(batch_size: int) -> torch.Tensor:
            parts = [backbone.forward(part, self._precision) for part in pixels.split(batch_size)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return self._batches.run(work)

    def _get_backbone(self) -> TokenBackbone:
        if self._backbone is None:
            with shortage_raises(self._batches.make_error):
                self._backbone = self._load_backbone()
        return self._backbone

    def _look_up_head(self) -> PoolingHead | None:
        data = None if self._store is None else self._store.get_head(self._fingerprint.hex())
        return None if data is None else PoolingHead.from_bytes(data, self._info)

    def _save(self, vectors: dict[str, bytes]) -> None:
        if self._store is None:
            return
        try:
            if self._head is None:
                self._head = self._get_backbone().head
                self._store.put_head(self._fingerprint.hex(), self._head.to_bytes())
            self._store.put(vectors)
        except OSError as error:
            self._do_without_store("embeddings can no longer be stored", error)

    def _count_hits(self) -> None:
        if self._store is None:
            return
        try:
            self._store.add_hits(self._n_hits + sum(i not in self._bad for i, _ in self._copies))
        except OSError as error:
            self._do_without_store("hits can no longer be counted", error)

    def _do_without_store(self, what: str, error: OSError) -> None:
        """Say once that the store takes no more; what is embedded is worth more than it."""
        warn(
            f"{what}, the rest of this call goes without the cache: {error}",
            EmbeddingCacheWarning,
        )
        self._store = None

    def _report_damage(self, inputs: ImageInputs) -> None:
        if not self._damaged:
            return
        names = [inputs.name(index) for index in self._damaged[:_MAX_NAMED]]
        if len(self._damaged) > _MAX_NAMED:
            names.append(f"and {len(self._damaged) - _MAX_NAMED} more")
        path = "" if self._store is None else f" {self._store.path}"
        warn(
            f"{len(self._damaged)} damaged embeddings in the embedding cache{path} were computed "
            f"anew: those of {', '.join(names)}",
            EmbeddingCacheWarning,
        )
