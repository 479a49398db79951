"""Reading ahead: in order, beside the network, and only so far."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_extraction._embedding._run import EmbeddingRun
from skcyto.feature_extraction._embedding._tokens import TokenBackbone
from skcyto.utils._images._inputs import ImageInputs
from skcyto.utils._prefetch import map_ahead, resolve_n_threads


@pytest.mark.parametrize("n_items", [0, 1, 5, 50])
@pytest.mark.parametrize("ahead", [0, 1, 7])
@pytest.mark.parametrize("n_threads", [1, 4])
def test_results_come_in_order_and_items_are_taken_only_so_far_ahead(n_items, ahead, n_threads):
    taken = []

    def items():
        for i in range(n_items):
            taken.append(i)
            yield i

    results = []
    with ThreadPoolExecutor(n_threads) as pool:
        for result in map_ahead(pool, lambda i: i * i, items(), ahead=ahead):
            results.append(result)
            assert len(taken) <= len(results) + ahead
    assert results == [i * i for i in range(n_items)]


def test_work_goes_on_while_the_consumer_is_busy():
    done = [threading.Event() for _ in range(10)]
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda i: done[i].set(), range(10), ahead=4)
        next(results)  # and now the consumer takes its time
        assert all(event.wait(10) for event in done[:5])
        assert not any(event.is_set() for event in done[5:])


def test_heavy_items_are_taken_fewer_at_a_time():
    taken, release = [], threading.Event()

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(
            pool,
            lambda i: (release.wait(10) if i else True) and i,
            items(),
            ahead=10,
            weigh=lambda i: 100,
            max_weight=350,
        )
        assert next(results) == 0  # needed no more than the fourth to be taken
        assert len(taken) <= 5
        release.set()
        assert list(results) == list(range(1, 20))


def test_error_is_raised_where_its_result_is_due():
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda i: 1 // (i - 2), range(5), ahead=3)
        assert [next(results), next(results)] == [-1, -1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_number_of_threads():
    n_cores = joblib.cpu_count()
    assert resolve_n_threads(None) == min(n_cores, 8)
    assert resolve_n_threads(-1) == n_cores
    assert resolve_n_threads(3) == 3
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert resolve_n_threads(3) == 3
    with pytest.raises(ValueError, match="n_jobs"):
        resolve_n_threads(0)


def test_images_in_memory_do_not_grow_with_their_number(monkeypatch):
    """Counted from the reading of each to its forward pass, for 50 images and for 200."""
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    lock = threading.Lock()
    counts = {}
    load, forward = ImageInputs.load, TokenBackbone.forward

    def counting_load(self, index, note):
        with lock:
            counts["held"] += 1
            counts["most"] = max(counts["most"], counts["held"])
        return load(self, index, note)

    def counting_forward(self, batch, precision):
        with lock:
            counts["held"] -= len(batch)
        return forward(self, batch[:1], precision).expand(len(batch), -1)  # to be quick

    monkeypatch.setattr(ImageInputs, "load", counting_load)
    monkeypatch.setattr(TokenBackbone, "forward", counting_forward)
    embedder = EVA02TokenEmbedder(
        "eva02_tiny_patch14_224", weights=None, image_size=14, batch_size=10, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedder.fit(images)
    most = []
    for n_images in (200, 50, 200):
        counts.update(held=0, most=0)
        embedder.transform(images[:n_images])
        assert counts["held"] == 0
        most.append(counts["most"])
    assert max(most) <= 120


def test_pool_has_a_name_and_is_gone_afterwards(monkeypatch):
    names = set()
    decode = EmbeddingRun._decode

    def noting_decode(self, miss):
        names.add(threading.current_thread().name)
        return decode(self, miss)

    monkeypatch.setattr(EmbeddingRun, "_decode", noting_decode)
    embedder = EVA02TokenEmbedder("eva02_tiny_patch14_224", weights=None, image_size=14, n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedder.fit_transform(np.zeros((3, 16, 16, 3), np.uint8))
    assert names
    assert all(name.startswith("skcyto-images") for name in names)
    assert not names & {thread.name for thread in threading.enumerate()}
