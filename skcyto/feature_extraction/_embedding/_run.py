"""Send images through a backbone: read ahead, look up, forward, store.

Four stages work side by side, each a bounded number of images ahead of the next: threads read and
hash the files; this thread looks the hashes up; threads decode and resize what is not known yet;
this thread sends batches through the network and stores what comes out. Memory does not grow with
the number of images, apart from the result.
"""

from __future__ import annotations

import hashlib
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
from skcyto.feature_extraction._embedding._tokens import POOLED, PoolingHead, TokenBackbone
from skcyto.utils._backbones._memory import inference_memory
from skcyto.utils._backbones._source import BackboneInfo
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._backbones._views import View, show
from skcyto.utils._devices._batch_halver import BatchHalver, describe_shortage, shortage_raises
from skcyto.utils._devices._reservation import reserve_memory
from skcyto.utils._images._inputs import ImageInputs, LoadedImage, explain
from skcyto.utils._images._notes import ImageNotes
from skcyto.utils._prefetch import map_ahead
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some

if TYPE_CHECKING:
    import torch

# Of files that are being read or wait to be looked up, of those that are looked up together, and of
# those that wait to be decoded.
_MAX_READ_BYTES = 2**26
_MAX_LOOK_UP_BYTES = 2**26
_MAX_WAITING_BYTES = 2**27
_LOOK_UP = 32  # images whose hashes are looked up together
# Tokens of a batch, with batch_size="auto": few on a CPU, whose caches hold no more.
_CPU_BATCH_TOKENS = 4096
_GPU_BATCH_TOKENS = 65536
_MAX_BATCH_SIZE = 512
_COMMON_PATCH = 16  # pixels: what a network without tokens is taken to do at once
_MAX_NAMED = 5  # images with damaged embeddings that a warning names


@dataclass(frozen=True)
class EmbeddingResult:
    """What came of a call.

    Attributes
    ----------
    features : ndarray of shape (n_images, n_features)
        Means over the views, float32; NaN where the image is bad.
    bad : dict of int to str
        Position and reason of each image that could not be read.
    n_forward_images : int
        Views of images that went through the network.
    batch_size : int
        Images of one forward pass at the end.
    """

    features: np.ndarray
    bad: dict[int, str]
    n_forward_images: int
    batch_size: int


@dataclass(frozen=True)
class _Miss:
    index: int
    key: str


@dataclass(frozen=True)
class _ReadImage:
    """An image, the views that are not known of it, and their keys."""

    index: int
    views: list[View]
    keys: list[str]
    image: LoadedImage


def choose_batch_size(batch_size: int | str, info: BackboneInfo, device: torch.device) -> int:
    """Turn the parameter of this name into a number of images.

    Parameters
    ----------
    batch_size : int or "auto"
        As the user gave it.
    info : BackboneInfo
        Description of the network.
    device : torch.device
        Where it runs.

    Returns
    -------
    n_images : int
    """
    if not isinstance(batch_size, str):
        return int(batch_size)
    patch = info.patch_size if info.has_tokens else _COMMON_PATCH
    n_tokens = max(1, (info.image_size // patch) ** 2)
    budget = _CPU_BATCH_TOKENS if device.type == "cpu" else _GPU_BATCH_TOKENS
    return min(max(1, budget // n_tokens), _MAX_BATCH_SIZE)


def _of_view(fingerprint: bytes, view: View) -> bytes:
    """Tell one view of an image from another; the image as it is needs no more to be said."""
    if not view.name:
        return fingerprint
    return hashlib.blake2b(view.name.encode(), digest_size=20, key=fingerprint).digest()


class EmbeddingRun:
    """One call's way through all images.

    Parameters
    ----------
    info : BackboneInfo
        Description of the backbone.
    kind : {"raw", "normed", "pooled"}
        What the backbone gives for an image.
    views : list of View
        How each image is shown.
    n_features : int
        Length of what `combine` makes.
    combine : callable
        Makes features of embeddings and a pooling head.
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
        kind: str,
        views: list[View],
        n_features: int,
        combine: Callable[[np.ndarray, PoolingHead], np.ndarray],
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
        self._kind = kind
        self._views = views
        self._n_features = n_features
        # Of a stored embedding: class token and patch mean side by side, or the pooled feature.
        self._n_bytes = 4 * (info.pooled_dim if kind == POOLED else 2 * info.embedding_dim)
        self._combine = combine
        self._load_backbone = load_backbone
        self._device = device
        self._precision = precision
        self._fingerprint = fingerprint
        self._view_fingerprints = [_of_view(fingerprint, view) for view in views]
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
        self._head_is_new = False
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
        self._features = np.zeros((len(inputs), self._n_features), dtype=np.float32)
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
            self._features[index] = self._features[original]
            if original in self._bad:
                self._bad[index] = self._bad[original]
        self._features[list(self._bad)] = np.nan
        self._count_hits()
        self._report_damage(inputs)
        self._notes.warn()
        return EmbeddingResult(
            self._features,
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
            ahead=max(2, 2 * self._batches.batch_size // len(self._views)),
            weigh=lambda miss: miss.image.n_bytes,
            max_weight=_MAX_WAITING_BYTES,
        )
        for index, keys, pixels in decoded:
            if isinstance(pixels, Exception):
                self._reject(index, pixels)
            else:
                for key, view in zip(keys, pixels, strict=True):
                    yield _Miss(index, key), view

    def _look_up(
        self, loaded: Iterator[tuple[int, LoadedImage | Exception]]
    ) -> Iterator[_ReadImage]:
        """Set aside copies, take what is stored, and yield the rest."""
        first: dict[bytes, int] = {}
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
                    self._advance(len(self._views))
                else:
                    first[image.digest] = index
                    fresh.append((index, image))
                    n_bytes += image.n_bytes
                    if n_bytes > _MAX_LOOK_UP_BYTES:
                        break
            digests = [image.digest for _, image in fresh]
            keys = [make_keys(view, digests) for view in self._view_fingerprints]
            of_images = list(zip(*keys, strict=True))
            found, damaged = self._take_stored([index for index, _ in fresh], of_images)
            image = None  # An image is let go as soon as it is handed on.
            for known in of_images:
                index, content = fresh.popleft()
                if not damaged.isdisjoint(known):
                    self._damaged.append(index)
                pairs = [(v, k) for v, k in zip(self._views, known, strict=True) if k not in found]
                if pairs:
                    missing, their_keys = map(list, zip(*pairs, strict=True))
                    yield _ReadImage(index, missing, their_keys, content)
                del content

    def _take_stored(
        self, indices: list[int], of_images: list[tuple[str, ...]]
    ) -> tuple[set[str], set[str]]:
        """Add what is stored of some images; return what was found, and what is damaged."""
        if self._store is None or not indices:
            return set(), set()
        found, damaged = self._store.look_up([key for keys in of_images for key in keys])
        wrong = {key for key, value in found.items() if len(value) != self._n_bytes}
        found = {key: value for key, value in found.items() if key not in wrong}
        rows = [i for i, keys in zip(indices, of_images, strict=True) for k in keys if k in found]
        values = [found[key] for keys in of_images for key in keys if key in found]
        if rows:
            self._add(rows, np.stack([np.frombuffer(value, dtype="<f4") for value in values]))
            self._n_hits += len(rows)
            self._advance(len(rows))
        return set(found), wrong.union(damaged)

    def _add(self, rows: list[int], embeddings: np.ndarray) -> None:
        """Add the features of some views to those of their images."""
        features = self._combine(embeddings, self._get_head())
        if len(self._views) == 1:
            self._features[rows] = features
        else:  # An image may be there more than once.
            np.add.at(self._features, rows, features / np.float32(len(self._views)))

    def _decode(self, read: _ReadImage) -> tuple[int, list[str], torch.Tensor | Exception]:
        # The file's bytes are not kept beside the pixels.
        index, keys, views = read.index, read.keys, read.views
        note = self._notes.of(self._inputs.name(index))
        prepare = partial(show, views=views, transform=self._transform)
        try:
            return index, keys, read.image.decode_for(prepare, note)
        except MemoryError:
            raise
        except Exception as error:  # As above.
            return index, keys, error

    def _reject(self, index: int, error: Exception) -> None:
        self._bad[index] = explain(error)
        self._advance(len(self._views))

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
        self._add([miss.index for miss in misses], values)
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

    def _get_head(self) -> PoolingHead:
        if self._head is None:
            self._head = self._get_backbone().head
            self._head_is_new = True
        return self._head

    def _look_up_head(self) -> PoolingHead | None:
        data = None if self._store is None else self._store.get_head(self._fingerprint.hex())
        if data is None:
            return None
        try:
            return PoolingHead.from_bytes(data, self._info, self._kind)
        except Exception:  # A forged one has a checksum, too, and may hold anything.
            return None

    def _save(self, vectors: dict[str, bytes]) -> None:
        if self._store is None:
            return
        try:
            if self._head_is_new:
                self._store.put_head(self._fingerprint.hex(), self._get_head().to_bytes())
                self._head_is_new = False
            self._store.put(vectors)
        except OSError as error:
            self._do_without_store("embeddings can no longer be stored", error)

    def _count_hits(self) -> None:
        if self._store is None:
            return
        try:
            n_copies = sum(index not in self._bad for index, _ in self._copies)
            self._store.add_hits(self._n_hits + n_copies * len(self._views))
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
        names = list_some((inputs.name(index) for index in self._damaged), _MAX_NAMED)
        path = "" if self._store is None else f" {self._store.path}"
        warn(
            f"{len(self._damaged)} damaged embeddings in the embedding cache{path} were computed "
            f"anew: those of {names}",
            EmbeddingCacheWarning,
        )
