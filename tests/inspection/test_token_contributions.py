"""Token maps against what the tokens themselves say."""

import copy
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import make_cell_images
from skcyto.exceptions import InvalidImageError, RandomWeightsWarning
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.inspection import TokenMapDisplay
from skcyto.inspection._patches._of_embedder import contribute_by_token, make_map
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.neural_network import EVA02Classifier
from skcyto.utils._backbones._source import describe_backbone
from skcyto.utils._backbones._transforms import normalize_pixels


@pytest.fixture(scope="module")
def cells():
    return make_cell_images(24, image_size=56, random_state=0)


def fit(cells, *steps, **params):
    embedder = EVA02TokenEmbedder(
        "eva02_tiny_patch14_224",
        weights=None,
        image_size=56,
        random_state=0,
        device="cpu",
        **{"tokens": "image", **params},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        return make_pipeline(embedder, *steps).fit(cells.images, cells.target)


def prepare(images):
    """Resize and crop as timm does for the model."""
    from timm.data import create_transform

    config = describe_backbone("eva02_tiny_patch14_224", 56).data_config
    transform = create_transform(**config, normalize=False)
    return [transform(Image.fromarray(image)).permute(1, 2, 0).numpy() for image in images]


def patch_tokens(embedder, images):
    import torch

    from skcyto.feature_extraction._embedding._loaded_backbones import get_backbone

    backbone = get_backbone(embedder._source, embedder._weights_identity, torch.device("cpu"))
    pixels = torch.from_numpy(np.stack(prepare(images))).permute(0, 3, 1, 2)
    class_token, tokens = backbone.forward_tokens(pixels, torch.float32)
    return class_token.numpy(), tokens.numpy()


@pytest.mark.parametrize("tokens", ["image", "all"])
def test_contribution_is_the_tokens_own_term(cells, tokens):
    pipeline = fit(cells, LogisticRegression(max_iter=500), tokens=tokens, final_norm=False)
    result = contribute_by_token(pipeline, cells.images[:3], feature=5, label=None)
    class_token, patches = patch_tokens(pipeline[0], cells.images[:3])
    n_pooled = 16 if tokens == "image" else 17
    terms = (patches[:, :, 5] - patches[:, :, 5].mean(axis=1, keepdims=True)) / n_pooled
    # Replacing one of the patches leaves a mean over as many tokens: the term of that patch.
    np.testing.assert_allclose(result.maps.reshape(3, 16), terms, atol=1e-6)
    np.testing.assert_allclose(result.maps.sum(axis=(1, 2)), 0, atol=1e-6)
    features = pipeline[0].transform(cells.images[:3])
    np.testing.assert_allclose(result.values, features[:, 5], atol=1e-6)
    assert result.targets == [f"{tokens}_5"] * 3
    pooled = patches.sum(axis=1) + (0 if tokens == "image" else class_token)
    np.testing.assert_allclose(features, pooled / n_pooled, atol=1e-5)


def test_linear_class_map_is_the_weighted_sum_of_feature_maps(cells):
    pipeline = fit(cells, StandardScaler(), RidgeClassifier(), final_norm=False)
    label = pipeline.classes_[2]
    result = contribute_by_token(pipeline, cells.images[:2], feature=None, label=label)
    _, patches = patch_tokens(pipeline[0], cells.images[:2])
    terms = (patches - patches.mean(axis=1, keepdims=True)) / 16 / pipeline[1].scale_
    expected = terms @ pipeline[-1].coef_[2]
    np.testing.assert_allclose(result.maps.reshape(2, 16), expected, atol=2e-5)
    assert result.targets == [str(label)] * 2


def test_one_margin_of_two_classes_is_the_second_ones(cells):
    two = copy.copy(cells)
    two.target = np.where(cells.target == "healthy", "healthy", "other")
    pipeline = fit(two, StandardScaler(), RidgeClassifier(), final_norm=False)
    first, second = (
        contribute_by_token(pipeline, cells.images[:2], feature=None, label=label)
        for label in ("healthy", "other")
    )
    margin = pipeline.decision_function(cells.images[:2])
    np.testing.assert_allclose(second.values, margin, atol=1e-5)
    np.testing.assert_allclose(first.values, -margin, atol=1e-5)
    np.testing.assert_allclose(first.maps, -second.maps, atol=1e-5)


def test_patches_that_form_no_square_have_no_map():
    with pytest.raises(ValueError, match="3 patch tokens form no square"):
        make_map(np.zeros(4))


def test_norm_selection_and_probabilities_are_followed(cells):
    pipeline = fit(
        cells,
        StandardScaler(),
        SelectKBest(k=20),
        PCA(4, random_state=0),
        LogisticRegression(max_iter=500),
    )
    result = contribute_by_token(pipeline, cells.images[:4], feature=None, label=None)
    predicted = pipeline.predict(cells.images[:4])
    assert result.targets == predicted.tolist()
    probability = pipeline.predict_proba(cells.images[:4]).max(axis=1)
    np.testing.assert_allclose(result.values, np.log(probability / (1 - probability)), rtol=1e-4)
    # To first order the patches' terms cancel: only the curvature of the norm is left.
    total = np.abs(result.maps.sum(axis=(1, 2)))
    assert (total < 0.1 * np.abs(result.maps).sum(axis=(1, 2))).all()
    assert contribute_by_token(pipeline, cells.images[:1], feature="pca2", label=None).targets == [
        "pca2"
    ]


def test_maps_find_the_one_odd_patch(cells):
    pipeline = fit(cells, LogisticRegression(max_iter=500))
    image = np.full((1, 56, 56, 3), 200, dtype=np.uint8)
    image[0, 14:28, 42:56] = np.random.default_rng(0).integers(0, 255, (14, 14, 3))
    for target in ({"feature": 3, "label": None}, {"feature": None, "label": None}):
        maps = contribute_by_token(pipeline, image, **target).maps
        assert np.unravel_index(np.abs(maps[0]).argmax(), (4, 4)) == (1, 3)


def test_frames_inside_the_pipeline(cells):
    pipeline = fit(cells, StandardScaler(), LogisticRegression(max_iter=500))
    framed = make_pipeline(
        pipeline[0].set_output(transform="pandas"),
        StandardScaler().set_output(transform="pandas"),
        LogisticRegression(max_iter=500),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        framed.fit(cells.images, cells.target)
    one = contribute_by_token(framed, cells.images[:2], feature=None, label="healthy")
    pipeline[0].set_output(transform="default")
    other = contribute_by_token(pipeline, cells.images[:2], feature=None, label="healthy")
    np.testing.assert_allclose(one.maps, other.maps, atol=1e-5)


def test_display_from_estimator(cells):
    pipeline = fit(cells, StandardScaler(), LogisticRegression(max_iter=500))
    display = TokenMapDisplay.from_estimator(pipeline, cells.images[:2], feature="image_7")
    assert np.shape(display.maps) == (2, 4, 4)
    np.testing.assert_array_equal(display.images, prepare(cells.images[:2]))
    assert display.map_artists_[1].axes.get_xlabel().startswith("image_7: ")


def test_tuned_decision_chooses_the_class(cells):
    inner = fit(cells, StandardScaler(), LogisticRegression(C=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        tuned = TunedLogitBiasClassifierCV(inner, cv=2).fit(cells.images, cells.target)
    tuned.best_bias_ = np.array([0.0, 9.0, 0.0])
    result = contribute_by_token(tuned, cells.images[:2], feature=None, label=None)
    assert result.targets == [str(tuned.classes_[1])] * 2
    assert result.targets == tuned.predict(cells.images[:2]).tolist()
    expected = contribute_by_token(
        tuned.estimator_, cells.images[:2], feature=None, label=tuned.classes_[1]
    )
    # The log-odds are those of predict_proba, which knows no biases.
    np.testing.assert_allclose(result.maps, expected.maps)
    np.testing.assert_allclose(result.values, expected.values)


def test_what_cannot_be_mapped(cells, tmp_path):
    pipeline = fit(cells, RandomForestClassifier(5, random_state=0), tokens="class")
    images = cells.images[:1]
    with pytest.raises(ValueError, match="pools no patch tokens"):
        TokenMapDisplay.from_estimator(pipeline, images)
    with pytest.raises(TypeError, match="first step is an EVA02TokenEmbedder"):
        TokenMapDisplay.from_estimator(LogisticRegression().fit([[0], [1]], [0, 1]), images)
    pipeline = fit(cells, LogisticRegression(max_iter=500))
    with pytest.raises(ValueError, match="healthy, rubbish, unhealthy"):
        TokenMapDisplay.from_estimator(pipeline, images, label="sick")
    with pytest.raises(ValueError, match="not both"):
        TokenMapDisplay.from_estimator(pipeline, images, label="healthy", feature=0)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InvalidImageError, match=r"broken\.png"):
        TokenMapDisplay.from_estimator(pipeline, [tmp_path / "broken.png"])


@pytest.fixture(scope="module")
def fine_tuned(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        return EVA02Classifier(
            "eva02_tiny_patch14_224",
            weights=None,
            image_size=56,
            augment=None,
            learning_rate=1e-3,
            batch_size=8,
            max_epochs=1,
            validation_fraction=None,
            device="cpu",
            random_state=0,
        ).fit(cells.images, cells.target)


def test_map_of_a_fine_tuned_classifier(cells, fine_tuned):
    images = cells.images[:3]
    display = TokenMapDisplay.from_estimator(fine_tuned, images)
    probability = fine_tuned.predict_proba(images)
    assert display.targets == fine_tuned.predict(images).tolist()
    best = probability.max(axis=1)
    np.testing.assert_allclose(display.values, np.log(best / (1 - best)), rtol=1e-4)
    # Each patch's token replaced by the mean of all, sent through the network's own head.
    network = fine_tuned.network_
    pixels = torch.from_numpy(np.stack(prepare(images))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        tokens = network.backbone.forward_features(
            normalize_pixels(pixels, network.mean, network.std)
        )
        for image in range(3):
            column = fine_tuned.classes_.tolist().index(display.targets[image])
            for patch in (0, 5, 15):
                changed = tokens[image : image + 1].clone()
                changed[0, 1 + patch] = tokens[image, 1:].mean(dim=0)
                scores = network.head(network.backbone.forward_head(changed, pre_logits=True))
                p = scores.double().softmax(dim=1)[0, column].item()
                np.testing.assert_allclose(
                    display.maps[image].ravel()[patch],
                    display.values[image] - np.log(p / (1 - p)),
                    atol=1e-5,
                )
    one = TokenMapDisplay.from_estimator(fine_tuned, images, label=cells.target[0])
    assert one.targets == [cells.target[0]] * 3


def test_what_a_fine_tuned_classifier_cannot_map(cells, fine_tuned, tmp_path):
    with pytest.raises(ValueError, match="has no features to map"):
        TokenMapDisplay.from_estimator(fine_tuned, cells.images[:1], feature=0)
    with pytest.raises(ValueError, match="label='sick' must be one of"):
        TokenMapDisplay.from_estimator(fine_tuned, cells.images[:1], label="sick")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InvalidImageError, match=r"broken\.png"):
        TokenMapDisplay.from_estimator(fine_tuned, [tmp_path / "broken.png"], label="healthy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        by_class_token = clone(fine_tuned).set_params(model_name="vit_tiny_patch16_224")
        by_class_token.set_params(image_size=32).fit(cells.images, cells.target)
    with pytest.raises(ValueError, match=r"does not stand on the mean.*finetune="):
        TokenMapDisplay.from_estimator(by_class_token, cells.images[:1])


def test_map_of_a_tuned_fine_tuned_classifier(cells, fine_tuned):
    tuned = TunedLogitBiasClassifierCV(fine_tuned, cv="prefit", refit=False)
    tuned.fit(cells.images, cells.target)
    tuned.best_bias_ = np.array([0.0, 99.0, 0.0])
    display = TokenMapDisplay.from_estimator(tuned, cells.images[:2])
    assert display.targets == tuned.predict(cells.images[:2]).tolist()
    expected = TokenMapDisplay.from_estimator(fine_tuned, cells.images[:2], label=tuned.classes_[1])
    np.testing.assert_array_equal(display.maps, expected.maps)


def test_linear_head_of_two_classes_gets_the_tokens_own_terms(cells, fine_tuned):
    two = clone(fine_tuned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        two.fit(cells.images, cells.target == "healthy")
    two.network_.backbone.fc_norm = torch.nn.Identity()
    display = TokenMapDisplay.from_estimator(two, cells.images[:3], label=True)
    network = two.network_
    pixels = torch.from_numpy(np.stack(prepare(cells.images[:3]))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        patches = network.backbone.forward_features(
            normalize_pixels(pixels, network.mean, network.std)
        )[:, 1:]
        weight = network.head.weight[1] - network.head.weight[0]
        terms = (patches - patches.mean(dim=1, keepdim=True)) @ weight / 16
    np.testing.assert_allclose(np.reshape(display.maps, (3, 16)), terms.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.sum(display.maps, axis=(1, 2)), 0, atol=1e-5)
    assert np.abs(display.maps).max() > 1e-3


def test_backbone_without_norm_after_the_pool(cells, fine_tuned):
    class_token = copy.deepcopy(fine_tuned)
    class_token.network_.backbone.global_pool = "token"
    with pytest.raises(ValueError, match="does not stand on the mean"):
        TokenMapDisplay.from_estimator(class_token, cells.images[:1])
    backbone = class_token.network_.backbone
    del backbone.fc_norm  # as in ConViT and MViT
    backbone.forward_head = lambda tokens, pre_logits: tokens[:, 0]
    with pytest.raises(ValueError, match="does not stand on the mean"):
        TokenMapDisplay.from_estimator(class_token, cells.images[:1], label="healthy")
