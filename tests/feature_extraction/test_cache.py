"""EmbeddingCache: hits, counts, kills, many processes, and every kind of damage."""

import copy
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from skcyto.exceptions import EmbeddingCacheWarning
from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder
from skcyto.feature_extraction._embedding._loaded_backbones import clear_backbones
from skcyto.feature_extraction._embedding._store import EmbeddingStore, make_keys
from skcyto.utils._backbones._source import BackboneSource

TINY = "eva02_tiny_patch14_224"
pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_embedder(cache=None, **params):
    params = {"weights": None, "image_size": 28, "random_state": 0, "batch_size": 4, **params}
    return EVA02TokenEmbedder(params.pop("model_name", TINY), cache=cache, **params)


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache")


@pytest.fixture
def features(image_paths):
    return make_embedder().fit_transform(image_paths)


def forward(embedder, X):
    """Features, and how many images went through the network."""
    result = embedder.fit(X).transform(X)
    return result, embedder.n_forward_images_


def no_network(monkeypatch):
    """Let nothing load a model any more."""
    clear_backbones()
    monkeypatch.setattr(BackboneSource, "create", lambda self: pytest.fail("a model was loaded"))


def test_second_run_forwards_nothing_and_loads_no_weights(
    cache, image_paths, features, monkeypatch
):
    first, n_first = forward(make_embedder(cache), image_paths)
    np.testing.assert_allclose(first, features, atol=1e-5)
    assert n_first == 12
    no_network(monkeypatch)
    second, n_second = forward(make_embedder(cache), image_paths)
    np.testing.assert_array_equal(second, first)
    assert n_second == 0


@pytest.mark.parametrize("model_name", [TINY, "vit_tiny_patch16_224"])
def test_one_pass_serves_all_tokens_and_norms(cache, image_paths, monkeypatch, model_name):
    params = {"model_name": model_name, "image_size": 28 if model_name == TINY else 32}
    choices = [(t, n) for t in ("class", "image", "all") for n in (True, False, "image")]
    alone = [
        make_embedder(tokens=t, final_norm=n, **params).fit_transform(image_paths)
        for t, n in choices
    ]
    forward(make_embedder(cache, **params), image_paths)
    no_network(monkeypatch)
    for (tokens, normalize), expected in zip(choices, alone, strict=True):
        embedder = make_embedder(cache, tokens=tokens, final_norm=normalize, **params)
        result, n_forward = forward(embedder, image_paths)
        assert n_forward == 0
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_folder_as_string_and_as_path_is_the_same_cache(cache, image_paths):
    forward(make_embedder(str(cache.path)), image_paths)
    assert forward(make_embedder(cache.path), image_paths)[1] == 0
    assert cache.info().entries == 12


def test_info_and_clear(cache, image_paths):
    assert cache.info() == (0, 0, 0, 0)
    assert not cache.file.exists()
    cache.clear()
    forward(make_embedder(cache), image_paths[:8])
    forward(make_embedder(cache), [*image_paths, image_paths[11]])
    info = cache.info()
    assert (info.entries, info.hits, info.misses) == (12, 9, 12)
    assert info.bytes >= 12 * 2 * 192 * 4
    cache.clear()
    assert cache.info()[0] == 0
    assert cache.info()[2:] == (0, 0)
    assert cache.info().bytes < info.bytes + 100_000
    assert forward(make_embedder(cache), image_paths)[1] == 12


def test_flipped_byte_in_an_image_misses(cache, image_paths):
    before, _ = forward(make_embedder(cache), image_paths)
    with open(image_paths[3], "rb") as file:
        pixels = np.asarray(Image.open(file)).copy()
    pixels[12, 15, 0] ^= 128
    Image.fromarray(pixels).save(image_paths[3])
    after, n_forward = forward(make_embedder(cache), image_paths)
    assert n_forward == 1
    others = [i for i in range(12) if i != 3]
    np.testing.assert_array_equal(after[others], before[others])
    assert not np.array_equal(after[3], before[3])


def test_one_byte_anywhere_in_a_file_counts(cache, image_paths):
    with open(image_paths[0], "rb") as file:
        data = bytearray(file.read())
    forward(make_embedder(cache), image_paths[:1])
    with open(image_paths[0], "wb") as file:
        file.write(data + b"\0")  # after the image's end: the same picture in another file
    assert forward(make_embedder(cache), image_paths[:1])[1] == 1


def test_renamed_and_copied_images_hit(cache, image_paths, tmp_path):
    forward(make_embedder(cache), image_paths)
    os.rename(image_paths[0], tmp_path / "other name.png")
    assert forward(make_embedder(cache), [tmp_path / "other name.png"])[1] == 0


def test_arrays_and_pil_images_are_cached_too(cache, image_paths):
    arrays = [np.asarray(Image.open(p)) for p in image_paths]
    assert forward(make_embedder(cache), arrays)[1] == 12
    assert forward(make_embedder(cache), arrays)[1] == 0
    assert forward(make_embedder(cache), [Image.open(p) for p in image_paths])[1] == 0
    turned = [a.swapaxes(0, 1) for a in arrays]
    assert forward(make_embedder(cache), turned)[1] == 12


@pytest.mark.parametrize(
    "change",
    [
        {"random_state": 1},
        {"image_size": 42},
        {"model_name": "vit_tiny_patch16_224", "image_size": 32},
        {"precision": "bfloat16"},
    ],
)
def test_everything_that_changes_an_embedding_misses(cache, image_paths, change):
    forward(make_embedder(cache), image_paths)
    result, n_forward = forward(make_embedder(cache, **change), image_paths)
    assert n_forward == 12
    expected = make_embedder(**change).fit_transform(image_paths)
    np.testing.assert_allclose(result, expected, atol=0.2 if "precision" in change else 1e-5)
    assert forward(make_embedder(cache), image_paths)[1] == 0


def test_other_weights_in_the_same_file_miss(cache, image_paths, tmp_path):
    path = tmp_path / "weights.safetensors"
    weights = BackboneSource(TINY, 28, None, 0).create().state_dict()
    safetensors.torch.save_file(weights, path)
    assert forward(make_embedder(cache, weights=path), image_paths)[1] == 12
    safetensors.torch.save_file({**weights, "cls_token": weights["cls_token"] + 1}, path)
    assert forward(make_embedder(cache, weights=path), image_paths)[1] == 12
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(path.read_bytes())
    assert forward(make_embedder(cache, weights=copied), image_paths)[1] == 0


@pytest.mark.parametrize("change", [{"n_jobs": 3}, {"batch_size": 12}, {"device": "cpu"}])
def test_what_does_not_change_an_embedding_hits(cache, image_paths, change):
    forward(make_embedder(cache), image_paths)
    assert forward(make_embedder(cache, **change), image_paths)[1] == 0


def test_bad_images_are_not_stored(cache, image_paths):
    with open(image_paths[1], "wb") as file:
        file.write(b"no image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, _ = forward(make_embedder(cache, on_error="nan"), image_paths)
        assert np.isnan(result[1]).all()
        again, n_forward = forward(make_embedder(cache, on_error="nan"), image_paths)
    assert n_forward == 0
    assert cache.info().entries == 11
    np.testing.assert_array_equal(again, result)


def test_work_done_before_an_error_is_kept(cache, image_paths):
    with open(image_paths[9], "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError, match="1 of 12"):
        forward(make_embedder(cache, batch_size=1, n_jobs=1), image_paths)
    kept = cache.info().entries
    assert kept > 0
    assert forward(make_embedder(cache), image_paths[:9])[1] == 9 - kept


def test_cache_is_copied_and_pickled_by_its_folder(cache, image_paths):
    forward(make_embedder(cache), image_paths)
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert other.info() == cache.info()
    assert repr(str(cache.path))[1:-1] in repr(cache)


def row_of(cache, index):
    with sqlite3.connect(cache.file) as connection:
        query = "SELECT key, value FROM entries WHERE key NOT LIKE 'head %' ORDER BY rowid"
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows[index]


def set_vector(cache, key, vector):
    with sqlite3.connect(cache.file) as connection:
        connection.execute("UPDATE entries SET value = ? WHERE key = ?", (vector, key))
    connection.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: bytes([v[0] ^ 1]) + v[1:],
        lambda v: v[:-4],
        lambda v: b"",
        lambda v: None,
        lambda v: "text",
    ],
)
def test_damaged_rows_are_named_and_computed_anew(cache, image_paths, spoil):
    expected, _ = forward(make_embedder(cache), image_paths)
    key, vector = row_of(cache, 5)
    set_vector(cache, key, spoil(vector))
    with pytest.warns(EmbeddingCacheWarning) as caught:
        result, n_forward = forward(make_embedder(cache), image_paths)
    (message,) = [str(w.message) for w in caught if w.category is EmbeddingCacheWarning]
    assert "1 damaged embedding" in message
    assert str(cache.file) in message
    assert "cell05.png" in message
    assert n_forward == 1
    np.testing.assert_allclose(result, expected, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingCacheWarning)
        assert forward(make_embedder(cache), image_paths)[1] == 0


def test_row_moved_to_another_image_is_damaged(cache, image_paths):
    forward(make_embedder(cache), image_paths)
    (key, _), (_, other) = row_of(cache, 0), row_of(cache, 1)
    set_vector(cache, key, other)
    with pytest.warns(EmbeddingCacheWarning, match="damaged"):
        assert forward(make_embedder(cache), image_paths)[1] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE key LIKE 'head %'",
        "UPDATE entries SET value = x'00' WHERE key LIKE 'head %'",
    ],
)
def test_lost_pooling_head_is_made_again(cache, image_paths, statement):
    expected, _ = forward(make_embedder(cache), image_paths)
    with sqlite3.connect(cache.file) as connection:
        connection.execute(statement)
    connection.close()
    result, n_forward = forward(make_embedder(cache), image_paths)
    np.testing.assert_array_equal(result, expected)
    assert n_forward == 0


def overwrite(start, length):
    def spoil(path):
        with open(path, "r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * length)

    return spoil


def truncate(path):
    os.truncate(path, path.stat().st_size // 2 - 1000)


def run_sql(statement):
    def spoil(path):
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        overwrite(0, 100),
        overwrite(0, 10**6),
        overwrite(100, 2000),
        overwrite(32768, 3 * 32768),
        truncate,
        lambda path: path.write_bytes(b"no database"),
        run_sql("ALTER TABLE entries RENAME COLUMN value TO embedding"),
    ],
    ids=["magic", "everything", "schema", "pages", "cut", "text", "other column"],
)
def test_damaged_file_is_named_and_rebuilt(cache, image_paths, spoil):
    expected, _ = forward(make_embedder(cache), image_paths)
    spoil(cache.file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, n_forward = forward(make_embedder(cache), image_paths)
    messages = [str(w.message) for w in caught if w.category is EmbeddingCacheWarning]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert n_forward > 0
    assert messages
    assert all(str(cache.file) in message for message in messages)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingCacheWarning)
        assert forward(make_embedder(cache), image_paths)[1] == 0
        assert cache.info().entries == 12


def test_file_removed_while_the_cache_is_in_use(cache, image_paths, monkeypatch):
    """As when another process finds it damaged: what follows goes into the new file."""
    expected, _ = forward(make_embedder(cache), image_paths)
    cache.clear()
    put = EmbeddingStore.put

    def put_and_remove(self, vectors):
        put(self, vectors)
        monkeypatch.setattr(EmbeddingStore, "put", put)
        self.path.unlink()

    monkeypatch.setattr(EmbeddingStore, "put", put_and_remove)
    result, n_forward = forward(make_embedder(cache), image_paths)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert n_forward == 12
    assert cache.info().entries == 8
    assert forward(make_embedder(cache), image_paths)[1] == 4


def test_disk_that_takes_no_more_costs_the_cache_and_not_the_result(
    cache, image_paths, features, monkeypatch
):
    def fail(self, vectors):
        raise OSError(f"embedding cache {self.path}: database or disk is full")

    monkeypatch.setattr(EmbeddingStore, "put", fail)
    with pytest.warns(EmbeddingCacheWarning, match="disk is full"):
        result, n_forward = forward(make_embedder(cache), image_paths)
    np.testing.assert_allclose(result, features, atol=1e-5)
    assert n_forward == 12


@pytest.mark.parametrize("n_known", [12, 5], ids=["all hits", "some hits"])
def test_disk_that_takes_no_more_costs_a_count_and_not_the_result(
    cache, image_paths, features, monkeypatch, n_known
):
    """Where nothing is stored any more, the hits are still written down."""
    forward(make_embedder(cache), image_paths[:n_known])

    def fail(self, *args):
        raise OSError(f"embedding cache {self.path}: database or disk is full")

    monkeypatch.setattr(EmbeddingStore, "add_hits", fail)
    monkeypatch.setattr(EmbeddingStore, "put", fail)
    with pytest.warns(EmbeddingCacheWarning, match="disk is full") as caught:
        result, n_forward = forward(make_embedder(cache), image_paths)
    np.testing.assert_allclose(result, features, atol=1e-5)
    assert n_forward == 12 - n_known
    assert len([w for w in caught if w.category is EmbeddingCacheWarning]) == 1


def test_folder_that_cannot_be_made(tmp_path, image_paths):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        forward(make_embedder(tmp_path / "file" / "cache"), image_paths)


def test_many_keys_are_looked_up_at_once(cache):
    with EmbeddingStore(cache.file) as store:
        keys = make_keys(b"model", [i.to_bytes(4, "big") for i in range(1300)])
        assert len(set(keys)) == 1300
        store.put({key: key.encode() * 10 for key in keys})
        found, damaged = store.look_up([*keys, "another"])
    assert found == {key: key.encode() * 10 for key in keys}
    assert damaged == []


SCRIPT = """
import sys, time, warnings
import numpy as np, torch
torch.set_num_threads(1)
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_extraction._embedding._tokens import TokenBackbone
warnings.simplefilter("ignore")
cache, output, pause, *paths = sys.argv[1:]
forward = TokenBackbone.forward
def slow(self, images, precision):
    time.sleep(float(pause))
    return forward(self, images, precision)
TokenBackbone.forward = slow
embedder = EVA02TokenEmbedder(
    "eva02_tiny_patch14_224", weights=None, image_size=28, random_state=0, batch_size=1, cache=cache
).fit(paths)
np.save(output, embedder.transform(paths))
print(embedder.n_forward_images_)
"""


def start(cache, output, pause, paths):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(cache.path), str(output), str(pause), *paths],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_half_way_the_rerun_forwards_only_the_rest(cache, image_paths, features, tmp_path):
    process = start(cache, tmp_path / "never.npy", 0.4, image_paths)
    wait_for(lambda: cache.file.exists() and cache.info().entries >= 5, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = cache.info().entries
    assert 5 <= kept < 12
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingCacheWarning)
        result, n_forward = forward(make_embedder(cache), image_paths)
    assert n_forward == 12 - kept
    np.testing.assert_allclose(result, features, atol=1e-5)


def test_two_processes_at_once_agree(cache, image_paths, features, tmp_path):
    outputs = [tmp_path / "a.npy", tmp_path / "b.npy"]
    processes = [
        start(cache, outputs[0], 0.1, image_paths),
        start(cache, outputs[1], 0.1, image_paths[::-1]),
    ]
    n_forward = []
    for process in processes:
        out, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
        n_forward.append(int(out))
    np.testing.assert_allclose(np.load(outputs[0]), features, atol=1e-5)
    np.testing.assert_allclose(np.load(outputs[1]), features[::-1], atol=1e-5)
    assert cache.info().entries == 12
    assert cache.info().misses == sum(n_forward)
    assert forward(make_embedder(cache), image_paths)[1] == 0


def test_folder_removed_while_the_cache_is_in_use(cache):
    with EmbeddingStore(cache.file) as store:
        store.put({"a": b"1"})
        shutil.rmtree(cache.file.parent)
        store.put({"b": b"2"})
        assert store.look_up(["a", "b"]) == ({"b": b"2"}, [])


def test_a_damaged_file_is_kept_under_another_name(cache):
    with EmbeddingStore(cache.file) as store:
        store.put({"a": b"1"})
    cache.file.write_bytes(b"no database")
    with pytest.warns(EmbeddingCacheWarning, match="damaged .* set aside as"):
        assert cache.info().entries == 0
    (aside,) = cache.file.parent.glob("*.damaged-*")
    assert aside.read_bytes() == b"no database"


def test_processes_that_meet_the_same_damage_do_not_undo_each_others_work(cache):
    with EmbeddingStore(cache.file) as store:
        store.put({"a": b"1"})
    cache.file.write_bytes(b"no database")
    with pytest.warns(EmbeddingCacheWarning, match="damaged"):
        EmbeddingStore(cache.file).put({"b": b"2"})
    with EmbeddingStore(cache.file) as second:
        # As if it, too, had met the damage, but only gets its turn now.
        second._set_aside(sqlite3.DatabaseError("file is not a database"), force=False)
        assert second.look_up(["b"]) == ({"b": b"2"}, [])
