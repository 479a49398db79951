"""Low-rank adapters: what they compute, what is trained, and what pickles and checkpoints hold."""

import io
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skcyto
from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.neural_network import EVA02Classifier
from skcyto.neural_network._transformer._lora import add_adapters, merge_adapters, merged_state

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def weights(tmp_path):
    """A file of weights, as a user has one: from it the rest of a pickle comes."""
    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), path)
    return path


def fit(make_classifier, images, **params):
    params = {"lora_rank": 4, "learning_rate": 1e-2, "validation_fraction": None, **params}
    return make_classifier(**params).fit(*images)


def test_merged_and_unmerged_predictions_agree(images, make_classifier, weights, tmp_path):
    """Against a network of timm that knows no adapters, and the weights by hand."""
    X, _ = images
    classifier = fit(make_classifier, images, weights=weights, lora_alpha=8.0)
    classifier.save_weights(tmp_path / "merged.safetensors")
    layer = classifier.network_.backbone.blocks[0].attn.qkv
    adapter = layer.parametrizations.weight[0]
    assert adapter.up.abs().max() > 0
    original = load_file(weights)["blocks.0.attn.qkv.weight"]
    saved = load_file(tmp_path / "merged.safetensors")
    by_hand = original + 8 / 4 * adapter.up.detach() @ adapter.down.detach()
    torch.testing.assert_close(saved["blocks.0.attn.qkv.weight"], by_hand)
    torch.testing.assert_close(
        saved["blocks.0.mlp.fc1.weight"], load_file(weights)["blocks.0.mlp.fc1.weight"]
    )
    model = timm.create_model(
        "test_vit", num_classes=3, img_size=32, checkpoint_path=tmp_path / "merged.safetensors"
    ).eval()
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 32, 32)}
    transform = timm.data.create_transform(**config)
    with torch.inference_mode():
        merged = model(torch.stack([transform(Image.fromarray(a)) for a in X])).softmax(dim=1)
    np.testing.assert_allclose(classifier.predict_proba(X), merged.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva02_tiny_patch14_224", "test_vit"])
def test_adapters_reach_networks_that_hand_weights_on(name):
    """BEiT and EVA take the weight out of the layer; merged, each computes the same."""
    torch.manual_seed(0)
    size = 28 if "patch14" in name else 32
    model = timm.create_model(name, num_classes=0, img_size=size, depth=2).eval()
    pixels = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        plain = model(pixels)
    add_adapters(model, 2, None, "attention", 0, name)
    with torch.inference_mode():
        torch.testing.assert_close(model(pixels), plain)  # they begin at nothing
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    state = merged_state(model)
    with torch.inference_mode():
        adapted = model(pixels)
        assert (adapted - plain).abs().max() > 1e-3
    merge_adapters(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(pixels), adapted, atol=1e-5, rtol=1e-5)
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state[key], value, atol=0, rtol=0)


@pytest.mark.parametrize(("targets", "share"), [("qkv", 0.00087), ("attention", 0.0013)])
def test_how_much_of_a_giant_is_trained(targets, share):
    """Rank 4, ViT-g/14 of 1.1 billion weights, on torch's "meta" device; by arithmetic."""
    with torch.device("meta"):
        model = timm.create_model("vit_giant_patch14_reg4_dinov2", num_classes=0)
        add_adapters(model, 4, None, targets, 0, "vit_giant_patch14_reg4_dinov2")
    n_all = sum(p.numel() for p in model.parameters())
    n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    width, depth, rank = 1536, 40, 4
    expected = depth * rank * (width + 3 * width)
    if targets == "attention":
        expected += depth * rank * (width + width)
    assert n_trained == expected
    assert n_trained / n_all == pytest.approx(share, rel=0.03)


def test_adapters_and_head_are_trained_and_nothing_else(images, make_classifier, weights):
    classifier = fit(make_classifier, images, weights=weights, freeze=2, lora_targets=["fc1"])
    trained = [n for n, p in classifier.network_.named_parameters() if p.requires_grad]
    n_blocks = len(classifier.network_.backbone.blocks)
    expected = [
        f"backbone.blocks.{i}.mlp.fc1.parametrizations.weight.0.{part}"
        for i in range(2, n_blocks)
        for part in ("down", "up")
    ]
    assert trained == [*expected, "head.weight", "head.bias"]
    before = load_file(weights)
    state = classifier.network_.backbone.state_dict()
    for key, value in before.items():
        name = key.replace("fc1.weight", "fc1.parametrizations.weight.original")
        found = state.get(name, state.get(key))
        torch.testing.assert_close(found, value, atol=0, rtol=0)


def test_a_pickle_holds_the_adapters_alone(images, make_classifier, weights):
    X, _ = images
    classifier = fit(make_classifier, images, weights=weights)
    content = pickle.dumps(classifier)
    n_trained = sum(p.numel() for p in classifier.network_.parameters() if p.requires_grad)
    n_all = sum(p.numel() for p in classifier.network_.parameters())
    assert len(content) < 4 * n_trained + 20_000 < 4 * n_all / 3
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(again)).predict_proba(X), classifier.predict_proba(X)
    )
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights)
    with pytest.raises(PretrainedWeightsError, match="adapters, are not those that fit saw"):
        pickle.loads(content)


def test_random_weights_come_back_from_their_seed(images, make_classifier):
    X, _ = images
    classifier = fit(make_classifier, images, random_state=None)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_saved_models_are_whole(images, make_classifier, weights, tmp_path):
    X, _ = images
    classifier = fit(make_classifier, images, weights=weights, head_hidden_size=8)
    skcyto.save(classifier, tmp_path / "saved")
    weights.unlink()
    again = skcyto.load(tmp_path / "saved")
    np.testing.assert_allclose(again.predict_proba(X), classifier.predict_proba(X), atol=1e-7)
    copied = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(copied.predict_proba(X), again.predict_proba(X))


def test_checkpoints_hold_the_adapters_alone_and_go_on_to_the_bit(
    images, make_classifier, weights, tmp_path, monkeypatch
):
    X, _ = images
    params = {
        "weights": weights, "max_epochs": 3, "validation_fraction": 0.3, "ema_decay": 0.9,
        "warmup_epochs": 1, "mixup_alpha": 0.4, "cutmix_alpha": 0.5, "augment": "cells",
    }  # fmt: skip
    unbroken = fit(make_classifier, images, **params)
    from skcyto.neural_network._transformer._checkpoint import Checkpoint

    save, n_saved = Checkpoint.save, []

    def save_and_stop(self, state):
        save(self, state)
        buffer = io.BytesIO()
        torch.save(state["network"], buffer)
        n_saved.append(len(buffer.getvalue()))
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(make_classifier, images, **params, checkpoint=tmp_path / "run")
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = fit(make_classifier, images, **params, checkpoint=tmp_path / "run")
    assert [row["valid_loss"] for row in resumed.history_] == [
        row["valid_loss"] for row in unbroken.history_
    ]
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))
    n_all = sum(p.numel() for p in unbroken.network_.parameters())
    assert n_saved[0] < 4 * n_all / 3


def test_an_embedder_takes_the_merged_network(images, make_classifier, weights, tmp_path):
    X, y = images
    finetune = make_classifier(
        lora_rank=2, learning_rate=1e-2, validation_fraction=None, weights=weights
    )
    embedder = EVA02TokenEmbedder("test_vit", "class", finetune=finetune)
    with pytest.raises(ValueError, match="model_name"):
        clone(embedder).set_params(model_name="vit_tiny_patch16_224").fit(X, y)
    features = (
        clone(embedder)
        .set_params(model_name=finetune.model_name, weights=weights, image_size=32)
        .fit(X, y)
    )
    features.finetune_.save_weights(tmp_path / "merged.safetensors")
    own = EVA02TokenEmbedder("test_vit", "class", weights=tmp_path / "merged.safetensors")
    np.testing.assert_allclose(own.fit_transform(X), features.transform(X), atol=1e-5)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(features)).transform(X), features.transform(X)
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model_name": "test_resnet"}, "'test_resnet' has no linear layer .* no linear layers"),
        ({"model_name": "convnext_atto"}, "has no linear layer .*linear layers are|no linear"),
        ({"lora_targets": ["query"]}, r"lora_targets=\['query'\] names; .*fc1, fc2, proj, qkv"),
        ({"lora_targets": "query"}, "lora_targets"),
        ({"lora_targets": [1]}, "must hold names of layers"),
        ({"lora_rank": 65}, "lora_rank=65 is more than the 64"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"lora_alpha": 0.0}, "lora_alpha"),
    ],
)
def test_adapters_that_cannot_be(images, make_classifier, params, message):
    params = {"lora_rank": 2, **params}
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(*images)


def test_adapters_are_searched(images, make_classifier):
    grid = {
        "lora_rank": [0, 2],
        "lora_alpha": [None, 4.0],
        "lora_targets": ["qkv", "all"],
        "head_hidden_size": [None, 8],
    }
    classifier = make_classifier(max_epochs=1, validation_fraction=None)
    search = GridSearchCV(classifier, grid, cv=2, error_score="raise", refit=False).fit(*images)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 16


def test_a_whole_network_of_adapters_learns(images, make_classifier):
    X, y = images
    classifier = fit(
        make_classifier, images, max_epochs=15, lora_targets="all", head_hidden_size=16
    )
    assert classifier.score(X, y) > 0.8
    assert isinstance(classifier, EVA02Classifier)
    assert isinstance(classifier.network_.head, torch.nn.Sequential)
