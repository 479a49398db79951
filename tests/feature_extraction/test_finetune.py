"""EVA02TokenEmbedder(finetune=...): fine-tuning inside the fold, and nowhere else."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.exceptions import DeviceMemoryError, InvalidImageError, InvalidInputWarning
from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder
from skcyto.feature_extraction._embedding._loaded_backbones import clear_backbones
from skcyto.neural_network import EVA02Classifier
from skcyto.neural_network._transformer import _fit as _eva02_fit
from skcyto.neural_network._transformer._loop import FineTuning
from skcyto.neural_network._transformer._network import TransformerClassifier

pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_finetune(**params):
    params = {
        "weights": None,
        "image_size": 32,
        "learning_rate": 2e-3,
        "batch_size": 8,
        "max_epochs": 2,
        "random_state": 0,
        **params,
    }
    return EVA02Classifier(params.pop("model_name", "test_vit"), **params)


def make_embedder(finetune=None, **params):
    return EVA02TokenEmbedder(finetune=finetune or make_finetune(), **params)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    X = rng.integers(100, 256, (32, 32, 32, 3), dtype=np.uint8)
    y = np.where(np.arange(32) % 2, "dark", "pale")
    X[1::2, :16] //= 3
    return X, y


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
def test_features_are_those_of_the_fine_tuned_weights(images, tmp_path, name):
    """The same as when the weights are written to a file and embedded with from there."""
    X, y = images
    size = 28 if "eva" in name else 32
    finetune = make_finetune(model_name=name, image_size=size, max_epochs=1)
    embedder = make_embedder(finetune, tokens=["class", "image", "all"])
    features = embedder.fit_transform(X, y)
    assert features.shape == (32, 3 * embedder.embedding_dim_)
    assert embedder.image_size_ == size
    embedder.finetune_.save_weights(tmp_path / "tuned.safetensors")
    from_file = EVA02TokenEmbedder(
        name,
        ["class", "image", "all"],
        weights=tmp_path / "tuned.safetensors",
        image_size=size,
    )
    np.testing.assert_allclose(from_file.fit_transform(X), features, atol=1e-5)
    frozen = EVA02TokenEmbedder(
        name, ["class", "image", "all"], weights=None, image_size=size, random_state=0
    )
    assert np.abs(frozen.fit_transform(X) - features).max() > 0.01


def test_fit_leaves_finetune_alone_and_keeps_a_fitted_clone(images):
    X, y = images
    finetune = make_finetune()
    before = pickle.dumps(finetune.get_params())
    embedder = make_embedder(finetune).fit(X, y)
    assert not hasattr(finetune, "classes_")
    assert pickle.dumps(finetune.get_params()) == before
    assert embedder.finetune_.score(X, y) > 0.9
    # Embedding changes nothing in the classifier either, and a clone knows nothing.
    expected = embedder.finetune_.predict_proba(X)
    embedder.transform(X)
    np.testing.assert_array_equal(embedder.finetune_.predict_proba(X), expected)
    assert not hasattr(clone(embedder), "finetune_")


def test_training_goes_on_after_embedding_in_a_second_fit(images):
    """The network that embeds is a copy: its norm is taken out, its weights need no gradient."""
    X, y = images
    embedder = make_embedder().fit(X, y)
    first = embedder.transform(X)
    assert all(p.requires_grad for p in embedder.finetune_.network_.parameters())
    np.testing.assert_array_equal(embedder.fit(X, y).transform(X), first)
    embedder.set_params(finetune=None, model_name="test_vit", weights=None, image_size=32)
    assert not hasattr(embedder.fit(X), "finetune_")


def test_a_pickle_holds_the_fine_tuned_weights(images):
    X, y = images
    embedder = make_embedder().fit(X, y)
    features = embedder.transform(X)
    data = pickle.dumps(embedder)
    clear_backbones()
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.transform(X), features)
    # Once, not for the embedder and the classifier each.
    n_bytes = sum(p.nbytes for p in embedder.finetune_.network_.parameters())
    assert n_bytes < len(data) < 1.5 * n_bytes


def test_the_cache_keeps_apart_what_different_weights_made(images, tmp_path):
    X, y = images
    cache = EmbeddingCache(tmp_path)
    plain = [
        make_embedder().fit(X[rows], y[rows]).transform(X) for rows in (slice(24), slice(8, 32))
    ]
    cached = [
        make_embedder(cache=cache).fit(X[rows], y[rows]).transform(X)
        for rows in (slice(24), slice(8, 32))
    ]
    assert np.abs(plain[0] - plain[1]).max() > 0.01
    for result, expected in zip(cached, plain, strict=True):
        np.testing.assert_array_equal(result, expected)
    assert cache.info().entries == 64
    again = make_embedder(cache=cache).fit(X[:24], y[:24])
    np.testing.assert_array_equal(again.transform(X), plain[0])
    assert again.n_forward_images_ == 0
    assert cache.info().entries == 64


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model_name": "test_vit2"}, "model_name='test_vit2', but finetune has.*'test_vit'"),
        ({"weights": "w.safetensors"}, "weights='w.safetensors', but finetune has"),
        ({"image_size": 64}, "image_size=64, but finetune has image_size=32"),
        ({"tokens": "patches"}, "tokens"),
        ({"device": "cuda:99"}, "device"),
    ],
)
def test_contradictions_are_an_error_before_training(images, monkeypatch, params, message):
    monkeypatch.setattr(FineTuning, "run", lambda *args, **kwargs: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        make_embedder(**params).fit(*images)


def test_the_same_parameters_twice_are_no_contradiction(images):
    embedder = make_embedder(make_finetune(max_epochs=1), image_size=32)
    assert embedder.set_params(model_name="test_vit").fit(*images).embedding_dim_ == 64


def test_labels_are_needed_for_fine_tuning_alone(images):
    X, _ = images
    embedder = make_embedder()
    assert embedder.__sklearn_tags__().target_tags.required
    with pytest.raises(ValueError, match="requires y"):
        embedder.fit(X)
    frozen = EVA02TokenEmbedder("test_vit", weights=None, image_size=32)
    assert not frozen.__sklearn_tags__().target_tags.required
    with pytest.raises(ValueError, match="finetune"):
        EVA02TokenEmbedder(finetune="yes").fit(X)


def test_without_finetune_fit_reads_no_image():
    EVA02TokenEmbedder("test_vit", weights=None, image_size=32).fit(["gone.png"], ["a"])


def test_bad_images_and_short_memory_are_named(images, tmp_path, monkeypatch):
    X, y = images
    paths = [str(tmp_path / f"{i}.png") for i in range(32)]
    for path, pixels in zip(paths, X, strict=True):
        Image.fromarray(pixels).save(path)
    paths[5] = "gone.png"
    with pytest.raises(InvalidImageError, match=r"gone.png \(row 5\)"):
        make_embedder().fit(paths, y)

    def forward(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TransformerClassifier, "forward", forward)
    with pytest.raises(DeviceMemoryError, match="to train on one image"):
        make_embedder().fit(X, y)


def spoil(folder, X):
    """Write images as files, of which two cannot be read and one is not there."""
    paths = [str(folder / f"{i}.png") for i in range(len(X))]
    for path, pixels in zip(paths, X, strict=True):
        Image.fromarray(pixels).save(path)
    for row, content in ((3, b"no image"), (20, b"")):
        with open(paths[row], "wb") as file:
            file.write(content)
    paths[8] = "gone.png"
    return paths, [3, 8, 20]


@pytest.mark.parametrize("form", [list, np.array, lambda p: pd.DataFrame({"path": p}), pd.Series])
def test_bad_images_are_left_out_of_fine_tuning_where_they_may(images, tmp_path, form):
    X, y = images
    paths, bad = spoil(tmp_path, X)
    good = np.setdiff1d(np.arange(32), bad)
    groups = np.arange(32) // 4
    finetune = make_finetune(validation_fraction=0.25, max_epochs=1)
    embedder = make_embedder(finetune, on_error="nan")
    with pytest.warns(InvalidInputWarning) as caught:
        embedder.fit(form(paths), y.tolist(), groups=groups)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert caught[0].filename == __file__
    assert message.startswith("3 of 32 images")
    assert "left out of the fine-tuning" in message
    for line in (r"3.png (row 3): not an image", "gone.png (row 8): no such", "20.png (row 20): "):
        assert line in message
    with pytest.warns(InvalidInputWarning, match="rows are NaN"):
        features = embedder.transform(form(paths))
    assert np.flatnonzero(np.isnan(features).any(axis=1)).tolist() == bad
    # As if they had never been there.
    expected = make_embedder(finetune).fit(X[good], y[good], groups=groups[good])
    np.testing.assert_allclose(features[good], expected.transform(X[good]), atol=1e-5)


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
def test_bad_images_that_nothing_can_be_made_of(images, tmp_path, monkeypatch):
    X, y = images
    alone = make_finetune(validation_fraction=None)
    with pytest.raises(InvalidImageError, match="2 of 2 images") as caught:
        make_embedder(alone, on_error="nan").fit(["gone.png", "lost.png"], ["a", "b"])
    assert pickle.loads(pickle.dumps(caught.value)).bad == dict.fromkeys((0, 1), "no such file")
    paths, _ = spoil(tmp_path, X)
    with (
        pytest.warns(InvalidInputWarning, match="left out of the fine-tuning"),
        pytest.raises(ValueError, match="have 1 class"),
    ):
        make_embedder(alone, on_error="nan").fit(paths[2:5], ["a", "b", "a"])
    # One that goes bad later: the training is not begun again behind the user's back.
    monkeypatch.setattr(_eva02_fit, "check_images", lambda inputs, rows, **kwargs: [])
    with pytest.raises(InvalidImageError, match="row 3"):
        make_embedder(alone, on_error="nan").fit(paths, y)


def test_groups_reach_fine_tuning_through_a_pipeline(images, monkeypatch):
    plans = []
    plan = _eva02_fit.EpochPlan
    monkeypatch.setattr(
        _eva02_fit, "EpochPlan", lambda **kwargs: plans.append(plan(**kwargs)) or plans[-1]
    )
    X, y = images
    groups = np.arange(32) // 4
    finetune = make_finetune(max_epochs=1, validation_fraction=0.25)
    with config_context(enable_metadata_routing=True):
        embedder = make_embedder(finetune).set_fit_request(groups=True)
        make_pipeline(embedder, LogisticRegression()).fit(X, y, groups=groups)
    train, valid = plans[0].train, plans[0].valid
    assert len(valid)
    assert not set(groups[train]) & set(groups[valid])


def test_sample_weight_reaches_fine_tuning(images):
    """By hand, by fit_transform and through a pipeline: the network is the one that the classifier
    trains with these weights."""
    X, y = images
    weight = np.where(y == "dark", 3.0, 1.0)
    weight[[0, 5]] = 0
    finetune = make_finetune(max_epochs=1, validation_fraction=None)
    expected = clone(finetune).fit(X, y, sample_weight=weight)
    assert expected.class_counts_.tolist() == [45, 15]
    features = make_embedder(finetune).fit(X, y, sample_weight=weight).transform(X)
    plain = make_embedder(finetune).fit_transform(X, y)
    assert np.abs(features - plain).max() > 1e-3
    by_hand = make_embedder(finetune).fit_transform(X, y, sample_weight=weight)
    np.testing.assert_array_equal(by_hand, features)
    with config_context(enable_metadata_routing=True):
        embedder = make_embedder(finetune).set_fit_request(sample_weight=True)
        last = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=False)
        pipeline = make_pipeline(embedder, last).fit(X, y, sample_weight=weight)
        unasked = make_embedder(finetune).set_fit_request(sample_weight=False)
        last = clone(last).set_fit_request(sample_weight=True)
        other = make_pipeline(unasked, last).fit(X, y, sample_weight=weight)
    assert pipeline[0].finetune_.class_counts_.tolist() == [45, 15]
    np.testing.assert_array_equal(pipeline[0].finetune_.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(pipeline[0].transform(X), features)
    np.testing.assert_array_equal(other[0].transform(X), plain)


@pytest.mark.parametrize("weight", [np.ones(32), [2.0] * 32, 2.0, pd.Series(np.arange(1.0, 33))])
def test_bad_images_take_their_weights_with_them(images, tmp_path, weight):
    X, y = images
    paths, bad = spoil(tmp_path, X)
    embedder = make_embedder(make_finetune(validation_fraction=None, max_epochs=1), on_error="nan")
    with pytest.warns(InvalidInputWarning, match="left out of the fine-tuning"):
        embedder.fit(paths, y, sample_weight=weight)
    kept = np.delete(np.broadcast_to(weight, 32), bad)
    assert embedder.finetune_.class_counts_.sum() == pytest.approx(kept.sum())


def test_bad_images_of_weight_zero_are_not_looked_at(images, tmp_path):
    X, y = images
    paths, bad = spoil(tmp_path, X)
    weight = np.ones(32)
    weight[bad] = 0
    make_embedder(make_finetune(max_epochs=1)).fit(paths, y, sample_weight=weight)


def test_sample_weight_changes_nothing_without_fine_tuning(images):
    X, y = images
    frozen = EVA02TokenEmbedder("test_vit", weights=None, image_size=32, random_state=0)
    features = frozen.fit_transform(X)
    np.testing.assert_array_equal(frozen.fit_transform(X, y, sample_weight=np.arange(32)), features)


def test_parameters_of_fine_tuning_are_searched(images):
    pipeline = make_pipeline(make_embedder(make_finetune(max_epochs=1)), LogisticRegression())
    grid = {"eva02tokenembedder__finetune__learning_rate": [1e-12, 3e-3]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(*images)
    assert search.best_estimator_[0].finetune_.learning_rate in (1e-12, 3e-3)


@pytest.fixture(scope="module")
def noise():
    """Images that can be told apart and nothing more, with labels drawn by lot."""
    rng = np.random.default_rng(5)
    X = rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    return X, rng.permutation(np.arange(60) % 2)


def memorising_pipeline():
    finetune = make_finetune(
        max_epochs=25, validation_fraction=None, restore_best_weights=False, augment=None
    )
    return make_pipeline(make_embedder(finetune), StandardScaler(), LogisticRegression())


def test_shuffled_labels_score_at_chance(noise):
    """Nothing of the scored fold reaches fine-tuning.

    The network learns the labels of its fold by heart: images that it saw would be scored right, as
    the next test shows.
    """
    X, y = noise
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    predicted = cross_val_predict(memorising_pipeline(), X, y, cv=folds)
    # 60 coins: within 2.5 standard errors of 1/2.
    assert abs(balanced_accuracy_score(y, predicted) - 0.5) < 2.5 * 0.5 / np.sqrt(60)


def test_a_leak_would_be_seen(noise):
    """The test above can fail: fine-tuned on all images, shuffled labels score far above chance."""
    X, y = noise
    pipeline = memorising_pipeline()
    features = pipeline[0].fit_transform(X, y)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    predicted = cross_val_predict(pipeline[1:], features, y, cv=folds)
    assert balanced_accuracy_score(y, predicted) > 0.7
