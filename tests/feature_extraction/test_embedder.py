"""EVA02TokenEmbedder as its users meet it: inputs, errors, scikit-learn's contract, memory."""

import io
import pickle
import warnings
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from skcyto.exceptions import (
    DeviceMemoryError,
    InvalidImageError,
    InvalidInputWarning,
    PretrainedWeightsError,
    RandomWeightsWarning,
)
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_extraction._embedding import _run as _embed
from skcyto.feature_extraction._embedding._loaded_backbones import clear_backbones
from skcyto.feature_extraction._embedding._tokens import TokenBackbone
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._random import draw_seed

TINY = "eva02_tiny_patch14_224"
pytestmark = pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_embedder(**params):
    params = {"weights": None, "image_size": 28, "random_state": 0, **params}
    return EVA02TokenEmbedder(params.pop("model_name", TINY), **params)


@pytest.fixture
def features(image_paths):
    return make_embedder().fit_transform(image_paths)


def assert_same(result, expected):
    """Equal up to what the number of images in a batch changes."""
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        lambda paths: np.array(paths),
        lambda paths: pd.Series(paths),
        lambda paths: pd.DataFrame({"path": paths}),
        lambda paths: pl.DataFrame({"path": paths}),
        lambda paths: [Image.open(p) for p in paths],
        lambda paths: [np.asarray(Image.open(p)) for p in paths],
    ],
)
def test_every_form_of_input_gives_the_same_features(image_paths, features, form):
    X = form(image_paths)
    assert_same(make_embedder().fit_transform(X), features)


def test_preprocessing_is_timms_own(image_paths):
    """Squash to the whole size for EVA-02 at 448, centre crop for DINOv2, as their configs say."""
    import timm

    for name, size in [("eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", 28), (TINY, 28)]:
        seen = []

        def forward(self, images, precision, seen=seen):
            seen.append(images)
            return torch.zeros(len(images), 2 * self._info.embedding_dim)

        embedder = make_embedder(model_name=name, image_size=size, final_norm=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TokenBackbone, "forward", forward)
            patch.setattr(TokenBackbone, "head", None)
            patch.setattr(
                "skcyto.feature_extraction._embedding._tokens.combine_tokens",
                lambda embeddings, *args: np.split(embeddings, 2, axis=1)[0],
            )
            patch.setattr(BackboneSource, "create", lambda self: torch.nn.Identity())
            embedder.fit_transform(image_paths[:3])
        config = timm.data.resolve_data_config(
            {"input_size": (3, size, size)},
            pretrained_cfg=vars(timm.models.get_pretrained_cfg(name)),
        )
        transform = timm.data.create_transform(**config)
        mean, std = (torch.tensor(config[k])[:, None, None] for k in ("mean", "std"))
        for path, image in zip(image_paths, torch.cat(seen), strict=False):
            expected = transform(Image.open(path))
            torch.testing.assert_close((image / 255 - mean) / std, expected)
        clear_backbones()


@pytest.mark.parametrize(
    ("tokens", "names"),
    [
        ("class", ["class"]),
        ("image", ["image"]),
        ("all", ["all"]),
        (["class", "image"], ["class", "image"]),
        (("all", "class", "image"), ["all", "class", "image"]),
    ],
)
def test_feature_names(image_paths, tokens, names):
    embedder = make_embedder(tokens=tokens).fit(image_paths)
    expected = [f"{name}_{i}" for name in names for i in range(192)]
    assert embedder.get_feature_names_out().tolist() == expected
    assert embedder.transform(image_paths[:2]).shape == (2, len(expected))


def test_set_output(image_paths):
    frame = pd.DataFrame({"path": image_paths}, index=[f"cell{i}" for i in range(12)])
    embedder = make_embedder(tokens="class").set_output(transform="pandas")
    result = embedder.fit_transform(frame)
    assert result.columns[0] == "class_0"
    assert result.index.equals(frame.index)
    assert (result.dtypes == np.float32).all()
    embedder.set_output(transform="polars")
    assert isinstance(embedder.transform(frame), pl.DataFrame)


def test_in_a_column_transformer(image_paths, features):
    frame = pd.DataFrame({"path": image_paths, "age": np.arange(12.0)})
    columns = ColumnTransformer(
        [("image", make_embedder(), ["path"]), ("age", "passthrough", ["age"])]
    )
    result = columns.fit_transform(frame)
    assert_same(result[:, :-1], features)
    assert columns.get_feature_names_out()[[0, -1]].tolist() == ["image__all_0", "age__age"]


def test_output_is_float32_and_attributes_are_set(image_paths):
    embedder = make_embedder().fit(pd.DataFrame({"path": image_paths}))
    assert (embedder.embedding_dim_, embedder.image_size_, embedder.n_features_in_) == (192, 28, 1)
    assert embedder.feature_names_in_.tolist() == ["path"]
    assert embedder.n_forward_images_ == 0
    assert embedder.transform(pd.DataFrame({"path": image_paths})).dtype == np.float32
    assert embedder.n_forward_images_ == 12
    with pytest.raises(ValueError, match="feature names"):
        embedder.transform(pd.DataFrame({"file": image_paths}))
    embedder.fit(image_paths)
    assert not hasattr(embedder, "feature_names_in_")


def test_fit_reads_no_image():
    make_embedder().fit(["/no/such/file.png"])


def test_transform_needs_fit(image_paths):
    with pytest.raises(NotFittedError):
        make_embedder().transform(image_paths)
    with pytest.raises(NotFittedError):
        make_embedder().get_feature_names_out()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tokens": "patch"}, "tokens"),
        ({"tokens": []}, "tokens"),
        ({"tokens": ["class", "class"]}, "tokens"),
        ({"tokens": ["class", "patch"]}, "tokens"),
        ({"final_norm": "timm"}, "final_norm"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": 30}, "use 28 or 42"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "large"}, "batch_size"),
        ({"device": "abacus"}, "device"),
        ({"precision": "float8"}, "precision"),
        ({"on_error": "ignore"}, "on_error"),
        ({"cache": 5}, "cache"),
        ({"weights": 5}, "weights"),
        ({"model_name": "resnet18", "image_size": None}, "resnet18"),
    ],
)
def test_bad_parameters_are_named(image_paths, params, message):
    embedder = make_embedder(**params)
    with pytest.raises(ValueError, match=message):
        embedder.fit(image_paths)


def test_model_without_class_token_has_image_tokens_only(image_paths):
    name = "vit_betwixt_patch16_reg4_gap_256"
    with pytest.raises(ValueError, match="no class token"):
        make_embedder(model_name=name, image_size=32).fit(image_paths)
    embedder = make_embedder(model_name=name, image_size=32, tokens="image")
    assert embedder.fit_transform(image_paths[:2]).shape == (2, 640)
    clear_backbones()


def test_typo_in_weights_is_an_error(image_paths):
    with pytest.raises(PretrainedWeightsError, match=r"no weights file .*pretrianed"):
        make_embedder(weights="pretrianed").fit(image_paths)


def test_random_weights_warn_and_come_from_random_state(image_paths, features):
    with pytest.warns(RandomWeightsWarning, match="random weights"):
        make_embedder().fit(image_paths)
    np.testing.assert_array_equal(make_embedder().fit_transform(image_paths), features)
    other = make_embedder(random_state=1).fit_transform(image_paths)
    assert not np.allclose(other, features, atol=1e-2)
    free = make_embedder(random_state=None).fit(image_paths)
    np.testing.assert_array_equal(free.transform(image_paths), free.transform(image_paths))


def test_global_random_state_is_left_alone(image_paths):
    torch_state = torch.random.get_rng_state()
    numpy_state = check_random_state(None).get_state()[1].copy()  # the global one
    clear_backbones()
    make_embedder().fit_transform(image_paths)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    np.testing.assert_array_equal(check_random_state(None).get_state()[1], numpy_state)


@pytest.mark.parametrize("n_jobs", [1, 3, -1])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_threads_and_batches_do_not_change_the_result(image_paths, features, n_jobs, batch_size):
    embedder = make_embedder(n_jobs=n_jobs, batch_size=batch_size)
    assert_same(embedder.fit_transform(image_paths), features)


def test_images_equal_to_earlier_ones_go_through_the_network_once(image_paths, features):
    embedder = make_embedder().fit(image_paths)
    repeated = [image_paths[i] for i in (3, 0, 3, 3, 0)]
    assert_same(embedder.transform(repeated), features[[3, 0, 3, 3, 0]])
    assert embedder.n_forward_images_ == 2


def test_the_same_pil_image_many_times_in_a_list(image_paths, features):
    image = Image.open(image_paths[0])  # not loaded yet: threads meet at its file
    result = make_embedder(n_jobs=4).fit_transform([image] * 40)
    assert_same(result, features[[0] * 40])


def spoil(paths):
    """Damage three files in three ways; the good ones stay."""
    with open(paths[2], "wb"):
        pass
    with open(paths[5], "wb") as file:
        file.write(b"no image")
    with open(paths[7], "rb") as file:
        data = file.read()
    with open(paths[7], "wb") as file:
        file.write(data[: len(data) // 2])
    return {2: "empty", 5: "not an image", 7: "truncated", 12: "no such file"}


def test_one_error_lists_all_bad_images(image_paths):
    bad = spoil(image_paths)
    embedder = make_embedder(batch_size=1).fit(image_paths)
    with pytest.raises(InvalidImageError) as caught:
        embedder.transform([*image_paths, "/no/such/file.png", image_paths[2]])
    message = str(caught.value)
    assert "5 of 14 images" in message
    assert "on_error='nan'" in message
    for index, reason in bad.items():
        line = next(line for line in message.splitlines() if f"(row {index})" in line)
        assert reason in line
    assert "(row 13): the file is empty" in message
    assert embedder.n_forward_images_ == 0  # a missing file is found before any work


def test_nothing_is_forwarded_after_the_first_bad_image(image_paths):
    spoil(image_paths)
    embedder = make_embedder(batch_size=1).fit(image_paths)
    with pytest.raises(InvalidImageError, match="3 of 12 images"):
        embedder.transform(image_paths)
    assert embedder.n_forward_images_ <= 2


def test_many_bad_images_are_cut_off():
    embedder = make_embedder().fit(["x"])
    with pytest.raises(InvalidImageError, match="and 7 more"):
        embedder.transform([f"/no/such/file{i}.png" for i in range(27)])


def test_bad_images_as_rows_of_nan(image_paths, features):
    bad = spoil(image_paths)
    embedder = make_embedder(on_error="nan", tokens=["class", "all"]).fit(image_paths)
    with pytest.warns(InvalidInputWarning) as caught:
        result = embedder.transform([*image_paths, "/no/such/file.png", image_paths[2]])
    good = [i for i in range(12) if i not in bad]
    assert np.isnan(result[[*bad, 13]]).all()
    assert_same(result[good, 192:], features[good])
    (message,) = (str(w.message) for w in caught)
    assert "5 of 14 images" in message
    assert all(reason in message for reason in bad.values())


def test_nothing_but_bad_images():
    embedder = make_embedder(on_error="nan").fit(["x"])
    with pytest.warns(InvalidInputWarning, match="2 of 2"):
        result = embedder.transform(["/no/such/file.png", None])
    assert result.shape == (2, 192)
    assert np.isnan(result).all()
    assert embedder.n_forward_images_ == 0


CUDA_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def limit_memory(monkeypatch, n_images, error=CUDA_ERROR):
    """A device that holds so many images at a time; returns the batch sizes that were tried."""
    forward, tried = TokenBackbone.forward, []

    def limited(self, images, precision):
        tried.append(len(images))
        if len(images) > n_images:
            raise error
        return forward(self, images, precision)

    monkeypatch.setattr(TokenBackbone, "forward", limited)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        CUDA_ERROR,
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, image_paths, features, error):
    tried = limit_memory(monkeypatch, 3, error)
    embedder = make_embedder(batch_size=10)
    assert_same(embedder.fit_transform(image_paths), features)
    assert tried == [10, 5, 2, 2, 2, 2, 2, 2]
    assert embedder.batch_size_ == 2
    assert embedder.n_forward_images_ == 12


def test_not_even_one_image_fits(monkeypatch, image_paths):
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceMemoryError) as caught:
        make_embedder(batch_size=4).fit_transform(image_paths)
    for text in (TINY, "28 x 28", "smaller image_size", "CUDA out of memory"):
        assert text in str(caught.value)


def test_weights_that_do_not_fit_the_device(monkeypatch, image_paths):
    clear_backbones()

    def fail(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TokenBackbone, "to", fail)
    with pytest.raises(DeviceMemoryError, match=TINY):
        make_embedder().fit_transform(image_paths)


def test_other_errors_of_the_network_pass_through(monkeypatch, image_paths):
    limit_memory(monkeypatch, 0, RuntimeError("some other failure"))
    with pytest.raises(RuntimeError, match="some other failure"):
        make_embedder().fit_transform(image_paths)


def test_clones_and_folds_load_the_weights_once(monkeypatch, image_paths):
    clear_backbones()
    created = []
    create = BackboneSource.create
    monkeypatch.setattr(BackboneSource, "create", lambda self: created.append(self) or create(self))
    embedder = make_embedder()
    for _ in range(3):
        clone(embedder).fit(image_paths).transform(image_paths)
    y = np.tile([0, 1], 6)
    cross_val_predict(make_pipeline(embedder, LogisticRegression()), image_paths, y, cv=3)
    assert len(created) == 1
    for seed in range(1, 4):
        make_embedder(random_state=seed).fit_transform(image_paths[:1])
    make_embedder().fit_transform(image_paths[:1])  # had to make room: only the last few are kept
    assert len(created) == 5


def test_pickles_hold_no_weights_and_give_the_same(image_paths, tmp_path):
    embedder = make_embedder(cache=tmp_path / "cache").fit(image_paths)
    expected = embedder.transform(image_paths)
    data = pickle.dumps(make_pipeline(embedder, LogisticRegression()))
    assert len(data) < 200_000
    clear_backbones()
    again = pickle.loads(data)[0]
    again.cache = None
    np.testing.assert_array_equal(again.transform(image_paths), expected)
    file = io.BytesIO()
    joblib.dump(embedder, file)
    assert len(file.getvalue()) < 200_000


def test_weights_that_changed_since_fit_are_an_error(image_paths, tmp_path):
    import safetensors.torch

    path = tmp_path / "weights.safetensors"
    weights = BackboneSource(TINY, 28, None, draw_seed(0)).create().state_dict()
    safetensors.torch.save_file(weights, path)
    embedder = make_embedder(weights=path).fit(image_paths)
    safetensors.torch.save_file({**weights, "cls_token": weights["cls_token"] + 1}, path)
    with pytest.raises(PretrainedWeightsError, match="fit again"):
        embedder.transform(image_paths)
    path.unlink()
    with pytest.raises(PretrainedWeightsError, match="no weights file"):
        embedder.transform(image_paths)


def test_weights_path_does_not_depend_on_the_current_folder(image_paths, tmp_path, monkeypatch):
    import safetensors.torch

    weights = BackboneSource(TINY, 28, None, draw_seed(0)).create().state_dict()
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    embedder = make_embedder(weights="weights.safetensors").fit(image_paths)
    monkeypatch.chdir("/")
    random = make_embedder().fit_transform(image_paths)
    np.testing.assert_array_equal(embedder.transform(image_paths), random)


def test_grid_search_in_two_processes(image_paths, tmp_path):
    pipeline = make_pipeline(make_embedder(cache=tmp_path), LogisticRegression())
    grid = {
        "eva02tokenembedder__tokens": ["class", "all"],
        "eva02tokenembedder__final_norm": [True, "image"],
    }
    y = np.tile([0, 1], 6)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2, error_score="raise")
        search.fit(image_paths, y)
    alone = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(image_paths, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert search.predict(image_paths).shape == (12,)


def test_progress_bar(image_paths, capfd):
    make_embedder(verbose=1).fit_transform([*image_paths, image_paths[0]])
    shown = capfd.readouterr().err
    assert "Embedding" in shown
    assert "13/13" in shown
    make_embedder().fit_transform(image_paths)
    assert capfd.readouterr().err == ""


def test_an_interrupt_ends_the_threads(monkeypatch, image_paths):
    import threading

    limit_memory(monkeypatch, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make_embedder().fit_transform(image_paths)
    assert not [t for t in threading.enumerate() if t.name.startswith("skcyto-images")]


@pytest.mark.parametrize(
    "check",
    [
        check_parameters_default_constructible,
        check_no_attributes_set_in_init,
        check_get_params_invariance,
        check_set_params,
        check_mixin_order,
    ],
)
def test_scikit_learns_checks_that_need_no_numeric_data(check):
    """The others feed matrices of numbers; the tests of this module take their place."""
    check("EVA02TokenEmbedder", EVA02TokenEmbedder())


def test_tags():
    tags = EVA02TokenEmbedder().__sklearn_tags__()
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert not tags.target_tags.required


def test_repr_and_params_round_trip():
    embedder = make_embedder(tokens=["class"])
    assert "tokens=['class']" in repr(embedder)
    assert clone(embedder).get_params() == embedder.get_params()


def test_fit_is_idempotent(image_paths):
    embedder = make_embedder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = embedder.fit(image_paths).transform(image_paths)
        second = embedder.fit(image_paths).transform(image_paths)
    np.testing.assert_array_equal(first, second)


def test_memory_of_the_device_is_reserved_where_an_image_goes_through_the_network(
    image_paths, features, tmp_path, monkeypatch
):
    events = []

    @contextmanager
    def reserve(device, n_bytes):
        events.append(("reserved", n_bytes))
        yield
        events.append("given back")

    forward = TokenBackbone.forward
    monkeypatch.setattr(
        TokenBackbone, "forward", lambda *args: events.append("forward") or forward(*args)
    )
    monkeypatch.setattr(_embed, "reserve_memory", reserve)
    embedder = make_embedder(cache=tmp_path / "cache", batch_size=2).fit(image_paths)
    assert_same(embedder.transform(image_paths), features)
    (_, n_bytes), *rest = events
    assert rest[-1] == "given back"
    assert set(rest[:-1]) == {"forward"}
    assert len(rest) > 2
    assert n_bytes > 4 * describe_backbone(embedder.model_name).n_parameters
    events.clear()
    embedder.transform(image_paths)
    assert events == []
