"""EVA02Classifier as its users meet it: learning, inputs, losses, errors, weights."""

import io
import pickle
import random
import re
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from skcyto.exceptions import (
    DeviceMemoryError,
    ImbalanceWarning,
    InvalidImageError,
    PretrainedWeightsError,
)
from skcyto.losses import Focal, available, get_loss
from skcyto.neural_network import EVA02Classifier
from skcyto.neural_network._modules import CosineLinear
from skcyto.neural_network._transformer import _fit as _eva02_fit
from skcyto.neural_network._transformer._loop import FineTuning
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.utils._backbones._source import BackboneSource, describe_backbone
from skcyto.utils._images._inputs import LoadedImage, as_image_inputs

pytestmark = pytest.mark.usefixtures("one_thread")


def weights_of(classifier):
    return {k: v.numpy(force=True) for k, v in classifier.network_.state_dict().items()}


def assert_same_weights(result, expected, atol):
    result, expected = weights_of(result), weights_of(expected)
    assert result.keys() == expected.keys()
    for name in result:
        if atol and name.endswith("qkv.bias"):
            continue  # The bias of the keys has no gradient: rounding errors move it.
        np.testing.assert_allclose(result[name], expected[name], atol=atol, err_msg=name)


@pytest.fixture
def no_training(monkeypatch):
    """Training that begins is a failure."""

    def run(*args, **kwargs):
        pytest.fail("training began")

    monkeypatch.setattr(FineTuning, "run", run)


def test_learns_and_tells_what_it_did(images, make_classifier):
    X, y = images
    classifier = make_classifier(max_epochs=8, validation_fraction=0.25).fit(X, y)
    assert classifier.score(X, y) == 1
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    assert proba.shape == (36, 3)
    assert classifier.classes_.tolist() == ["high", "low", "none"]
    assert classifier.class_counts_.tolist() == [9, 9, 9]
    assert classifier.n_iter_ == len(classifier.history_) == 8
    assert [row["epoch"] for row in classifier.history_] == list(range(1, 9))
    keys = {"train_loss", "train_f1_macro", "valid_loss", "valid_f1_macro", "learning_rate", "dur"}
    assert keys < classifier.history_[0].keys()
    losses = [row["valid_loss"] for row in classifier.history_]
    assert classifier.best_epoch_ == np.argmin(losses) + 1
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("restore", [True, False])
def test_weights_of_the_best_epoch_come_back(images, make_classifier, monkeypatch, restore):
    """The validation loss of what predicts is that of the best epoch (or the last one)."""
    train = FineTuning._train

    def spoilt(self, epoch, stream, advance):
        """Learn; from the third epoch on, be sure of one class, wrong for two images of three."""
        row = train(self, epoch, stream, advance)
        if epoch == 2:
            with torch.no_grad():
                self._network.head.bias[0] += 30
        return row

    monkeypatch.setattr(FineTuning, "_train", spoilt)
    plans = []
    plan = _eva02_fit.EpochPlan
    monkeypatch.setattr(
        _eva02_fit, "EpochPlan", lambda **kwargs: plans.append(plan(**kwargs)) or plans[-1]
    )
    X, y = images
    classifier = make_classifier(
        max_epochs=4,
        lr_scheduler=None,
        validation_fraction=0.3,
        restore_best_weights=restore,
    ).fit(X, y)
    valid = plans[0].valid
    proba = classifier.predict_proba(X[valid])
    codes = np.searchsorted(classifier.classes_, y[valid])
    loss = -np.log(proba[np.arange(len(valid)), codes]).mean()
    epoch = classifier.best_epoch_ if restore else classifier.n_iter_
    losses = [row["valid_loss"] for row in classifier.history_]
    assert max(losses[:2]) + 5 < min(losses[2:])
    assert classifier.best_epoch_ <= 2
    assert loss == pytest.approx(losses[epoch - 1], rel=1e-5)


def test_eva02_itself_learns(images):
    X, y = images
    classifier = EVA02Classifier(
        "eva02_tiny_patch14_224",
        weights=None,
        image_size=28,
        augment=None,
        learning_rate=5e-4,
        batch_size=12,
        max_epochs=6,
        random_state=0,
        validation_fraction=None,
    )
    assert classifier.fit(X, y).score(X, y) > 0.9
    assert classifier.best_epoch_ == np.argmin([r["train_loss"] for r in classifier.history_]) + 1
    assert "valid_loss" not in classifier.history_[0]


@pytest.mark.parametrize(
    "labels",
    [np.array(["b", "a", "c"]), np.array([7, -1, 3]), np.array([True, False, False]), list("bac")],
)
def test_labels_of_every_kind(images, make_classifier, labels):
    X, y = images
    codes = np.unique(y, return_inverse=True)[1]
    target = [labels[code] for code in codes]
    classifier = make_classifier(max_epochs=1).fit(X, target)
    assert classifier.classes_.tolist() == sorted(set(np.asarray(labels).tolist()))
    predicted = classifier.predict(X[:5])
    assert predicted.dtype == np.asarray(labels).dtype
    assert set(predicted) <= set(labels)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y"),
        (["a", None] * 18, "missing labels.*rows \\[1, 3"),
        ([0.0, np.nan] * 18, "NaN"),
        (["a"] * 36, "1 class: .*'a'"),
        (["a", 1] * 18, "types int, str"),
        (["a", "b"], "36 images, y has shape"),
        (np.linspace(0, 1, 36), "continuous"),
    ],
)
def test_bad_labels_are_an_error_before_anything_is_read(
    images, make_classifier, no_training, y, message
):
    with pytest.raises(ValueError, match=message):
        make_classifier().fit(images[0], y if y is None else np.array(y, dtype=object).tolist())


def test_one_unreadable_image_among_many_is_an_error_before_training(
    image_files, make_classifier, no_training
):
    paths, y = image_files
    with open(paths[20], "rb") as file:
        content = file.read()
    with open(paths[20], "wb") as file:
        file.write(content[: len(content) // 2])
    with pytest.raises(InvalidImageError, match=r"1 of 36 .*\n.*cell20.png \(row 20\): .*trunc"):
        make_classifier().fit(paths, y)
    paths[3] = "gone.png"
    with pytest.raises(InvalidImageError, match=r"2 of 36 .*\n.*gone.png \(row 3\): no such"):
        make_classifier().fit(paths, y)


@pytest.mark.slow
def test_one_unreadable_image_in_10000_is_named_before_training(
    tmp_path, images, make_classifier, no_training, monkeypatch
):
    contents = []
    for pixels in images[0]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        contents.append(buffer.getvalue())
    n_images, bad = 10_000, 9_871
    paths = [str(tmp_path / f"cell{i:04d}.png") for i in range(n_images)]
    for i, path in enumerate(paths):
        content = contents[i % 36]
        # What follows a PNG's last chunk is no part of the picture, but makes the file another one.
        content = content[:200] if i == bad else content + i.to_bytes(4, "big")
        with open(path, "wb") as file:
            file.write(content)

    decoded = []
    decode = LoadedImage.decode
    monkeypatch.setattr(
        LoadedImage,
        "decode",
        lambda image, *args, **kwargs: (
            decoded.append(image.digest) or decode(image, *args, **kwargs)
        ),
    )
    message = r"1 of 10000 images could not be read:\n.*cell9871.png \(row 9871\): .*truncated"
    with pytest.raises(InvalidImageError, match=message) as caught:
        make_classifier().fit(paths, np.arange(n_images) % 3)
    assert caught.value.bad.keys() == {bad}
    assert len(decoded) == len(set(decoded)) == n_images


def test_image_that_goes_bad_during_training_is_named(image_files, make_classifier, monkeypatch):
    paths, y = image_files
    monkeypatch.setattr(_eva02_fit, "check_images", lambda inputs, rows, **kwargs: [])
    paths[11] = "gone.png"
    with pytest.raises(InvalidImageError, match=r"gone.png \(row 11\)"):
        make_classifier(validation_fraction=None).fit(paths, y)


def test_all_bad_images_are_named_at_prediction(image_files, make_classifier):
    paths, y = image_files
    classifier = make_classifier(max_epochs=1).fit(paths, y)
    for i in (4, 30):
        with open(paths[i], "w") as file:
            file.write("no image")
    with pytest.raises(InvalidImageError, match=r"2 of 36(.|\n)*cell04(.|\n)*cell30"):
        classifier.predict(paths)
    with pytest.raises(InvalidImageError, match="no such file"):
        classifier.predict(["gone.png"])


@pytest.mark.parametrize("grouped", [False, True])
def test_a_class_with_one_image_is_trained_on_without_validation(images, make_classifier, grouped):
    X, y = images
    y = y.astype(object)
    y[5] = "rare"
    groups = np.arange(36) // 2 if grouped else None
    classifier = make_classifier(max_epochs=1, validation_fraction=None)
    with pytest.warns(ImbalanceWarning, match=r"1 class\(es\) with one image: 'rare'\.") as caught:
        classifier.fit(X, y, groups=groups)
    assert [w.filename for w in caught] == [__file__]
    assert classifier.class_counts_[classifier.classes_.tolist().index("rare")] == 1
    assert classifier.predict_proba(X[:2]).shape == (2, 4)


@pytest.mark.parametrize(
    ("rare", "weight", "named"),
    [
        ([], None, None),
        ([7], None, "1 class.* 7. "),
        ([9, 8], None, "2 class.* 8, 9. "),
        (list(range(10, 18)), None, "8 class.* 10, 11, 12, 13, 14 and 3 more. "),
        # One of two images takes no part; a class whose only image takes none is none.
        ([7, 7], [1, 0], "1 class.* 7. "),
        ([7], [0], None),
    ],
)
@pytest.mark.parametrize("fraction", [0.1, None])
def test_classes_with_one_image_are_named_before_training(
    images, make_classifier, monkeypatch, rare, weight, named, fraction
):
    class Began(Exception):
        pass

    def run(*args, **kwargs):
        raise Began

    monkeypatch.setattr(FineTuning, "run", run)
    X, _ = images
    y = np.arange(36) % 2
    y[: len(rare)] = rare
    weights = np.ones(36)
    weights[: len(rare)] = 1 if weight is None else weight
    classifier = make_classifier(validation_fraction=fraction)
    if named and fraction is not None:
        with pytest.raises(ValueError, match=named + "An image can't.*validation_fraction=None"):
            classifier.fit(X, y, sample_weight=weights)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Began):
            classifier.fit(X, y, sample_weight=weights)
    messages = [str(w.message) for w in caught if w.category is ImbalanceWarning]
    assert len(messages) == (named is not None)
    if named:
        assert re.search(named + "It is trained on, but can't be cross-validated", messages[0])


def test_every_form_of_input_gives_the_same_network(image_files, images, make_classifier):
    paths, y = image_files
    classifier = make_classifier(max_epochs=1).fit(paths, y)
    frame = pd.DataFrame({"path": paths})
    for X in (images[0], frame, np.array(paths)):
        other = make_classifier(max_epochs=1).fit(X, y)
        assert_same_weights(other, classifier, 0)
        np.testing.assert_array_equal(other.predict_proba(X), classifier.predict_proba(paths))
    other = make_classifier(max_epochs=1).fit(frame, y)
    assert other.feature_names_in_.tolist() == ["path"]
    with pytest.raises(ValueError, match="feature names"):
        other.predict(frame.rename(columns={"path": "file"}))


@pytest.mark.parametrize("augment", [None, "light", "default"])
def test_same_seed_same_result_whatever_n_jobs(image_files, make_classifier, augment):
    paths, y = image_files
    first = make_classifier(augment=augment, n_jobs=1, drop_path=0.2).fit(paths, y)
    second = make_classifier(augment=augment, n_jobs=2, drop_path=0.2).fit(paths, y)
    assert_same_weights(second, first, 0)
    np.testing.assert_array_equal(second.predict_proba(paths), first.predict_proba(paths))
    other = make_classifier(augment=augment, random_state=1).fit(paths, y)
    assert not np.array_equal(other.predict_proba(paths), first.predict_proba(paths))


def test_threads_give_the_same_networks_as_one(images, make_classifier):
    def fit(n_jobs):
        models = [make_classifier(augment="light", drop_path=0.5, random_state=i) for i in range(3)]
        return Parallel(n_jobs=n_jobs, backend="threading")(
            delayed(model.fit)(*images) for model in models
        )

    for result, expected in zip(fit(3), fit(1), strict=True):
        assert_same_weights(result, expected, 1e-5)


def test_augmentation_changes_training_alone(images, make_classifier):
    X, y = images
    losses = {
        augment: make_classifier(augment=augment, max_epochs=1, learning_rate=1e-9)
        .fit(X, y)
        .history_[0]
        for augment in (None, "light", "default")
    }
    assert len({row["train_loss"] for row in losses.values()}) == 3
    valid = [row["valid_loss"] for row in losses.values()]
    np.testing.assert_allclose(valid, valid[0], atol=1e-6)


def test_global_generators_are_left_alone(images, make_classifier):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    make_classifier(augment="default", drop_path=0.1).fit(*images)
    assert states() == before


@pytest.mark.parametrize("reduction", ["weight_sum", "count"])
@pytest.mark.parametrize("loss", ["ce", Focal(gamma=2.0)])
def test_accumulated_steps_equal_whole_batches(images, make_classifier, loss, reduction):
    """With class weights and sample weights, which differ from part to part of a batch."""
    X, y = images
    weight = np.random.default_rng(0).uniform(0.1, 3, 36)
    common = {"loss": loss, "class_weight": {"low": 4.0}, "reduction": reduction}
    whole = make_classifier(batch_size=12, **common).fit(X, y, sample_weight=weight)
    parts = make_classifier(batch_size=4, grad_accumulation=3, **common)
    parts.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-4)
    assert_same_weights(parts, whole, 1e-4)
    for row, expected in zip(parts.history_, whole.history_, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)


def limit_memory(monkeypatch, n_images, error=None):
    error = error or torch.OutOfMemoryError("CUDA out of memory")
    forward = TransformerClassifier.forward

    def limited(self, images):
        if len(images) > n_images:
            raise error
        return forward(self, images)

    monkeypatch.setattr(TransformerClassifier, "forward", limited)


def test_short_memory_halves_what_goes_through_at_once_and_no_step(
    images, make_classifier, monkeypatch
):
    X, y = images
    expected = make_classifier().fit(X, y)
    with monkeypatch.context() as patch:
        limit_memory(patch, 2)
        result = make_classifier().fit(X, y)
        np.testing.assert_allclose(result.predict_proba(X), expected.predict_proba(X), atol=1e-4)
    assert_same_weights(result, expected, 1e-4)


def test_too_little_memory_for_one_image(images, make_classifier, monkeypatch):
    X, y = images
    classifier = make_classifier(max_epochs=1).fit(X, y)
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceMemoryError, match=r"to train on one image of 32 x 32.*\n.*freeze"):
        make_classifier().fit(X, y)
    with pytest.raises(DeviceMemoryError, match="for one image of 32 x 32"):
        classifier.predict(X)


def test_other_runtime_errors_are_not_taken_for_short_memory(images, make_classifier, monkeypatch):
    limit_memory(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        make_classifier().fit(*images)


def test_frozen_blocks_keep_their_weights(images, make_classifier):
    X, y = images
    classifier = make_classifier(freeze=4, drop_path=0.5, max_epochs=1).fit(X, y)
    source = BackboneSource("test_vit", 32, None, _seed_of_weights(classifier))
    before = source.create().state_dict()
    after = classifier.network_.backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert {name.rsplit(".", 1)[0].split(".")[0] for name in changed} <= {"blocks", "norm"}
    assert {int(n.split(".")[1]) for n in changed if n.startswith("blocks")} == {4, 5}
    network = classifier.network_.train()
    assert not any(block.training for block in network.backbone.blocks[:4])
    assert network.backbone.blocks[4].training


def _seed_of_weights(classifier):
    from sklearn.utils import check_random_state

    from skcyto.utils._random import draw_seed

    rng = check_random_state(classifier.random_state)
    return [draw_seed(rng) for _ in range(2)][1]


def test_all_blocks_may_be_frozen_but_no_more(images, make_classifier):
    X, y = images
    make_classifier(freeze=6, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="freeze=7, but model_name='test_vit' has 6 blocks"):
        make_classifier(freeze=7).fit(X, y)


@pytest.mark.parametrize(
    ("name", "norm"), [("test_vit", "norm"), ("eva02_tiny_patch14_224", "fc_norm")]
)
def test_learning_rates_and_weight_decay_are_grouped_as_timm_does(name, norm):
    source = BackboneSource(name, None, None)
    network = TransformerClassifier(source, describe_backbone(name), 3)
    groups = network.parameter_groups(1e-3, 0.05, 0.5)
    group_of = {id(p): group for group in groups for p in group["params"]}
    found = {
        key.removeprefix("backbone."): group_of[id(p)] for key, p in network.named_parameters()
    }
    model = timm.create_model(name, num_classes=3)
    groups = timm.optim.param_groups_layer_decay(
        model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5
    )
    group_of = {id(p): group for group in groups for p in group["params"]}
    expected = {key: group_of[id(p)] for key, p in model.named_parameters()}
    assert found.keys() == expected.keys()
    for key, group in expected.items():
        assert found[key]["lr"] == pytest.approx(1e-3 * group["lr_scale"]), key
        assert found[key]["weight_decay"] == group["weight_decay"], key
    last = len(network.backbone.blocks) - 1
    assert found["head.weight"]["lr"] == 1e-3
    assert found[f"{norm}.weight"]["weight_decay"] == 0
    assert found[f"blocks.{last}.mlp.fc1.weight"]["lr"] == pytest.approx(5e-4)
    assert found["patch_embed.proj.weight"]["lr"] == pytest.approx(1e-3 / 2 ** (last + 2))


def test_plateau_halves_even_tiny_learning_rates(images, make_classifier):
    rates = {
        scheduler: [
            row["learning_rate"]
            for row in make_classifier(
                learning_rate=1e-12, augment=None, max_epochs=6, lr_scheduler=scheduler, freeze=6
            )
            .fit(*images)
            .history_
        ]
        for scheduler in ("plateau", "cosine", None)
    }
    np.testing.assert_allclose(rates["plateau"], [1e-12] * 4 + [5e-13] * 2)
    assert rates[None] == [1e-12] * 6
    assert rates["cosine"][3] == pytest.approx(5e-13)


# Losses that compare the images of a batch warn of small ones, and rightly so.
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.ImbalanceWarning")
@pytest.mark.parametrize("loss", available())
def test_every_loss_trains(images, make_classifier, loss):
    X, y = images
    classifier = make_classifier(loss=loss, batch_size=12, augment=None).fit(X, y)
    assert isinstance(classifier.network_.head, CosineLinear) == get_loss(loss).needs_cosine_head
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)
    assert np.isfinite([row["valid_loss"] for row in classifier.history_]).all()


@pytest.mark.parametrize("sampler", ["balanced", "stratified", "grouped"])
def test_samplers(images, make_classifier, sampler):
    X, y = images
    keep = np.flatnonzero((y != "low") | (np.arange(36) < 9))
    classifier = make_classifier(sampler=sampler, batch_size=9, max_epochs=4)
    assert classifier.fit(X[keep], y[keep]).score(X, y) > 0.6


def test_class_weights_go_by_the_images_that_train(images, make_classifier):
    X, y = images
    weight = np.where(y == "low", 2.0, 1.0)
    classifier = make_classifier(class_weight="max_ratio", validation_fraction=0.25, max_epochs=1)
    assert classifier.fit(X, y).class_weight_.tolist() == [1, 1, 1]
    classifier.fit(X, y, sample_weight=weight)
    assert classifier.class_counts_.tolist() == [9, 18, 9]
    assert classifier.class_weight_.tolist() == [2, 1, 2]


def test_images_of_weight_zero_take_no_part(image_files, make_classifier):
    """Not even an unreadable one does, and its class is none."""
    paths, y = image_files
    kept = make_classifier(max_epochs=1).fit(paths[:30], y[:30])
    paths[33] = "gone.png"
    y = np.r_[y[:30], ["other"] * 6]
    weight = np.r_[np.ones(30), np.zeros(6)]
    classifier = make_classifier(max_epochs=1).fit(paths, y, sample_weight=weight)
    assert classifier.classes_.tolist() == ["high", "low", "none"]
    assert_same_weights(classifier, kept, 1e-6)
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        make_classifier().fit(paths, y, sample_weight=np.zeros(36))


def test_groups_are_not_split_by_the_validation(images, make_classifier, monkeypatch):
    plans = []
    plan = _eva02_fit.EpochPlan
    monkeypatch.setattr(
        _eva02_fit, "EpochPlan", lambda **kwargs: plans.append(plan(**kwargs)) or plans[-1]
    )
    X, y = images
    groups = np.array([f"slide{i // 6}" for i in range(36)])
    make_classifier(max_epochs=1, validation_fraction=0.3).fit(X, y, groups=groups)
    train, valid = plans[0].train, plans[0].valid
    assert len(valid)
    assert not set(groups[train]) & set(groups[valid])
    assert sorted([*train, *valid]) == list(range(36))
    with pytest.raises(ValueError, match="groups has shape"):
        make_classifier().fit(X, y, groups=groups[:3])


def test_training_that_diverges_stops_with_advice(images, make_classifier):
    with pytest.raises(ValueError, match=r"diverged\. Lower learning_rate"):
        make_classifier(learning_rate=1e30, max_epochs=3).fit(*images)


def test_recomputed_activations_change_nothing(images, make_classifier):
    common = {"freeze": 2, "drop_path": 0.3, "max_epochs": 1}
    expected = make_classifier(**common).fit(*images)
    result = make_classifier(gradient_checkpointing=True, **common).fit(*images)
    assert_same_weights(result, expected, 1e-6)


@pytest.mark.parametrize("loss", ["ce", "ldam"])
def test_bfloat16_is_close_and_weights_stay_float32(images, make_classifier, loss):
    X, y = images
    expected = make_classifier(loss=loss, max_epochs=1, learning_rate=1e-4).fit(X, y)
    result = clone(expected).set_params(precision="bfloat16").fit(X, y)
    assert {p.dtype for p in result.network_.parameters()} == {torch.float32}
    difference = np.abs(result.predict_proba(X) - expected.predict_proba(X))
    assert 0 < difference.max() < 0.2


def test_progress_shows_losses_and_scores(images, make_classifier, capsys):
    make_classifier(verbose=1).fit(*images)
    shown = capsys.readouterr().err
    assert "epoch=2/2" in shown
    assert all(name in shown for name in ("train_loss=", "valid_loss=", "valid_f1_macro="))
    make_classifier(verbose=0).fit(*images)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["test_vit", "eva02_tiny_patch14_224", "deit_tiny_distilled_patch16_224"]
)
def test_saved_weights_are_timms(images, tmp_path, name):
    size = 28 if "eva" in name else 32
    X, y = images
    classifier = EVA02Classifier(
        name, weights=None, image_size=size, max_epochs=1, batch_size=18, random_state=0
    ).fit(X[:18], y[:18])
    path = tmp_path / "tuned.safetensors"
    classifier.save_weights(path)
    model = timm.create_model(name, num_classes=3, img_size=size, checkpoint_path=str(path)).eval()
    transform = timm.data.create_transform(**describe_backbone(name, size).data_config)
    inputs = as_image_inputs(X[:4])
    pixels = torch.stack([transform(inputs.load(i).decode()) for i in range(4)])
    with torch.inference_mode():
        proba = model(pixels).softmax(dim=1).numpy()
    np.testing.assert_allclose(proba, classifier.predict_proba(X[:4]), atol=1e-5)
    again = clone(classifier).set_params(weights=path, learning_rate=1e-12).fit(X, y)
    for key, value in classifier.network_.backbone.state_dict().items():
        torch.testing.assert_close(again.network_.backbone.state_dict()[key], value)


def test_saved_weights_of_a_cosine_head_and_bad_names(images, make_classifier, tmp_path):
    import safetensors

    classifier = make_classifier(loss="ldam", max_epochs=1).fit(*images)
    classifier.save_weights(tmp_path / "tuned.safetensors")
    with safetensors.safe_open(tmp_path / "tuned.safetensors", "pt") as file:
        assert not [key for key in file.keys() if key.startswith("head")]  # noqa: SIM118
        assert file.metadata()["classes"] == '["high", "low", "none"]'
        assert file.metadata()["model_name"] == "test_vit"
    with pytest.raises(ValueError, match=r"must end with '.safetensors'"):
        classifier.save_weights(tmp_path / "tuned.pth")
    with pytest.raises(NotFittedError):
        make_classifier().save_weights(tmp_path / "x.safetensors")


def test_weights_of_another_model_are_an_error(images, make_classifier, tmp_path, no_training):
    path = tmp_path / "weights.safetensors"
    from safetensors.torch import save_file

    save_file(BackboneSource("test_vit2", 32, None).create().state_dict(), path)
    with pytest.raises(PretrainedWeightsError, match="do not fit model_name='test_vit'"):
        make_classifier(weights=path).fit(*images)
    with pytest.raises(PretrainedWeightsError, match="there is no weights file"):
        make_classifier(weights=tmp_path / "gone.safetensors").fit(*images)


def test_a_pickle_predicts_the_same(images, make_classifier):
    X, y = images
    classifier = make_classifier(max_epochs=1).fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert all(p.grad is None for p in classifier.network_.parameters())


def test_search_over_loss_parameters(images, make_classifier):
    X, y = images
    search = GridSearchCV(
        make_classifier(max_epochs=1, loss="focal"), {"loss__gamma": [0, 2]}, cv=2
    )
    search.fit(X, y)
    assert search.best_estimator_.loss_.gamma in (0, 2)
    with config_context(enable_metadata_routing=True):
        routed = EVA02Classifier().set_fit_request(groups=True, sample_weight=True)
    assert routed.get_metadata_routing().fit.requests == {"groups": True, "sample_weight": True}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"augment": "strong"}, "augment"),
        ({"freeze": -1}, "freeze"),
        ({"layer_decay": 0}, "layer_decay"),
        ({"drop_path": 1}, "drop_path"),
        ({"grad_accumulation": 0}, "grad_accumulation"),
        ({"loss": "cce"}, "loss"),
        ({"class_weight": {"nobody": 1}}, "no weight for any"),
        ({"image_size": 30}, "no multiple of the patch size"),
        ({"device": "cuda:99"}, "device"),
    ],
)
def test_parameters_out_of_range(images, make_classifier, no_training, params, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(*images)


@pytest.mark.parametrize(
    "check",
    [
        check_get_params_invariance,
        check_mixin_order,
        check_no_attributes_set_in_init,
        check_set_params,
    ],
)
def test_scikit_learns_checks_that_need_no_table(check):
    check("EVA02Classifier", EVA02Classifier())


def test_tags_and_default_construction():
    check_parameters_default_constructible("EVA02Classifier", EVA02Classifier())
    tags = EVA02Classifier().__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array
    with pytest.raises(NotFittedError):
        EVA02Classifier().predict(["a.png"])


def test_a_fit_leaves_no_warning(images, make_classifier):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_classifier(max_epochs=1, n_jobs=2).fit(*images).predict(images[0])


def test_memory_of_the_device_is_reserved_while_it_is_used(images, make_classifier, monkeypatch):
    events = []

    @contextmanager
    def reserve(device, n_bytes):
        events.append(("reserved", n_bytes))
        yield
        events.append("given back")

    def watch(cls, name, event):
        original = getattr(cls, name)
        monkeypatch.setattr(
            cls, name, lambda *args, **kwargs: events.append(event) or original(*args, **kwargs)
        )

    monkeypatch.setattr(_eva02_fit, "reserve_memory", reserve)
    watch(FineTuning, "run", "trains")
    watch(_eva02_fit, "compute_logits", "predicts")
    X, y = images
    classifier = make_classifier(max_epochs=1).fit(X, y)
    (_, training), *rest = events
    assert rest == ["trains", "given back"]
    events.clear()
    classifier.predict(X)
    (_, predicting), *rest = events
    assert rest == ["predicts", "given back"]
    n_weights = sum(weight.numel() for weight in classifier.network_.parameters())
    assert 4 * n_weights < predicting < training
    # Twice the images of a step need more, and at most twice.
    events.clear()
    make_classifier(max_epochs=1, batch_size=16).fit(X, y)
    assert training < events[0][1] < 2 * training


def test_integers_of_numpy_are_integers(images, make_classifier):
    X, y = images
    plain = make_classifier(max_epochs=1, grad_accumulation=2).fit(X, y)
    numbers = {"max_epochs": 1, "batch_size": 8, "grad_accumulation": 2, "image_size": 32}
    other = make_classifier(**{name: np.int64(n) for name, n in numbers.items()}).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), other.predict_proba(X))


def test_training_stops_after_epochs_without_improvement(images, make_classifier, tmp_path):
    """A learning rate of no use at all: the first epoch stays the best."""
    X, y = images
    params = {"max_epochs": 9, "learning_rate": 1e-30, "weight_decay": 0.0, "lr_scheduler": None}
    params |= {"early_stopping": True, "n_iter_no_change": 2, "checkpoint": tmp_path}
    stopped = make_classifier(**params).fit(X, y)
    assert stopped.n_iter_ == stopped.best_epoch_ + 2 < 9
    # What was stopped is done: nothing is trained again, and nothing more.
    again = make_classifier(**params).fit(X, y)
    assert again.history_ == stopped.history_


def test_probabilities_under_another_prior(images, make_classifier):
    X, y = images
    rare = (y != 2) | (np.arange(len(y)) % 9 == 2)
    classifier = make_classifier(max_epochs=1, class_weight="balanced", validation_fraction=None)
    classifier.fit(X[rare], y[rare])
    plain = classifier.predict_proba(X)
    np.testing.assert_allclose(np.exp(classifier.predict_log_proba(X)), plain, rtol=1e-9)
    counts = classifier.class_counts_
    classifier.set_params(predict_proba_prior="train")
    expected = plain / classifier.class_weight_
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-9)
    prior = [0.2, 0.3, 0.5]
    classifier.set_params(predict_proba_prior=prior)
    expected = expected / counts * prior
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="3 positive probabilities that sum to 1"):
        classifier.set_params(predict_proba_prior=[0.5, 0.5]).predict(X)
