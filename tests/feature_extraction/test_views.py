"""Views of an image, and how one that is not square is brought to the network's input."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder
from skcyto.neural_network import EVA02Classifier
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import describe_backbone
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._backbones._views import list_views

pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
# By numpy, on the images themselves, which are of the network's size.
SHOWN = {
    "flips": [lambda a: a, np.fliplr, np.flipud, lambda a: np.rot90(a, 2)],
    "dihedral": [
        *(lambda a, k=k: np.rot90(a, k) for k in range(4)),
        *(lambda a, k=k: np.rot90(np.fliplr(a), k) for k in range(4)),
    ],
}


def make_embedder(**params):
    params = {"weights": None, "image_size": 28, "random_state": 0, "crop_pct": 1.0, **params}
    return EVA02TokenEmbedder("eva02_tiny_patch14_224", model_kwargs={"depth": 2}, **params)


@pytest.mark.parametrize("views", SHOWN)
@pytest.mark.parametrize("tokens", ["all", "pooled"])
def test_features_are_means_over_the_views(views, tokens):
    plain = make_embedder(tokens=tokens).fit(IMAGES)
    expected = np.mean(
        [
            plain.transform([np.ascontiguousarray(change(image)) for image in IMAGES])
            for change in SHOWN[views]
        ],
        axis=0,
    )
    embedder = make_embedder(tokens=tokens, views=views).fit(IMAGES)
    np.testing.assert_allclose(embedder.transform(IMAGES), expected, atol=1e-5)
    assert embedder.n_forward_images_ == len(IMAGES) * len(SHOWN[views])
    assert np.abs(plain.transform(IMAGES) - expected).max() > 1e-3
    # Turned images give the same features: that is what the mean is for.
    if views == "dihedral":
        turned = [np.ascontiguousarray(np.rot90(image)) for image in IMAGES]
        np.testing.assert_allclose(embedder.transform(turned), expected, atol=1e-5)


def test_windows_are_the_same_for_each_image_and_call():
    views = list_views(6)
    assert views == list_views(6)
    assert list_views(9)[:6] == views
    assert views[0].name == ""
    assert len({view.name for view in views}) == 6
    image = Image.fromarray(IMAGES[0]).resize((200, 100))
    for view in views[1:]:
        width, height = view.cut(image).size
        assert 0.45 < width * height / 20000 <= 1
        assert width / height == pytest.approx(2, abs=0.05)
    plain = make_embedder().fit(IMAGES)
    expected = np.mean(
        [plain.transform([v.cut(Image.fromarray(a)) for a in IMAGES]) for v in views], axis=0
    )
    features = make_embedder(views=6).fit(IMAGES).transform(IMAGES)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_cache_keeps_each_view_and_each_is_forwarded_once(tmp_path):
    cache = EmbeddingCache(tmp_path)
    plain = make_embedder(cache=cache).fit(IMAGES)
    features = plain.transform(IMAGES)
    flips = make_embedder(cache=cache, views="flips").fit(IMAGES)
    first = flips.transform(np.concatenate([IMAGES, IMAGES[:1]]))
    assert flips.n_forward_images_ == 3 * 4  # the image as it is was there
    assert cache.info().entries == 4 * 4
    turned = make_embedder(cache=cache, views="dihedral").fit(IMAGES)
    turned.transform(IMAGES)
    assert turned.n_forward_images_ == 4 * 4
    again = flips.transform(np.concatenate([IMAGES, IMAGES[:1]]))
    assert flips.n_forward_images_ == 0
    np.testing.assert_allclose(again, first, atol=1e-6)
    np.testing.assert_array_equal(again[4], again[0])
    np.testing.assert_array_equal(plain.transform(IMAGES), features)
    assert plain.n_forward_images_ == 0


def test_bad_images_are_rows_of_nan_with_views(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    Image.fromarray(IMAGES[0]).save(tmp_path / "good.png")
    paths = [str(tmp_path / name) for name in ("bad.png", "good.png", "bad.png")]
    embedder = make_embedder(views="dihedral", on_error="nan")
    with pytest.warns(match="2 of 3 images could not be read"):
        features = embedder.fit_transform(paths)
    assert np.isnan(features).any(axis=1).tolist() == [True, False, True]


def test_log_probabilities_are_averaged_over_the_views():
    y = np.array(["a", "b", "a", "b"])
    classifier = EVA02Classifier(
        "test_vit", weights=None, image_size=32, max_epochs=1, validation_fraction=None,
        crop_pct=1.0, random_state=0,
    )  # fmt: skip
    images = [np.asarray(Image.fromarray(image).resize((32, 32))) for image in IMAGES]
    classifier.fit(images, y)
    logs = [
        np.log(classifier.predict_proba([np.ascontiguousarray(change(image)) for image in images]))
        for change in SHOWN["dihedral"]
    ]
    expected = np.exp(np.mean(logs, axis=0))
    expected /= expected.sum(axis=1, keepdims=True)
    classifier.set_params(views="dihedral")
    np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)
    assert (classifier.predict(images) == classifier.classes_[expected.argmax(axis=1)]).all()
    classifier.set_params(batch_size=3, n_jobs=1)
    np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)


def test_views_and_crops_are_searched():
    images, y = np.concatenate([IMAGES, IMAGES // 4]), np.repeat(["pale", "dark"], 4)
    pipeline = make_pipeline(make_embedder(tokens="image"), LogisticRegression())
    grid = {
        "eva02tokenembedder__views": [None, "flips", 3],
        "eva02tokenembedder__crop_mode": ["squash", "pad", "center"],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(images, y)
    assert len(search.cv_results_["params"]) == 9
    classifier = EVA02Classifier(
        "test_vit", weights=None, max_epochs=1, validation_fraction=None, image_size=32
    )
    grid = {"views": [None, "flips"], "crop_mode": [None, "pad"]}
    search = GridSearchCV(classifier, grid, cv=2, error_score="raise").fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def prepare(image, **options):
    info = describe_backbone("vit_tiny_patch16_224", 32, BackboneOptions.from_dict(options))
    return make_transform(info)(Image.fromarray(image)).permute(1, 2, 0).numpy()


def test_padding_keeps_the_shape_and_fills_the_rest():
    image = np.full((16, 64, 3), (200, 100, 50), dtype=np.uint8)
    for fill in ((255, 255, 255), (0, 10, 20)):
        padded = prepare(image, crop_mode="pad", crop_pct=1.0, fill=fill)
        assert padded.shape == (32, 32, 3)
        assert (padded[:12] == fill).all()
        assert (padded[20:] == fill).all()
        assert (padded[12:20] == (200, 100, 50)).all()
    squashed = prepare(image, crop_mode="squash", crop_pct=1.0)
    assert (squashed == (200, 100, 50)).all()
    halves = np.concatenate([image, image // 2], axis=1)[:, 40:-40]
    assert len(np.unique(prepare(halves, crop_mode="center", crop_pct=1.0)[:, [0, -1], 0])) == 2


def test_whole_images_are_meant_unless_a_crop_is_given():
    image = np.zeros((40, 20, 3), dtype=np.uint8)
    image[0] = 255
    embedder = make_embedder(crop_pct=None, crop_mode="pad", fill=0).fit([image])
    assert embedder._source.describe().data_config["crop_pct"] == 1.0
    assert embedder._source.describe().data_config["fill"] == (0, 0, 0)
    embedder = clone(embedder).set_params(crop_pct=0.8).fit([image])
    assert embedder._source.describe().data_config["crop_pct"] == 0.8
    assert make_embedder(crop_pct=None).fit([image])._source.describe().data_config["crop_pct"] < 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"crop_mode": "border"}, "crop_mode"),
        ({"fill": 255}, "for crop_mode='pad' alone"),
        ({"crop_mode": "pad", "fill": 300}, "from 0 to 255"),
        ({"crop_mode": "pad", "fill": [1, 2]}, "three for red, green and blue"),
        ({"views": "turns"}, "views"),
        ({"views": 0}, "views"),
    ],
)
@pytest.mark.parametrize("cls", [EVA02TokenEmbedder, EVA02Classifier])
def test_bad_parameters_are_named(cls, params, message):
    estimator = cls("test_vit", weights=None, image_size=32).set_params(**params)
    with pytest.raises(ValueError, match=message):
        estimator.fit(IMAGES, ["a", "b", "a", "b"])


def test_padded_weights_come_back_from_their_folder(tmp_path):
    images = [image[:, :14] for image in IMAGES]
    classifier = EVA02Classifier(
        "test_vit", weights=None, image_size=32, max_epochs=1, validation_fraction=None,
        crop_mode="pad", fill=[250, 240, 250], random_state=0,
    ).fit(images, ["a", "b", "a", "b"])  # fmt: skip
    classifier.save_weights(tmp_path / "tuned")
    embedder = EVA02TokenEmbedder(str(tmp_path / "tuned"), "pooled").fit(images)
    assert embedder._source.describe().data_config["fill"] == (250, 240, 250)
    network = classifier.network_
    with torch.inference_mode():
        logits = network.head(torch.from_numpy(embedder.transform(images)))
    expected = classifier.predict_proba(images)
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), expected, atol=1e-5)
