"""Fine-tuning as it is done now: warm-up, averaged weights, mixed images, augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV
from torchvision import transforms

import skcyto
from skcyto.losses import available, get_loss
from skcyto.neural_network._transformer._loop import FineTuning
from skcyto.neural_network._transformer._mixing import Mixer
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import describe_backbone
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._random import all_seeded

pytestmark = pytest.mark.usefixtures("one_thread")
REFUSED = {"minimax", "group_dro", "cvar", "soft_f1"}


@pytest.fixture
def steps(monkeypatch):
    """Learning rate and weights after each step."""
    seen = []
    step = FineTuning._step

    def watch(self, *args):
        rate = max(group["lr"] for group in self._optimizer.param_groups)
        result = step(self, *args)
        seen.append((rate, self._network.head.weight.detach().clone()))
        return result

    monkeypatch.setattr(FineTuning, "_step", watch)
    return seen


def test_the_learning_rate_rises_step_by_step(images, make_classifier, steps):
    make_classifier(
        warmup_epochs=2, max_epochs=4, learning_rate=1e-3, lr_scheduler=None, batch_size=12,
        validation_fraction=None,
    ).fit(*images)  # fmt: skip
    rates = np.array([rate for rate, _ in steps])
    np.testing.assert_allclose(rates[:6], 1e-3 * np.arange(1, 7) / 6)
    np.testing.assert_allclose(rates[6:], 1e-3)


def test_the_schedule_begins_after_the_warm_up(images, make_classifier):
    classifier = make_classifier(
        warmup_epochs=1, max_epochs=5, learning_rate=1e-3, lr_scheduler="cosine", layer_decay=0.8,
        validation_fraction=None,
    ).fit(*images)  # fmt: skip
    rates = [row["learning_rate"] for row in classifier.history_]
    # What each epoch was trained with: the peak, then half a cosine over the four that are left.
    expected = [1e-3, *(1e-3 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_warm_up_without_an_end_is_an_error(images, make_classifier):
    with pytest.raises(ValueError, match="warmup_epochs=2 must be less than max_epochs=2"):
        make_classifier(warmup_epochs=2, max_epochs=2).fit(*images)


def test_averaged_weights_follow_their_formula(images, make_classifier, steps):
    """The decay of timm's warm-up, 1 - (1 + step) ** (-2 / 3), but no more than is asked for."""
    classifier = make_classifier(
        ema_decay=0.6, max_epochs=2, batch_size=12, restore_best_weights=False,
        validation_fraction=None,
    ).fit(*images)  # fmt: skip
    average = None
    for number, (_, weight) in enumerate(steps):
        decay = 0.0 if number == 0 else min(0.6, 1 - (1 + number) ** (-2 / 3))
        average = weight if average is None else decay * average + (1 - decay) * weight
    torch.testing.assert_close(classifier.network_.head.weight.detach(), average)
    assert not torch.allclose(average, steps[-1][1])


def test_averaged_weights_are_validated_and_kept(images, make_classifier):
    X, y = images
    params = {"max_epochs": 3, "validation_fraction": 0.3, "augment": None}
    plain = make_classifier(**params).fit(X, y)
    averaged = make_classifier(**params, ema_decay=0.9).fit(X, y)
    # The training is the same; what is validated is not.
    for before, after in zip(plain.history_, averaged.history_, strict=True):
        assert before["train_loss"] == pytest.approx(after["train_loss"], abs=1e-6)
    assert plain.history_[-1]["valid_loss"] != averaged.history_[-1]["valid_loss"]
    assert not np.allclose(plain.predict_proba(X), averaged.predict_proba(X))


def test_mixed_images_are_what_their_shares_say():
    images = torch.zeros((4, 3, 8, 8), dtype=torch.uint8)
    images[0], images[1] = 200, 100
    target = torch.tensor([0, 1, 2, 2])
    mixed, shares = Mixer(1.0, 0.0, 3).mix(images, target, seed=3)
    share = shares[0, 0].item()
    assert 0 < share < 1
    torch.testing.assert_close(shares[0], torch.tensor([share, 0, 1 - share]))
    torch.testing.assert_close(mixed[0], torch.full((3, 8, 8), 200 * share))
    torch.testing.assert_close(mixed[3], torch.full((3, 8, 8), 200 * (1 - share)))
    cut, shares = Mixer(0.0, 1.0, 3).mix(images, target, seed=3)
    # 200 where the image itself is seen, 0 in the rectangle that is another's.
    seen = (cut[0, 0] == 200).float().mean().item()
    assert shares[0, 0].item() == pytest.approx(seen, abs=1e-6)
    again, _ = Mixer(0.0, 1.0, 3).mix(images, target, seed=3)
    torch.testing.assert_close(again, cut, atol=0, rtol=0)
    # The last of an odd number stays as it is.
    mixed, shares = Mixer(1.0, 0.0, 3).mix(images[:3], target[:3], seed=3)
    assert shares[2].tolist() == [0, 0, 1]
    assert (mixed[2] == images[2]).all()
    assert images[0].float().mean() == 200


@pytest.mark.parametrize("reduction", ["weight_sum", "count"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_loss_of_shares_is_the_mean_over_the_labels(reduction, class_weight):
    """Of cross-entropy torch's own, of the focal loss by hand; hard shares change nothing."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator)
    shares = torch.rand(5, 3, generator=generator)
    shares /= shares.sum(dim=1, keepdim=True)
    counts = [10, 5, 2]
    params = {"reduction": reduction, "class_weight": class_weight}
    log_p = logits.log_softmax(dim=1)
    for name, rows in {
        "ce": -log_p,
        "focal": -((1 - log_p.exp()) ** get_loss("focal").gamma) * log_p,
    }.items():
        criterion = get_loss(name).build(counts, **params)
        weight = shares * criterion.class_weight.float()
        divisor = 5 if reduction == "count" else weight.sum()
        expected = (weight * rows).sum() / divisor
        torch.testing.assert_close(criterion.soft_loss(logits, shares), expected)
        target = torch.tensor([0, 1, 2, 1, 0])
        hard = torch.nn.functional.one_hot(target, 3).float()
        sample_weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
        torch.testing.assert_close(
            criterion.soft_loss(logits, hard, sample_weight),
            criterion(logits, target, sample_weight),
        )


@pytest.mark.parametrize("loss", available())
def test_every_loss_takes_mixed_images_or_says_that_it_does_not(images, make_classifier, loss):
    classifier = make_classifier(
        loss=loss, mixup_alpha=0.5, max_epochs=1, validation_fraction=None, batch_size=12
    )
    if loss in REFUSED:
        with pytest.raises(ValueError, match=r"has no value.*weighted mean"):
            classifier.fit(*images)
    else:
        assert np.isfinite(classifier.fit(*images).history_[0]["train_loss"])


def test_accumulated_mixed_steps_equal_whole_batches(images, make_classifier):
    X, _ = images
    weight = np.linspace(0.5, 2, len(X))
    params = {
        "cutmix_alpha": 1.0, "class_weight": "balanced", "augment": None, "max_epochs": 1,
        "validation_fraction": None,
    }  # fmt: skip
    whole = make_classifier(**params, batch_size=12).fit(*images, sample_weight=weight)
    parts = make_classifier(**params, batch_size=4, grad_accumulation=3)
    parts.fit(*images, sample_weight=weight)
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-5)


def augmented(augment, image, seed, **options):
    info = describe_backbone("test_vit", 32, BackboneOptions.from_dict(options))
    with all_seeded(seed):
        return make_transform(info, augment)(Image.fromarray(image))


def test_cells_are_turned_shifted_and_scaled_on_white():
    image = np.full((32, 32, 3), 255, dtype=np.uint8)
    image[8:24, 12:20] = 80  # a bar that none of this may take out of the picture
    shown = [augmented("cells", image, seed) for seed in range(40)]
    assert all(pixels.shape == (3, 32, 32) for pixels in shown)
    dark = np.array([(pixels[0] < 170).float().mean().item() for pixels in shown])
    assert 0.06 < dark.min() < 0.125 < dark.max() < 0.25  # as it is: 0.125
    upright = sum((p[0, 16] < 170).sum() < (p[0, :, 16] < 170).sum() for p in shown)
    assert 8 < upright < 32  # turned to the side, too
    # Nothing black comes in from outside.
    assert min(pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]].min().item() for pixels in shown) > 120
    black = [augmented("cells", image, s, crop_mode="pad", fill=0) for s in range(40)]
    assert min(pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]].min().item() for pixels in black) < 40


@pytest.mark.parametrize(
    "augment",
    [
        transforms.RandomErasing(p=0.0),
        transforms.Compose([transforms.RandomRotation(90), transforms.GaussianBlur(3)]),
        lambda image: image.rotate(90),
    ],
)
def test_any_transform_augments(images, make_classifier, augment):
    X, y = images
    if isinstance(augment, transforms.RandomErasing):
        augment = transforms.Compose([transforms.PILToTensor(), augment])
    params = {"max_epochs": 2, "random_state": 0}
    first = make_classifier(augment=augment, **params).fit(X, y)
    second = make_classifier(augment=augment, **params).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda image: image.resize((16, 16)), "16 x 16 pixels of one of 32 x 32"),
        (transforms.RandomRotation(90), r"cannot be cloned.*Compose\(\[transform\]\)"),
        (lambda image: "no image", "gives a str, and must give a PIL image"),
    ],
)
def test_transforms_that_cannot_be_used_are_found_before_training(
    images, make_classifier, augment, message, monkeypatch
):
    monkeypatch.setattr(FineTuning, "run", lambda *a, **k: pytest.fail("it trains"))
    with pytest.raises(ValueError, match=message):
        make_classifier(augment=augment).fit(*images)


def test_a_saved_model_holds_no_transform(images, make_classifier, tmp_path):
    X, y = images
    classifier = make_classifier(
        augment=transforms.Compose([transforms.RandomRotation(90)]), max_epochs=1
    )
    classifier.fit(X, y)
    with pytest.warns(UserWarning, match="is code, which a saved model holds none of"):
        skcyto.save(classifier, tmp_path / "saved")
    again = skcyto.load(tmp_path / "saved")
    assert again.augment is None
    np.testing.assert_allclose(again.predict_proba(X), classifier.predict_proba(X), atol=1e-7)


def test_all_of_it_is_searched(images, make_classifier):
    grid = [
        {"warmup_epochs": [0, 1], "ema_decay": [None, 0.9]},
        {"mixup_alpha": [0.0, 0.4], "cutmix_alpha": [0.0, 1.0]},
        {"augment": ["cells", transforms.Compose([transforms.RandomRotation(180)])]},
        {"loss": ["ce"], "loss__label_smoothing": [0.0, 0.1]},
    ]
    search = GridSearchCV(
        make_classifier(validation_fraction=None), grid, cv=2, error_score="raise"
    ).fit(*images)
    assert len(search.cv_results_["params"]) == 12
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
