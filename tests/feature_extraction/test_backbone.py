"""Models and weights: timm's own numbers, and errors that say what to do."""

import os
import time

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction._embedding._tokens import PoolingHead, TokenBackbone, combine_tokens
from skcyto.utils._backbones._source import (
    BackboneSource,
    describe_backbone,
    find_final_norm,
)

TINY = "eva02_tiny_patch14_224"
# Name, image size, and where this model's final norm stands.
MODELS = [
    (TINY, 56, "fc_norm"),
    ("eva02_base_patch16_clip_224", 32, "norm"),
    ("vit_small_patch14_dinov2", 56, "norm"),
    ("vit_small_patch14_reg4_dinov2", 56, "norm"),
    ("vit_tiny_patch16_224", 32, "norm"),
    ("deit_tiny_distilled_patch16_224", 32, "norm"),
    ("beit_base_patch16_224", 32, "fc_norm"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def create(name, image_size, **kwargs):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, img_size=image_size, **kwargs).eval()
    with torch.no_grad():  # norms that do something
        for module in (model.norm, model.fc_norm):
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
    return model


@pytest.mark.parametrize(("name", "image_size", "place"), MODELS)
def test_tokens_equal_timms_own(name, image_size, place):
    """Against forward_features and pooling of timm, for all tokens and both norms."""
    model = create(name, image_size)
    info = describe_backbone(name, image_size)
    images = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (3, 3, image_size, image_size), dtype=np.uint8)
    )
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[k])[None, :, None, None] for k in ("mean", "std"))
    pixels = (images / 255 - mean) / std

    n_prefix = model.num_prefix_tokens
    kept = getattr(model, place)
    assert isinstance(kept, torch.nn.LayerNorm)
    with torch.inference_mode():
        own = model.forward_features(pixels)
        if place == "norm":  # undo nothing: ask timm for the last block's output itself
            last = model.forward_intermediates(
                pixels,
                indices=1,
                norm=False,
                return_prefix_tokens=True,
                output_fmt="NLC",
                intermediates_only=True,
            )[-1]
            raw = torch.cat([last[1], last[0]], dim=1)
            torch.testing.assert_close(kept(raw), own, atol=1e-5, rtol=1e-5)
        else:
            raw = own
        assert raw.shape[1] == n_prefix + (image_size // info.patch_size) ** 2
        class_token, patches = raw[:, 0], raw[:, n_prefix:]
        pooled = {
            "class": class_token,
            "image": patches.mean(1),
            "all": torch.cat([raw[:, :1], patches], dim=1).mean(1),
        }
        expected = {
            True: {k: kept(v).numpy() for k, v in pooled.items()},
            False: {k: v.numpy() for k, v in pooled.items()},
        }
        expected["image"] = {**expected[False], "image": expected[True]["image"]}
        # What timm itself calls pooled features, where they are defined the same way.
        model.global_pool = "token"
        timm_class = model.forward_head(own, pre_logits=True).numpy()
        model.global_pool = "avg"
        timm_image = model.forward_head(own, pre_logits=True).numpy()

    backbone = TokenBackbone(model, info)
    embeddings = backbone.forward(images, torch.float32).numpy()
    assert embeddings.dtype == np.float32
    for normalize, of_token in expected.items():
        for token, values in of_token.items():
            result = combine_tokens(embeddings, backbone.head, [token], normalize)
            np.testing.assert_allclose(result, values, atol=1e-5, err_msg=f"{token} {normalize}")
    if "distilled" not in name:  # timm averages class and distillation tokens there
        result = combine_tokens(embeddings, backbone.head, ["class"], True)
        np.testing.assert_allclose(result, timm_class, atol=1e-5)
        if place == "fc_norm":
            result = combine_tokens(embeddings, backbone.head, ["image"], True)
            np.testing.assert_allclose(result, timm_image, atol=1e-5)


def test_several_tokens_are_concatenated_in_the_order_given():
    model, info = create(TINY, 28), describe_backbone(TINY, 28)
    backbone = TokenBackbone(model, info)
    embeddings = backbone.forward(torch.zeros((2, 3, 28, 28), dtype=torch.uint8), torch.float32)
    parts = [
        combine_tokens(embeddings.numpy(), backbone.head, [t], "image") for t in ("image", "class")
    ]
    both = combine_tokens(embeddings.numpy(), backbone.head, ["image", "class"], "image")
    np.testing.assert_array_equal(both, np.hstack(parts))


@pytest.mark.parametrize("name", [TINY, "vit_small_patch14_dinov2"])
def test_pooling_head_survives_serialisation_without_the_model(name):
    model, info = create(name, 28), describe_backbone(name, 28)
    head = PoolingHead(4, find_final_norm(model))
    again = PoolingHead.from_bytes(head.to_bytes(), info)
    assert again.n_patches == 4
    embeddings = np.random.default_rng(0).normal(size=(2, 2 * info.embedding_dim))
    embeddings = embeddings.astype(np.float32)
    np.testing.assert_array_equal(
        combine_tokens(embeddings, head, ["all"], True),
        combine_tokens(embeddings, again, ["all"], True),
    )


def test_bfloat16_is_near_and_comes_out_as_float32():
    info = describe_backbone(TINY, 28)
    backbone = TokenBackbone(create(TINY, 28), info)
    images = torch.randint(
        0, 256, (2, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    exact = backbone.forward(images, torch.float32)
    rough = backbone.forward(images, torch.bfloat16)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.cosine_similarity(rough, exact).min() > 0.999


def test_description():
    info = describe_backbone("vit_small_patch14_reg4_dinov2", 56)
    assert (info.embedding_dim, info.n_prefix_tokens, info.patch_size) == (384, 5, 14)
    assert info.has_class_token
    assert info.data_config["input_size"] == (3, 56, 56)
    default = describe_backbone("eva02_base_patch14_448.mim_in22k_ft_in22k_in1k")
    assert (default.image_size, default.embedding_dim) == (448, 768)
    assert default.data_config["crop_mode"] == "squash"
    assert default.data_config["interpolation"] == "bicubic"
    assert default.data_config["crop_pct"] == 1.0
    assert default.data_config["mean"] == (0.48145466, 0.4578275, 0.40821073)
    assert not describe_backbone("vit_betwixt_patch16_reg4_gap_256").has_class_token


@pytest.mark.parametrize(
    ("name", "image_size", "message"),
    [
        ("eva02_tinny_patch14_224", None, r"no model of timm .*names like it"),
        ("no_such_model", None, "no model of timm"),
        (f"{TINY}.no_such_tag", None, "no_such_tag"),
        ("maxvit_rmlp_pico_rw_256", 250, "does not take images of image_size=250"),
        (TINY, 100, "no multiple of the patch size 14.*use 98 or 112"),
        (TINY, 3, "use 14"),
    ],
)
def test_unsuitable_models_say_why(name, image_size, message):
    with pytest.raises(ValueError, match=message):
        describe_backbone(name, image_size)


@pytest.fixture
def weights(tmp_path):
    """A state dict with a classifier, made at another image size."""
    torch.manual_seed(3)
    return timm.create_model(TINY, num_classes=5, img_size=56).state_dict()


def source(path, image_size=56, name=TINY):
    return BackboneSource(name, image_size, path if path is None else str(path))


def assert_same_weights(model, weights):
    state = model.state_dict()
    assert state
    for key, value in state.items():
        torch.testing.assert_close(value, weights[key].float(), atol=0, rtol=0)
        assert value.dtype == torch.float32


def test_safetensors_file(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(weights, path)
    model = source(path).create()
    assert_same_weights(model, weights)
    assert not model.training
    assert model.num_classes == 0


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w}, lambda w: {"model": w}])
def test_pth_file(weights, tmp_path, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(weights), path)
    assert_same_weights(source(path).create(), weights)


def test_half_precision_file_is_loaded_to_float32(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    half = {k: v.half() for k, v in weights.items()}
    safetensors.torch.save_file(half, path)
    assert_same_weights(source(path).create(), half)


@pytest.mark.parametrize("name", [TINY, "vit_tiny_patch16_224"])
def test_position_embedding_is_resampled(tmp_path, name):
    patch = describe_backbone(name).patch_size
    torch.manual_seed(0)
    large = timm.create_model(name, num_classes=3, img_size=4 * patch).state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(large, path)
    model = source(path, 2 * patch, name).create()
    assert model.pos_embed.shape[1] == 5
    torch.testing.assert_close(model.pos_embed[:, :1], large["pos_embed"][:, :1])
    assert_same_weights(
        model, {**large, "pos_embed": model.pos_embed.detach(), "norm": None, "head": None}
    )
    same = timm.layers.resample_abs_pos_embed(large["pos_embed"], (2, 2), verbose=False)
    torch.testing.assert_close(model.pos_embed.detach(), same)


def test_weights_file_does_not_stay_in_memory_twice(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(weights, path)
    assert not source(path).create().pretrained_cfg.get("state_dict")


def drop(weights, *keys):
    return {k: v for k, v in weights.items() if k not in keys}


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda w: drop(w, "blocks.3.norm1.bias"), ["missing", "blocks.3.norm1.bias"]),
        (lambda w: {**w, "neck.weight": torch.ones(2)}, ["unexpected", "neck.weight"]),
        (lambda w: {**w, "cls_token": torch.ones(1, 1, 7)}, ["another shape", "cls_token"]),
        (lambda w: {k: v for k, v in w.items() if k.startswith("head")}, ["classifier's"]),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, tmp_path, change, messages):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(change(weights), path)
    with pytest.raises(PretrainedWeightsError) as caught:
        source(path).create()
    assert str(path) in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_weights_of_another_model(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(weights, path)
    with pytest.raises(
        PretrainedWeightsError, match="do not fit model_name='vit_tiny_patch16_224'"
    ):
        source(path, 32, "vit_tiny_patch16_224").create()


def write_pickled_model(path):
    torch.save(torch.nn.Linear(2, 2), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("weights.pth", write_pickled_model, "never pickled code"),
        ("weights.pth", lambda p: torch.save([1, 2], p), "could not be read"),
        ("weights.pth", lambda p: torch.save({}, p), "no weights"),
        ("weights.pth", lambda p: p.write_bytes(b"rubbish"), "could not be read"),
        ("weights.safetensors", lambda p: p.write_bytes(b"rubbish"), "could not be read"),
        ("weights.npz", lambda p: p.write_bytes(b"rubbish"), "ends with none of"),
        ("weights.pth", lambda p: None, "no weights file"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(PretrainedWeightsError, match=message):
        source(path).create()


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "weights.pth"
    torch.save({"cls_token": Trap()}, path)
    with pytest.raises(PretrainedWeightsError):
        source(path).create()
    assert not (tmp_path / "sprung").exists()


def test_identity_of_weights(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(weights, path)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    assert source(path).identify_weights() == source(copy).identify_weights()
    before = source(path).identify_weights()
    safetensors.torch.save_file({**weights, "cls_token": weights["cls_token"] + 1}, path)
    os.utime(path, ns=(0, time.time_ns()))
    assert source(path).identify_weights() != before
    random = [BackboneSource(TINY, 56, None, seed).identify_weights() for seed in (0, 0, 1)]
    assert random[0] == random[1] != random[2]
    pretrained = BackboneSource(TINY, 56, "pretrained").identify_weights()
    assert f"timm/{TINY}.mim_in22k" in pretrained


def test_random_weights_come_from_the_seed_and_leave_global_state_alone():
    before = torch.random.get_rng_state()
    one, two, other = (BackboneSource(TINY, 28, None, seed).create() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.cls_token, two.cls_token)
    assert not torch.equal(one.cls_token, other.cls_token)


def test_pretrained_weights_that_timm_does_not_have():
    without = next(
        name
        for name in timm.list_models("vit_*")
        if not timm.models.get_pretrained_cfg(name).has_weights
    )
    with pytest.raises(PretrainedWeightsError, match="timm has no pretrained weights"):
        BackboneSource(without, None, "pretrained").identify_weights()


@pytest.fixture
def empty_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


class ReachableHub:
    def head(self, address, timeout):
        assert address == huggingface_hub.constants.ENDPOINT


def go_offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def refuse_connections(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def reach_a_hub_without_the_file(monkeypatch):
    def find_nothing(*args, **kwargs):
        assert kwargs["pretrained"]
        raise OSError("404 Client Error")

    monkeypatch.setattr("huggingface_hub.utils.get_session", ReachableHub)
    monkeypatch.setattr("timm.create_model", find_nothing)


@pytest.mark.usefixtures("empty_hub_cache")
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (go_offline, "HF_HUB_OFFLINE is set"),
        (refuse_connections, "refused"),
        (reach_a_hub_without_the_file, "404 Client Error"),
    ],
)
def test_weights_out_of_reach(monkeypatch, state, reason):
    """The error says what was sought, why in vain, and what to do."""
    describe_backbone(TINY)
    state(monkeypatch)
    # The hub's own client would try again and again, for most of a minute.
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it tries again"))
    with pytest.raises(PretrainedWeightsError) as caught:
        BackboneSource(TINY, None, "pretrained").create()
    message = str(caught.value)
    assert reason in message
    assert f"Sought: timm/{TINY}.mim_in22k/model.safetensors" in message
    assert f"hf download timm/{TINY}.mim_in22k model.safetensors" in message
    assert "weights='/path/to/model.safetensors'" in message


def test_pretrained_weights_in_the_hubs_cache_need_no_network(weights, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(3)
    original = timm.create_model(TINY, num_classes=0)
    safetensors.torch.save_file(original.state_dict(), path)
    asked = []

    def find(repository, name, revision=None):
        asked.append((repository, name))
        return str(path)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", find)
    model = BackboneSource(TINY, None, "pretrained").create()
    assert asked == [(f"timm/{TINY}.mim_in22k", "model.safetensors")]
    assert_same_weights(model, original.state_dict())
