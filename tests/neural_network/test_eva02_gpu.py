"""What fine-tuning does on a GPU."""

import pickle

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.gpu


@pytest.fixture
def make_gpu_classifier(make_classifier):
    def make(*args, **params):
        return make_classifier(*args, **{"device": "cuda", "n_jobs": 1, **params})

    return make


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_learns_in_every_precision(images, make_gpu_classifier, precision):
    X, y = images
    classifier = make_gpu_classifier(precision=precision, max_epochs=8).fit(X, y)
    assert classifier.score(X, y) > 0.9
    assert {p.dtype for p in classifier.network_.parameters()} == {torch.float32}


def test_float32_agrees_with_the_cpu(images, make_classifier, make_gpu_classifier):
    X, y = images
    common = {"precision": "float32", "augment": None, "max_epochs": 1}
    expected = make_classifier(**common).fit(X, y).predict_proba(X)
    result = make_gpu_classifier(**common).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(result, expected, atol=1e-2)


def test_compiled_training_agrees_with_plain(images, make_gpu_classifier):
    X, y = images
    common = {"precision": "float32", "augment": None}
    expected = make_gpu_classifier(**common).fit(X, y).predict_proba(X)
    result = make_gpu_classifier(compile=True, **common).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(result, expected, atol=1e-2)


def test_reading_processes_and_pinned_memory(image_files, make_gpu_classifier):
    paths, y = image_files
    classifier = make_gpu_classifier(n_jobs=4, max_epochs=8).fit(paths, y)
    assert classifier.score(paths, y) > 0.9


def test_a_real_shortage_of_memory_halves_the_batch(make_gpu_classifier):
    """A batch that cannot fit into a limited share of the memory, beside one that can."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)
    y = np.arange(512) % 2
    total = torch.cuda.get_device_properties(0).total_memory
    classifier = make_gpu_classifier(
        "eva02_tiny_patch14_224", image_size=224, batch_size=512, max_epochs=1, augment=None
    )
    torch.cuda.set_per_process_memory_fraction(3 * 2**30 / total)
    try:
        classifier.fit(X, y)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.isfinite(classifier.predict_proba(X[:8])).all()


def test_a_pickle_from_a_gpu_opens_on_a_cpu(images, make_gpu_classifier):
    X, y = images
    classifier = make_gpu_classifier(max_epochs=1, precision="float32").fit(X, y)
    expected = classifier.predict_proba(X)
    again = pickle.loads(pickle.dumps(classifier))
    assert next(again.network_.parameters()).device.type == "cpu"
    assert next(classifier.network_.parameters()).device.type == "cuda"
    again.set_params(device="cpu")
    np.testing.assert_allclose(again.predict_proba(X), expected, atol=1e-3)


def test_a_checkpoint_goes_on(images, make_gpu_classifier, tmp_path):
    params = {"max_epochs": 2, "precision": "bfloat16", "checkpoint": tmp_path}
    classifier = make_gpu_classifier(**params).fit(*images)
    again = make_gpu_classifier(**params).fit(*images)
    assert again.history_ == classifier.history_
