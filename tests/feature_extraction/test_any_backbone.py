"""Networks beyond timm's own names: folders, the hub, recipes, and networks without tokens."""

import json
import pickle

import numpy as np
import pytest
import timm
import timm.layers
import torch
from huggingface_hub.errors import GatedRepoError
from PIL import Image
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skcyto
from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction import EVA02TokenEmbedder, known_backbones
from skcyto.neural_network import EVA02Classifier
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import describe_backbone

pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")
RNG = np.random.default_rng(0)
SWIGLU = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 4}
# As the authors write it, for timm.create_model; what makes it small is taken off again below.
WRITTEN = {
    "uni": ("vit_large_patch16_224", {"init_values": 1e-5}, 32),
    "uni2-h": (
        "vit_giant_patch14_224",
        {
            "patch_size": 14, "init_values": 1e-5, "mlp_ratio": 2.66667 * 2, "reg_tokens": 8,
            "no_embed_class": True, **SWIGLU,
        },
        28,
    ),
    "gigapath": ("vit_giant_patch14_dinov2", {"patch_size": 16, "mlp_ratio": 5.33334}, 32),
    "virchow": ("vit_huge_patch14_224", {"init_values": 1e-5, "mlp_ratio": 5.3375, **SWIGLU}, 28),
    "virchow2": (
        "vit_huge_patch14_224",
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, **SWIGLU},
        28,
    ),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", {"init_values": 1e-5}, 28),
    "dinobloom-s": ("vit_small_patch14_dinov2", {}, 28),
    "dinov3": ("vit_large_patch16_dinov3", {}, 32),
}  # fmt: skip
# Millions of weights that authors or timm state.
MILLIONS = {
    "uni": 303, "uni2-h": 681, "gigapath": 1135, "virchow": 631, "virchow2": 631,
    "h-optimus-0": 1135, "phikon": 86, "dinobloom-s": 22, "dinobloom-b": 86,
}  # fmt: skip
POOLED = {
    "convnext_atto": ({"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}, 64),
    "maxvit_rmlp_pico_rw_256": ({"depths": [1, 1, 1, 1]}, 64),
    "swin_tiny_patch4_window7_224": ({"depths": [1, 1, 1, 1], "embed_dim": 24}, 56),
    "test_efficientnet": ({}, 64),
    "test_resnet": ({}, 64),
}


def make_model(name, image_size, **kwargs):
    """Build timm's own, with norms and layer scales that do something."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **kwargs).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim <= 1:
                weight.add_(torch.rand_like(weight) * 0.2)
    model.pretrained_cfg = {
        **model.pretrained_cfg, "input_size": (3, image_size, image_size), "crop_pct": 1.0,
        "mean": (0.7, 0.6, 0.7), "std": (0.2, 0.25, 0.3),
    }  # fmt: skip
    return model


def publish(folder, model, architecture, **model_args):
    """Lay a model out as the hub does, with names of layers nowhere, as the authors' files."""
    folder.mkdir()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    described = {k: v for k, v in model.pretrained_cfg.items() if k != "custom_load"}
    content = {"architecture": architecture, "pretrained_cfg": described, "model_args": model_args}
    (folder / "config.json").write_text(json.dumps(content))
    return str(folder)


def draw_images(size, n_images=3):
    return RNG.integers(0, 256, (n_images, size, size, 3), dtype=np.uint8)


def read_as_timm(model, images):
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    return torch.stack([transform(Image.fromarray(image)) for image in images])


@pytest.mark.parametrize("name", WRITTEN)
def test_recipes_give_timms_own_tokens(name, tmp_path):
    """Shrunk to two blocks; the recipe's arguments, against those that the authors write."""
    architecture, kwargs, size = WRITTEN[name]
    if not timm.is_model(architecture):
        pytest.skip(f"this timm has no {architecture}")
    recipe = known_backbones()[name]
    assert recipe.architecture == architecture
    model = make_model(architecture, size, img_size=size, **kwargs, **SMALL)
    folder = publish(tmp_path / "hub", model, architecture)
    images = draw_images(size)
    with torch.inference_mode():
        tokens = model.forward_features(read_as_timm(model, images))
    n_prefix = model.num_prefix_tokens
    assert n_prefix == 1 + kwargs.get(
        "reg_tokens", 4 if "reg4" in architecture or "dinov3" in name else 0
    )
    expected = {"class": tokens[:, 0].numpy(), "image": tokens[:, n_prefix:].mean(dim=1).numpy()}
    embedder = EVA02TokenEmbedder(
        folder,
        ["class", "image"],
        final_norm=recipe.final_norm,
        model_kwargs={**recipe.parameters.get("model_kwargs", {}), **SMALL},
        image_size=size,
    )
    features = embedder.fit_transform(images)
    np.testing.assert_allclose(features[:, :48], expected["class"], atol=1e-5)
    np.testing.assert_allclose(features[:, 48:], expected["image"], atol=1e-5)
    # timm's own pooled feature of the same network.
    with torch.inference_mode():
        pooled = model(read_as_timm(model, images)).numpy()
    embedder.set_params(tokens="pooled")
    np.testing.assert_allclose(embedder.fit_transform(images), pooled, atol=1e-5)


@pytest.mark.parametrize("name", known_backbones())
def test_recipes_describe_what_their_pages_say(name):
    recipe = known_backbones()[name]
    if not timm.is_model(recipe.architecture):
        pytest.skip(f"this timm has no {recipe.architecture}")
    args = recipe.parameters.get("model_kwargs", {})
    info = describe_backbone(
        recipe.architecture, None, BackboneOptions.from_dict({"model_args": args})
    )
    n_blocks = 1 if isinstance(recipe.tokens, str) else len(recipe.tokens)
    assert n_blocks * info.embedding_dim == recipe.embedding_dim
    assert info.has_class_token
    if name in MILLIONS:
        assert info.n_parameters / 1e6 == pytest.approx(MILLIONS[name], rel=0.02)
    assert recipe.licence
    assert recipe.page.startswith("https://huggingface.co/")
    EVA02TokenEmbedder(**recipe.parameters, tokens=recipe.tokens, final_norm=recipe.final_norm)
    EVA02Classifier(**recipe.parameters)


@pytest.mark.parametrize("name", POOLED)
def test_networks_without_tokens_give_timms_pooled_feature(name, tmp_path):
    kwargs, size = POOLED[name]
    sized = {"img_size": size} if name.startswith(("swin", "maxvit")) else {}
    model = make_model(name, size, **kwargs, **sized)
    folder = publish(tmp_path / "hub", model, name, **kwargs)
    images = draw_images(size)
    with torch.inference_mode():
        expected = model(read_as_timm(model, images)).numpy()
    embedder = EVA02TokenEmbedder(folder, "pooled", cache=tmp_path / "cache")
    features = embedder.fit_transform(images)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert embedder.embedding_dim_ == expected.shape[1]
    assert embedder.get_feature_names_out()[0] == "pooled_0"
    np.testing.assert_array_equal(clone(embedder).fit_transform(images), features)
    with pytest.raises(ValueError, match=r"no vision transformer.*tokens='class' must be 'pooled'"):
        clone(embedder).set_params(tokens="class").fit(images)


def test_a_network_without_tokens_is_fine_tuned_whole(tmp_path):
    images = draw_images(64, 12)
    images[6:] //= 4
    y = np.repeat(["pale", "dark"], 6)
    classifier = EVA02Classifier(
        "convnext_atto", weights=None, image_size=64, learning_rate=1e-3, max_epochs=2,
        model_kwargs=POOLED["convnext_atto"][0], layer_decay=0.7, validation_fraction=None,
        random_state=0,
    ).fit(images, y)  # fmt: skip
    network = classifier.network_
    trained = {id(p) for group in network.parameter_groups(1.0, 0.0, 0.7) for p in group["params"]}
    # The norm beside timm's classifier, too.
    assert {id(p) for p in network.parameters()} == trained
    classifier.save_weights(tmp_path / "tuned")
    model = timm.create_model(f"local-dir:{tmp_path / 'tuned'}", pretrained=True).eval()
    with torch.inference_mode():
        probabilities = model(read_as_timm(model, images)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, classifier.predict_proba(images), atol=1e-5)


def test_a_folder_of_save_weights_comes_back(tmp_path):
    images = draw_images(28, 8)
    classifier = EVA02Classifier(
        "eva02_tiny_patch14_224", weights=None, image_size=28, max_epochs=1, random_state=0,
        mean=(0.5, 0.4, 0.3), crop_pct=0.8, model_kwargs={"depth": 2}, validation_fraction=None,
    ).fit(images, np.arange(8) % 2)  # fmt: skip
    classifier.save_weights(tmp_path / "tuned")
    assert sorted(p.name for p in (tmp_path / "tuned").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    own = EVA02TokenEmbedder(f"local-dir:{tmp_path / 'tuned'}", "pooled").fit(images)
    assert own.image_size_ == 28
    model = timm.create_model(f"local-dir:{tmp_path / 'tuned'}", pretrained=True).eval()
    assert list(timm.data.resolve_model_data_config(model)["mean"]) == [0.5, 0.4, 0.3]
    pixels = read_as_timm(model, images)
    with torch.inference_mode():
        probabilities = model(pixels).softmax(dim=1).numpy()
        pooled = model.forward_head(model.forward_features(pixels), pre_logits=True).numpy()
    np.testing.assert_allclose(probabilities, classifier.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(own.transform(images), pooled, atol=1e-5)
    again = EVA02Classifier(
        str(tmp_path / "tuned"), learning_rate=1e-12, max_epochs=1, validation_fraction=None
    ).fit(images, np.arange(8) % 2)
    for key, value in classifier.network_.backbone.state_dict().items():
        torch.testing.assert_close(again.network_.backbone.state_dict()[key], value)


def test_saved_models_need_neither_folder_nor_network(tmp_path):
    kwargs = {"depth": 1, "reg_tokens": 2, "mlp_layer": "SwiGLUPacked"}
    timms = {**kwargs, "mlp_layer": timm.layers.SwiGLUPacked}
    model = make_model("vit_tiny_patch16_224", 32, img_size=32, **timms)
    folder = publish(tmp_path / "hub", model, "vit_tiny_patch16_224")
    images = draw_images(32)
    embedder = EVA02TokenEmbedder(folder, model_kwargs=kwargs, final_norm="tokens").fit(images)
    features = embedder.transform(images)
    skcyto.save(embedder, tmp_path / "saved")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(images), features)
    (tmp_path / "hub").rename(tmp_path / "gone")
    again = skcyto.load(tmp_path / "saved")
    np.testing.assert_allclose(again.transform(images), features, atol=1e-6)
    np.testing.assert_allclose(clone(again).fit_transform(images), features, atol=1e-6)


def test_a_cache_keeps_apart_where_the_norm_stands(tmp_path):
    images = draw_images(28)
    base = EVA02TokenEmbedder(
        "vit_small_patch14_dinov2", "image", weights=None, image_size=28, random_state=0,
        model_kwargs={"depth": 1}, cache=tmp_path,
    )  # fmt: skip
    ways = [{"final_norm": True}, {"final_norm": "tokens"}, {"tokens": "pooled"}]
    first = [clone(base).set_params(**way).fit_transform(images) for way in ways]
    second = [clone(base).set_params(**way, batch_size=2).fit(images) for way in ways]
    for embedder, features in zip(second, first, strict=True):
        np.testing.assert_array_equal(embedder.transform(images), features)
        assert embedder.n_forward_images_ == 0
    assert np.abs(first[0] - first[1]).max() > 1e-4


def test_architecture_and_tokens_are_searched():
    images = draw_images(28, 12)
    images[:6] //= 3
    pipeline = make_pipeline(
        EVA02TokenEmbedder("eva02_tiny_patch14_224", weights=None, image_size=28, random_state=0),
        LogisticRegression(),
    )
    grid = {
        "eva02tokenembedder__model_kwargs": [{"depth": 1}, {"depth": 1, "num_heads": 6}],
        "eva02tokenembedder__tokens": ["pooled", "image"],
        "eva02tokenembedder__final_norm": ["tokens", True],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(images, np.repeat([0, 1], 6))
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_names_of_transformers_are_translated(family, tmp_path):
    """Of owkin/phikon and phikon-v2, which were not made for timm."""
    kwargs = {**SMALL, **({"init_values": 1.0} if family == "dinov2" else {})}
    model = make_model("vit_tiny_patch16_224", 32, img_size=32, **kwargs)
    theirs = {"embeddings.mask_token": torch.zeros(1, 48)}
    stem = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
    }
    within = {
        "vit": {
            "norm1": "layernorm_before", "norm2": "layernorm_after",
            "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
        },
        "dinov2": {
            "norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
            "ls1": "layer_scale1", "ls2": "layer_scale2",
        },
    }[family]  # fmt: skip
    for key, value in model.state_dict().items():
        name, _, kind = key.rpartition(".")
        if not key.startswith("blocks."):
            theirs[stem[key] if key in stem else f"{stem[name]}.{kind}"] = value.contiguous()
            continue
        _, number, *inner = name.split(".")
        layer, start = ".".join(inner), f"encoder.layer.{number}."
        if layer == "attn.qkv":
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                theirs[f"{start}attention.attention.{part}.{kind}"] = chunk.clone()
        elif layer == "attn.proj":
            theirs[f"{start}attention.output.dense.{kind}"] = value
        else:
            theirs[f"{start}{within[layer]}.{kind.replace('gamma', 'lambda1')}"] = value
    save_file(theirs, tmp_path / "model.safetensors")
    embedder = EVA02TokenEmbedder(
        "vit_tiny_patch16_224", weights=tmp_path / "model.safetensors", image_size=32,
        model_kwargs=kwargs,
    ).fit(draw_images(32))  # fmt: skip
    for key, value in embedder._source.create().state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], atol=0, rtol=0)


def test_the_trunk_of_an_image_text_model(tmp_path):
    """Of CONCH, whose file holds the text's network too."""
    model = make_model("vit_base_patch16_224", 32, img_size=32, **SMALL)
    state = {f"visual.trunk.{k}": v.contiguous() for k, v in model.state_dict().items()}
    state["visual.attn_pool_contrast.query"] = torch.zeros(1, 8)
    state["text.positional_embedding"] = torch.zeros(3, 8)
    save_file(state, tmp_path / "model.safetensors")
    embedder = EVA02TokenEmbedder(
        "vit_base_patch16_224", "image", weights=tmp_path / "model.safetensors", image_size=32,
        model_kwargs=SMALL,
    ).fit(draw_images(32))  # fmt: skip
    for key, value in embedder._source.create().state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], atol=0, rtol=0)


def lay_in_cache(monkeypatch, folder):
    """As if the hub's client had fetched a folder before."""

    def find(repository, name, revision=None):
        assert (repository, revision) == ("owner/name", "v1")
        return str(folder / name) if (folder / name).exists() else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", find)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_what_the_hubs_cache_has_needs_no_network(tmp_path, monkeypatch):
    model = make_model("vit_tiny_patch16_224", 32, img_size=32, depth=1)
    folder = publish(tmp_path / "hub", model, "vit_tiny_patch16_224", depth=1)
    images = draw_images(32)
    expected = EVA02TokenEmbedder(folder).fit_transform(images)
    lay_in_cache(monkeypatch, tmp_path / "hub")
    embedder = EVA02TokenEmbedder("hf-hub:owner/name@v1").fit(images)
    np.testing.assert_array_equal(embedder.transform(images), expected)
    # A pickle finds the file wherever the hub's client keeps it on another machine.
    content = pickle.dumps(embedder)
    (tmp_path / "hub").rename(tmp_path / "elsewhere")
    lay_in_cache(monkeypatch, tmp_path / "elsewhere")
    skcyto.feature_extraction._embedding._loaded_backbones.clear_backbones()
    np.testing.assert_array_equal(pickle.loads(content).transform(images), expected)


def refuse(monkeypatch):
    class Response:
        headers: dict = {}
        status_code = 403
        request = None

    def download(*args, **kwargs):
        raise GatedRepoError("403", response=Response())

    monkeypatch.setattr("skcyto.utils._backbones._folder.ask_hub", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)


def go_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (refuse, "gated: ask for access on https://huggingface.co/owner/name, then log in"),
        (go_offline, "HF_HUB_OFFLINE is set"),
    ],
)
@pytest.mark.parametrize("cls", [EVA02TokenEmbedder, EVA02Classifier])
def test_models_of_the_hub_out_of_reach(cls, state, reason, monkeypatch):
    state(monkeypatch)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    with pytest.raises(PretrainedWeightsError, match="hf download owner/name") as caught:
        cls("hf-hub:owner/name").fit(draw_images(8, 4), [0, 1, 0, 1])
    assert reason in str(caught.value)


def test_folders_that_cannot_be_used(tmp_path):
    images = draw_images(32)

    def complaint(name, **params):
        with pytest.raises((PretrainedWeightsError, ValueError)) as caught:
            EVA02TokenEmbedder(name, **params).fit_transform(images)
        return str(caught.value)

    assert "there is no folder" in complaint(f"local-dir:{tmp_path / 'none'}")
    assert "has no config.json" in complaint(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["Dinov2Model"]}')
    assert "names no architecture of timm" in complaint(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architecture": "vit_tinny"}')
    assert "holds none of model.safetensors" in complaint(str(tmp_path))
    assert "no model of timm" in complaint(str(tmp_path), weights=None)
    model = make_model("vit_tiny_patch16_224", 32, img_size=32, depth=1)
    folder = publish(tmp_path / "hub", model, "vit_tiny_patch16_224")
    assert "do not fit" in complaint(folder)  # config.json does not say that it has one block
    assert "missing blocks.1." in complaint(folder, model_kwargs={"depth": 2})
    assert "of another shape" in complaint(folder, model_kwargs={"depth": 1, "embed_dim": 96})
    assert "deit_tiny" in complaint("deit_tiny_patch16_224", weights=f"{folder}/model.safetensors")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model_kwargs": {"img_size": 28}}, "give image_size="),
        ({"model_kwargs": {"num_classes": 3}}, "num_classes=3 cannot be set"),
        ({"model_kwargs": {"checkpoint_path": "x.pth"}}, "checkpoint_path"),
        ({"model_kwargs": {"depht": 2}}, "cannot be built with the arguments.*depht"),
        ({"model_kwargs": {"mlp_layer": print}}, "mlp_layer is .*layer of timm.layers"),
        ({"tokens": ["pooled", "class"]}, "'pooled' is timm's own feature and stands alone"),
        ({"tokens": "mean"}, "'pooled'"),
    ],
)
def test_bad_parameters_are_named(params, message):
    embedder = EVA02TokenEmbedder("eva02_tiny_patch14_224", weights=None, **params)
    with pytest.raises(ValueError, match=message):
        embedder.fit(draw_images(28))


def test_arguments_that_authors_write_are_taken(tmp_path):
    """`dynamic_img_size` and a repeated default say nothing; the size is fixed here."""
    kwargs = {"dynamic_img_size": True, "num_classes": 0, "in_chans": 3, "depth": 1}
    embedder = EVA02TokenEmbedder("vit_tiny_patch16_224", weights=None, model_kwargs=kwargs)
    embedder.set_params(image_size=32, random_state=0).fit(draw_images(32))
    assert dict(embedder._source.options.model_args) == {"depth": 1}
