"""What skcyto writes can be read by whom the umask lets read."""

import os
import stat

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import skcyto
from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder, embed_to_parquet
from skcyto.model_selection import compare_models
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.utils._content_store import ContentStore

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes of files are a matter of POSIX"),
    pytest.mark.filterwarnings("ignore:weights=None"),
]
RNG = np.random.default_rng(0)
TINY = {"model_name": "eva02_tiny_patch14_224", "weights": None, "image_size": 14}


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def check_modes(folder, umask):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    modes = {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in files}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)


def make_network():
    images = RNG.integers(0, 255, (8, 14, 14, 3), dtype=np.uint8)
    classifier = EVA02Classifier(**TINY, max_epochs=1, validation_fraction=None, random_state=0)
    return classifier, images, np.repeat([0, 1], 4)


def test_saved_models_and_checkpoints(tmp_path, umask):
    classifier, images, y = make_network()
    classifier.set_params(checkpoint=tmp_path / "checkpoint").fit(images, y)
    classifier.save_weights(tmp_path / "own.safetensors")
    skcyto.save(classifier, tmp_path / "network")
    table = RNG.normal(size=(8, 3))
    mlp = ImbalancedMLPClassifier(max_epochs=1, random_state=0, validation_fraction=None)
    skcyto.save(mlp.fit(table, y), tmp_path / "mlp")
    embedder = EVA02TokenEmbedder(**TINY, random_state=0).fit(images)
    skcyto.save(embedder, tmp_path / "embedder")
    check_modes(tmp_path, umask)


def test_caches_and_parquet_folders(tmp_path, umask):
    pytest.importorskip("pyarrow")
    path = tmp_path / "cell.png"
    Image.new("RGB", (14, 14)).save(path)
    embedder = EVA02TokenEmbedder(**TINY, random_state=0, cache=EmbeddingCache(tmp_path / "cache"))
    embedder.fit_transform([path])
    embed_to_parquet(embedder, [path], tmp_path / "tiles")
    store = ContentStore(tmp_path / "store" / "results.sqlite")
    store.put_many({"a": b"1"})
    check_modes(tmp_path, umask)  # with the files of the write-ahead log
    store.close()


def test_comparison_checkpoints(tmp_path, umask):
    X, y = RNG.normal(size=(40, 3)), np.repeat([0, 1], 20)
    candidates = {"a": LogisticRegression(), "b": LogisticRegression(C=0.1)}
    compare_models(candidates, X, y, cv=2, checkpoint=tmp_path)
    check_modes(tmp_path, umask)
