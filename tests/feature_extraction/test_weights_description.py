"""What a weights file says of itself, and what lies beside it, is heeded."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import skcyto
from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.neural_network import EVA02Classifier
from skcyto.utils._backbones._source import BackboneSource

NAME = "vit_tiny_patch16_224"
MEAN, STD = (0.7, 0.55, 0.65), (0.2, 0.25, 0.15)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (4, 40, 32, 3), dtype=np.uint8)


def make_model(**kwargs):
    torch.manual_seed(0)
    model = timm.create_model(NAME, num_classes=0, img_size=32, **kwargs).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim <= 1:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def publish(folder, model, architecture=NAME, model_args=(), **config):
    folder.mkdir()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    described = {"input_size": [3, 32, 32], "mean": MEAN, "std": STD, "crop_pct": 1.0}
    described |= {"interpolation": "bilinear", "crop_mode": "center", **config}
    content = {"architecture": architecture, "pretrained_cfg": described}
    content["model_args"] = {"img_size": 32, **dict(model_args)}
    (folder / "config.json").write_text(json.dumps(content))
    return folder / "model.safetensors"


def class_tokens(model, mean=MEAN, std=STD, crop_pct=1.0, interpolation="bilinear"):
    """Of timm's own transform and model."""
    transform = timm.data.create_transform(
        (3, 32, 32), mean=mean, std=std, crop_pct=crop_pct, interpolation=interpolation
    )
    pixels = torch.stack([transform(Image.fromarray(image)) for image in IMAGES])
    with torch.inference_mode():
        return model(pixels).numpy()


def embed(path, name=NAME, **params):
    return EVA02TokenEmbedder(name, "class", weights=path, **params).fit(IMAGES)


def test_config_beside_the_file_gives_size_and_preprocessing(tmp_path):
    model = make_model()
    embedder = embed(publish(tmp_path / "hub", model))
    assert embedder.image_size_ == 32
    features = embedder.transform(IMAGES)
    np.testing.assert_allclose(features, class_tokens(model), rtol=1e-3, atol=2e-3)
    # Words of one's own go first.
    own = embed(tmp_path / "hub" / "model.safetensors", mean=(0.5,) * 3, crop_pct=0.8)
    expected = class_tokens(model, mean=(0.5,) * 3, crop_pct=0.8)
    np.testing.assert_allclose(own.transform(IMAGES), expected, rtol=1e-3, atol=2e-3)
    assert np.abs(expected - features).max() > 0.05


def test_parameters_alone(tmp_path):
    model = make_model()
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    embedder = embed(
        path, image_size=32, mean=MEAN, std=list(STD), crop_pct=1.0, interpolation="bilinear"
    )
    np.testing.assert_allclose(
        embedder.transform(IMAGES), class_tokens(model), rtol=1e-3, atol=2e-3
    )


def test_arguments_of_the_architecture(tmp_path):
    """Layer scale, which the plain architecture of this name has no place for."""
    model = make_model(init_values=0.1)
    path = publish(tmp_path / "hub", model, model_args={"init_values": 0.1})
    embedder = embed(path)
    expected = class_tokens(model)
    np.testing.assert_allclose(embedder.transform(IMAGES), expected, rtol=1e-3, atol=2e-3)
    # The saved model needs neither file nor config.json, and a clone is fitted from it alone.
    skcyto.save(embedder, tmp_path / "saved")
    (tmp_path / "hub").rename(tmp_path / "gone")
    again = skcyto.load(tmp_path / "saved")
    np.testing.assert_allclose(again.transform(IMAGES), expected, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(again.fit(IMAGES).transform(IMAGES), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "deit_tiny_patch16_224"}, "not of model_name='vit_tiny_patch16_224'"),
        ({"mean": [0.5, 2, 0.5]}, "mean=.*three numbers"),
        ({"crop_pct": 3}, "crop_pct=3 must be in"),
        ({"interpolation": "guess"}, "interpolation='guess'"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "checkpoint_path"),
    ],
)
def test_descriptions_that_cannot_be_used(tmp_path, config, message):
    path = publish(tmp_path / "hub", make_model(), **config)
    with pytest.raises(PretrainedWeightsError, match=message):
        embed(path)


def test_config_of_another_library_is_left_alone(tmp_path):
    save_file(make_model().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTModel"]}))
    assert embed(tmp_path / "model.safetensors").image_size_ == 224
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PretrainedWeightsError, match="no JSON"):
        embed(tmp_path / "model.safetensors")


def test_own_weights_say_what_they_are(tmp_path):
    path = tmp_path / "own.safetensors"
    classifier = EVA02Classifier(
        NAME,
        weights=None,
        image_size=32,
        mean=MEAN,
        std=STD,
        crop_pct=0.8,
        max_epochs=1,
        validation_fraction=None,
        random_state=0,
    ).fit(IMAGES, [0, 0, 1, 1])
    classifier.save_weights(path)
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["preprocessing"])["mean"] == list(MEAN)
    embedder = embed(path)
    assert embedder.image_size_ == 32
    content = path.read_bytes()
    for place in (len(content) // 2, content.index(b"preprocessing") + 20):
        damaged = tmp_path / "damaged.safetensors"
        changed = bytes([content[place] ^ 1])
        damaged.write_bytes(content[:place] + changed + content[place + 1 :])
        with pytest.raises(PretrainedWeightsError, match=r"damaged\.safetensors"):
            embed(damaged).transform(IMAGES)
    model = classifier.network_.backbone
    expected = class_tokens(model, crop_pct=0.8, interpolation="bicubic")
    np.testing.assert_allclose(embedder.transform(IMAGES), expected, rtol=1e-3, atol=2e-3)
    with pytest.raises(PretrainedWeightsError, match="those of 'vit_tiny_patch16_224', not of"):
        embed(path, "deit_tiny_patch16_224")
    again = EVA02Classifier(NAME, weights=path, max_epochs=1, validation_fraction=None)
    again.fit(IMAGES, [0, 0, 1, 1])
    assert again.image_size_ == 32
    np.testing.assert_allclose(again.network_.mean.flatten(), MEAN, rtol=1e-6)
    skcyto.save(again, tmp_path / "saved")
    path.unlink()
    loaded = skcyto.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), again.predict_proba(IMAGES), rtol=1e-5)


def test_patch_size_must_agree(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("vit_small_patch32_224", num_classes=0).state_dict(), path)
    with pytest.raises(PretrainedWeightsError, match="patches of 32 x 32 pixels, the model has 16"):
        BackboneSource("vit_small_patch16_224", None, str(path)).create()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {f"backbone.{k}": v for k, v in w.items()},
        lambda w: {f"module.{k}": v for k, v in w.items()},
        lambda w: {f"net.{k}": v for k, v in w.items()} | {"head.weight": torch.ones(2, 2)},
        lambda w: {f"module.backbone.{k}": v for k, v in w.items()},
        lambda w: {
            "teacher": {f"backbone.{k}": v for k, v in w.items()}
            | {"head.mlp.0.weight": torch.ones(2, 2)},
            "student": {f"backbone.{k}": v + 1 for k, v in w.items()},
        },
    ],
)
def test_prefixes_are_stripped(tmp_path, wrap):
    model = make_model()
    torch.save(wrap(model.state_dict()), tmp_path / "weights.pth")
    state = BackboneSource(NAME, 32, str(tmp_path / "weights.pth")).create().state_dict()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state[key], value)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda w: {f"{p}.{k}": v for k, v in w.items() for p in ("net", "model")}, "several"),
        (lambda w: {f"net.{k}": v for k, v in w.items()} | {"neck.x": torch.ones(1)}, "beside"),
        (lambda w: {f"vision_tower.{k}": v for k, v in w.items()}, "do not fit"),
    ],
)
def test_what_no_prefix_explains_is_said_in_a_line(tmp_path, wrap, message):
    torch.save(wrap(make_model().state_dict()), tmp_path / "weights.pth")
    with pytest.raises(PretrainedWeightsError, match=message) as caught:
        BackboneSource(NAME, 32, str(tmp_path / "weights.pth")).create()
    assert len(str(caught.value)) < 600


@pytest.mark.filterwarnings("ignore:weights=None")
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean="),
        ({"std": (0.0, 0.5, 0.5)}, "std="),
        ({"crop_pct": 0}, "crop_pct"),
        ({"interpolation": "cubic"}, "interpolation"),
    ],
)
def test_bad_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        EVA02TokenEmbedder(NAME, weights=None, **params).fit(IMAGES)
    with pytest.raises(ValueError, match=message):
        EVA02Classifier(NAME, weights=None, validation_fraction=None, **params).fit(
            IMAGES, [0, 0, 1, 1]
        )
