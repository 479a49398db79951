"""Embedding on a Dask cluster of real processes, one of which is killed in the middle."""

import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from copy import copy

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skcyto.exceptions import InvalidImageError, InvalidInputWarning, RandomWeightsWarning
from skcyto.feature_extraction import EVA02TokenEmbedder, embed_to_parquet

PART_SIZE = 5


def make_embedder(**params):
    return EVA02TokenEmbedder(
        "eva02_tiny_patch14_224", weights=None, image_size=112, random_state=0, n_jobs=1, **params
    )


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Two hundred image files, each other than all others."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(200):
        path = folder / f"tile{i:03d}.png"
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def expected(tiles, tmp_path_factory):
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("expected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        embed_to_parquet(make_embedder(), tiles, folder, part_size=PART_SIZE)
    return pd.read_parquet(folder)


@pytest.fixture
def client():
    from dask.distributed import Client, LocalCluster

    with warnings.catch_warnings():
        # Dask's own: sockets of the killed worker, and its event loop under a closing cluster.
        warnings.simplefilter("ignore")
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def wait_for(condition, what, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@contextmanager
def worker_killed(client, when):
    """Kill a worker that has something to do once `when()` holds."""
    killed = []

    def kill():
        wait_for(when, "the first parts")
        pids = client.run(os.getpid)
        busy = []

        def look():
            busy[:] = [address for address, keys in client.processing().items() if keys]
            return bool(busy)

        wait_for(look, "a busy worker")
        os.kill(pids[busy[0]], signal.SIGKILL)
        killed.append(pids[busy[0]])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        thread.join()


def count_parts(folder):
    return len(list(folder.glob("part-*.parquet")))


def assert_same(folder, tiles, expected):
    frame = pd.read_parquet(folder)
    assert frame["path"].tolist() == tiles  # every image, once, in its place
    assert frame.columns.tolist() == expected.columns.tolist()
    assert frame["error"].isna().all()
    features = [name for name in frame.columns if name.startswith("all_")]
    np.testing.assert_allclose(frame[features], expected[features], atol=1e-6)


@pytest.mark.slow
def test_a_worker_is_killed_in_the_middle(client, tiles, expected, tmp_path):
    folder = tmp_path / "tiles"
    before = set(client.run(os.getpid).values())
    with worker_killed(client, lambda: count_parts(folder) >= 5) as killed:
        info = embed_to_parquet(make_embedder(), tiles, folder, client=client, part_size=PART_SIZE)
    assert len(killed) == 1
    assert killed[0] in before
    assert info.n_new_parts == info.n_parts == 40
    assert_same(folder, tiles, expected)
    assert not list(folder.glob(".*.tmp"))
    assert set(client.run(os.getpid).values()) != before


@pytest.mark.slow
def test_all_workers_are_killed_one_after_the_other(client, tiles, expected, tmp_path):
    """Then the embedder itself, which lay on the workers alone, has to be sent again."""
    folder = tmp_path / "tiles"
    with worker_killed(client, lambda: count_parts(folder) >= 3) as first:
        with worker_killed(client, lambda: first and count_parts(folder) >= 8) as second:
            embed_to_parquet(make_embedder(), tiles, folder, client=client, part_size=PART_SIZE)
    assert len({*first, *second}) == 2
    assert_same(folder, tiles, expected)


@pytest.mark.slow
def test_a_cluster_goes_on_where_one_process_was(client, tiles, expected, tmp_path):
    folder = tmp_path / "tiles"
    embedder = make_embedder()
    with pytest.warns(RandomWeightsWarning):
        embedder.fit(tiles[:1])
    embed_to_parquet(embedder, tiles, folder, part_size=PART_SIZE)
    for index in (0, 7, 39):
        (folder / f"part-{index:08d}.parquet").unlink()
    info = embed_to_parquet(embedder, tiles, folder, client=client, part_size=PART_SIZE)
    assert info.n_new_parts == 3
    assert_same(folder, tiles, expected)


@pytest.mark.slow
def test_fine_tuned_weights_travel_to_the_workers(client, tiles, tmp_path, recwarn):
    from skcyto.neural_network import EVA02Classifier

    classifier = EVA02Classifier(
        "eva02_tiny_patch14_224",
        weights=None,
        image_size=28,
        max_epochs=1,
        validation_fraction=None,
        random_state=0,
    )
    embedder = EVA02TokenEmbedder(finetune=classifier, n_jobs=1)
    embedder.fit(tiles[:20], ["a", "b"] * 10)
    here = embed_to_parquet(embedder, tiles, tmp_path / "here", part_size=50)
    warnings.simplefilter("always")
    there = embed_to_parquet(embedder, tiles, tmp_path / "there", client=client, part_size=50)
    assert not [w for w in recwarn if "large graph" in str(w.message)]
    assert_same(there.path, tiles, pd.read_parquet(here.path))


@pytest.mark.slow
def test_bad_images_on_a_cluster(client, tiles, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    missing = [*tiles[:50], str(tmp_path / "nowhere.png"), *tiles[50:]]
    damaged = [*tiles[:50], str(bad), *tiles[50:]]
    with pytest.warns(RandomWeightsWarning):
        strict = make_embedder().fit(tiles[:1])
    lenient = copy(strict).set_params(on_error="nan")
    with pytest.raises(InvalidImageError, match=r"nowhere\.png \(row 50\): no such file"):
        embed_to_parquet(strict, missing, tmp_path / "a", client=client, part_size=PART_SIZE)
    assert count_parts(tmp_path / "a") == 0
    with pytest.raises(InvalidImageError, match=r"bad\.png \(row 50\): not an image"):
        embed_to_parquet(strict, damaged, tmp_path / "b", client=client, part_size=PART_SIZE)
    # The same call that was refused goes on with rows of NaN.
    with pytest.warns(InvalidInputWarning, match=r"1 of 201 .*\n.*bad\.png \(row 50\)"):
        info = embed_to_parquet(
            lenient, damaged, tmp_path / "b", client=client, part_size=PART_SIZE
        )
    assert info.n_unreadable == 1
    assert info.n_new_parts < info.n_parts
    frame = pd.read_parquet(tmp_path / "b")
    assert frame["path"].tolist() == damaged
    assert np.flatnonzero(frame["error"].notna()).tolist() == [50]
