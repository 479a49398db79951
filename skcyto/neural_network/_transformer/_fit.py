"""A fit from checked inputs to a trained network, and predictions with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.utils import check_random_state

from skcyto.exceptions import InvalidImageError
from skcyto.losses import Criterion, Loss, get_loss
from skcyto.neural_network._imbalance import build_criterion, class_counts, class_weight_in_order
from skcyto.neural_network._inner_split import inner_split
from skcyto.neural_network._transformer._batches import (
    EpochPlan,
    ImageStream,
    plain_draws,
    resolve_n_workers,
)
from skcyto.neural_network._transformer._checkpoint import Checkpoint, hash_rows
from skcyto.neural_network._transformer._loop import FineTuning, TrainingSettings, compute_logits
from skcyto.neural_network._transformer._mixing import check_mixing
from skcyto.neural_network._transformer._network import TransformerClassifier, head_and_adapters
from skcyto.neural_network._transformer._targets import Targets
from skcyto.utils._backbones._memory import inference_memory, training_memory
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._request import OPTION_NAMES, BackboneRequest
from skcyto.utils._backbones._source import (
    BackboneInfo,
    BackboneSource,
    describe_backbone,
)
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._backbones._views import list_views
from skcyto.utils._devices._batch_halver import BatchHalver, describe_shortage, shortage_raises
from skcyto.utils._devices._device import resolve_device, resolve_precision
from skcyto.utils._devices._reservation import reserve_memory
from skcyto.utils._images._check import check_images
from skcyto.utils._images._decoding import describe_reader
from skcyto.utils._images._inputs import ImageInputs, list_bad_images
from skcyto.utils._prefetch import resolve_n_threads
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import all_seeded, draw_seed, torch_seed

if TYPE_CHECKING:
    from skcyto.neural_network._transformer._classifier import EVA02Classifier

# Parameters of which the result of a fit does not depend, or that are in the fingerprint already.
_NOT_IN_FINGERPRINT = {
    "checkpoint",
    "class_weight",
    "compile",
    "device",
    "gradient_checkpointing",
    "image_size",
    *OPTION_NAMES,
    "loss",
    "model_name",
    "n_jobs",
    "predict_proba_prior",
    "random_state",
    "verbose",
    "views",
    "weights",
}


@dataclass(frozen=True)
class FineTuned:
    """What came of a fit.

    Attributes
    ----------
    network : TransformerClassifier
        Trained, in evaluation mode.
    source : BackboneSource
        Where its transformer came from.
    info : BackboneInfo
        Description of its transformer.
    loss : Loss
        That was used.
    criterion : Criterion
        The loss fitted to the class counts.
    class_counts : ndarray of float
        Images of each class among those that trained.
    draws_per_row : ndarray of float
        How often an epoch showed an image of each class.
    history : list of dict
        One row an epoch.
    """

    network: TransformerClassifier
    source: BackboneSource
    info: BackboneInfo
    loss: Loss
    criterion: Criterion
    class_counts: NDArray[np.float64]
    draws_per_row: NDArray[np.float64]
    history: list[dict[str, Any]]


def fine_tune(estimator: EVA02Classifier, inputs: ImageInputs, targets: Targets) -> FineTuned:
    """Train a network as an estimator's parameters say.

    What is quickly found to be wrong is looked at first: the model, then its weights, then every
    image, then the checkpoint.

    Parameters
    ----------
    estimator : EVA02Classifier
        Gives the parameters.
    inputs : ImageInputs
        The images.
    targets : Targets
        Labels, weights and groups.

    Returns
    -------
    result : FineTuned
    """
    if estimator.warmup_epochs >= estimator.max_epochs:
        raise ValueError(
            f"warmup_epochs={estimator.warmup_epochs} must be less than "
            f"max_epochs={estimator.max_epochs}: the learning rate would never be reached"
        )
    device = resolve_device(estimator.device)
    precision = resolve_precision(estimator.precision, device)
    loss = get_loss(estimator.loss)
    # Independent of one another: a change of the split does not change the initial weights.
    rng = check_random_state(estimator.random_state)
    seeds = [draw_seed(rng) for _ in range(3)]
    source = BackboneRequest.of(estimator).resolve(seeds[1])
    info = source.describe()
    with torch_seed(seeds[1]):
        network = TransformerClassifier(
            source,
            info,
            len(targets.classes),
            cosine_head=loss.needs_cosine_head,
            freeze=estimator.freeze,
            drop_path=estimator.drop_path,
            gradient_checkpointing=estimator.gradient_checkpointing,
            **head_and_adapters(estimator),
        )
    if hasattr(estimator.augment, "get_params"):
        raise ValueError(
            f"augment={estimator.augment!r} cannot be cloned: scikit-learn takes its get_params for "
            "that of an estimator. Give torchvision.transforms.Compose([transform])"
        )
    if callable(estimator.augment):
        with all_seeded(0):  # What it does wrong is its fault, and no image's.
            make_transform(info, estimator.augment)(Image.new("RGB", (64, 48)))
    bar = progress_bar(
        total=len(targets.rows), desc="Checking", unit="image", verbose=estimator.verbose
    )
    with bar:
        digests = check_images(
            inputs,
            targets.rows.tolist(),
            n_threads=resolve_n_threads(estimator.n_jobs),
            advance=bar.update,
        )
    checkpoint, state = None, None
    if estimator.checkpoint is not None:
        fingerprint = _make_fingerprint(estimator, source, info, digests, targets, seeds)
        checkpoint = Checkpoint(estimator.checkpoint, fingerprint)
        state = checkpoint.load()
        if state is not None:
            seeds = state["seeds"]

    split_seed, _, train_seed = seeds
    rows = targets.rows
    groups = None if targets.groups is None else targets.groups[rows]
    train, valid = inner_split(
        targets.encoded[rows],
        validation_fraction=estimator.validation_fraction,
        groups=groups,
        random_state=split_seed,
    )
    train, valid = rows[train], rows[valid]
    weight = None if targets.sample_weight is None else targets.sample_weight[train]
    counts = class_counts(targets.encoded[train], len(targets.classes), weight)
    criterion = build_criterion(
        loss,
        counts,
        class_weight=class_weight_in_order(estimator.class_weight, targets.classes),
        reduction=estimator.reduction,
        max_epochs=estimator.max_epochs,
        sampler=estimator.sampler,
        batch_size=min(estimator.batch_size, len(train)),
        classes=targets.classes,
    )
    if estimator.mixup_alpha or estimator.cutmix_alpha:
        check_mixing(criterion, estimator.loss)
    plan = EpochPlan(
        train=train,
        valid=valid,
        target=targets.encoded[train],
        sampler=estimator.sampler,
        batch_size=estimator.batch_size * estimator.grad_accumulation,
        valid_batch_size=estimator.batch_size,
        augmented=estimator.augment is not None,
        seed=train_seed,
    )
    remedy = "a smaller image_size or model, gradient_checkpointing=True, or freeze more blocks"
    batches = BatchHalver(
        device,
        estimator.batch_size,
        partial(describe_shortage, device, "to train on", info.model_name, info.image_size, remedy),
    )
    needed = training_memory(
        network,
        info,
        estimator.batch_size,
        precision,
        gradient_checkpointing=estimator.gradient_checkpointing,
    )
    with reserve_memory(device, needed):
        with shortage_raises(batches.make_error):
            network = _place(network, device)
            tuning = FineTuning(
                network,
                criterion.to(device),
                TrainingSettings(
                    learning_rate=estimator.learning_rate,
                    weight_decay=estimator.weight_decay,
                    lr_scheduler=estimator.lr_scheduler,
                    layer_decay=estimator.layer_decay,
                    max_epochs=estimator.max_epochs,
                    patience=estimator.n_iter_no_change if estimator.early_stopping else None,
                    restore_best_weights=estimator.restore_best_weights,
                    compile=estimator.compile,
                    warmup_epochs=estimator.warmup_epochs,
                    ema_decay=estimator.ema_decay,
                    mixup_alpha=estimator.mixup_alpha,
                    cutmix_alpha=estimator.cutmix_alpha,
                ),
                plan,
                targets.encoded,
                targets.sample_weight,
                precision=precision,
                batches=batches,
                # Random weights come from nowhere else, should no seed have been asked for.
                keeps_trained_alone=network.is_adapted and source.weights is not None,
            )
            if state is not None:
                tuning.load_state_dict(state)
        _run(estimator, inputs, info, tuning, plan, checkpoint, seeds, device)
        tuning.restore_best()
    if state is not None and source.weights is None:
        source = replace(source, seed=seeds[1])
    return FineTuned(
        network.eval(), source, info, loss, criterion, counts, tuning.draws_per_row, tuning.history
    )


def describe_fitted(estimator: EVA02Classifier) -> BackboneInfo:
    """Describe the transformer of a fitted classifier, whatever became of its weights file.

    Parameters
    ----------
    estimator : EVA02Classifier
        Fitted.

    Returns
    -------
    info : BackboneInfo
    """
    options = BackboneOptions.from_dict(estimator._backbone_options)
    return describe_backbone(estimator._backbone_name, estimator._backbone_size, options)


def _run(
    estimator: EVA02Classifier,
    inputs: ImageInputs,
    info: BackboneInfo,
    tuning: FineTuning,
    plan: EpochPlan,
    checkpoint: Checkpoint | None,
    seeds: list[int],
    device: torch.device,
) -> None:
    """Train the epochs that are missing, with a progress bar."""
    n_done = len(tuning.history)
    stream = ImageStream(
        inputs,
        plan.draws(range(n_done, estimator.max_epochs)),
        info=info,
        augment=estimator.augment,
        n_workers=resolve_n_workers(estimator.n_jobs, device),
        pin_memory=device.type == "cuda",
        find_all_bad=False,
        warn_of_notes=False,  # They were said when the images were checked.
    )
    n_images = sum(len(batch) for batch in plan.train_batches(0))
    bar = progress_bar(
        total=estimator.max_epochs * n_images,
        desc="Fine-tuning",
        unit="image",
        verbose=estimator.verbose,
    )
    bar.update(n_done * n_images)

    def save() -> None:
        if checkpoint is not None:
            checkpoint.save(tuning.state_dict() | {"seeds": seeds})

    def report(row: dict[str, Any]) -> None:
        keys = ("train_loss", "valid_loss", "train_f1_macro", "valid_f1_macro")
        shown = {key: f"{row[key]:.4g}" for key in keys if key in row}
        bar.set_postfix({"epoch": f"{row['epoch']}/{estimator.max_epochs}", **shown})

    with bar:
        tuning.run(stream, save=save, advance=bar.update, report=report)


def predict_logits(estimator: EVA02Classifier, inputs: ImageInputs) -> torch.Tensor:
    """Send images through a fitted estimator's network.

    Parameters
    ----------
    estimator : EVA02Classifier
        Fitted.
    inputs : ImageInputs
        The images.

    Returns
    -------
    logits : torch.Tensor of shape (n_images, n_views, n_classes), dtype float32
        On the estimator's device, as are network and criterion from now on.
    """
    missing = inputs.find_missing_files()
    if missing:
        raise InvalidImageError(f"{list_bad_images(inputs, missing)}\nMend or leave out these.")
    info = describe_fitted(estimator)
    device = resolve_device(estimator.device)
    remedy = "a smaller image_size or model, precision='bfloat16', or device='cpu'"
    batches = BatchHalver(
        device,
        estimator.batch_size,
        partial(describe_shortage, device, "for", info.model_name, info.image_size, remedy),
    )
    views = list_views(estimator.views)
    n_together = max(1, estimator.batch_size // len(views))
    n_batches = -(-len(inputs) // n_together)
    stream = ImageStream(
        inputs,
        plain_draws(np.arange(len(inputs)), n_together),
        info=info,
        views=views,
        n_workers=min(resolve_n_workers(estimator.n_jobs, device), n_batches),
        pin_memory=device.type == "cuda",
    )
    n_passes = len(inputs) * len(views)
    bar = progress_bar(total=n_passes, desc="Predicting", unit="image", verbose=estimator.verbose)
    precision = resolve_precision(estimator.precision, device)
    needed = inference_memory(info, min(estimator.batch_size, n_passes), precision)
    with reserve_memory(device, needed):
        with shortage_raises(batches.make_error):
            network = _place(estimator.network_, device).eval()
            estimator.criterion_.to(device)
        with bar, torch.inference_mode():
            logits = compute_logits(network, stream, precision, batches, advance=bar.update)
            return logits.reshape(len(inputs), len(views), -1)


def _describe_augment(augment: Any) -> str | None:
    """Name a transform, without the place that it has in this process's memory."""
    if augment is None or isinstance(augment, str):
        return augment
    text = repr(augment)
    return text if " at 0x" not in text else f"{augment.__module__}.{augment.__qualname__}"


def _place(network: TransformerClassifier, device: torch.device) -> TransformerClassifier:
    """Move a network to a device, in the memory layout that is quickest there."""
    layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
    return network.to(device, memory_format=layout)


def _make_fingerprint(
    estimator: EVA02Classifier,
    source: BackboneSource,
    info: BackboneInfo,
    digests: list[bytes],
    targets: Targets,
    seeds: list[int],
) -> dict[str, Any]:
    """Name everything that determines the result of a fit."""
    params = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in _NOT_IN_FINGERPRINT
    }
    rows = targets.rows
    # Without a validation split, nothing depends on groups.
    groups = None if estimator.validation_fraction is None else targets.groups
    weights = "random" if source.weights is None else source.identify_weights()
    class_weight = estimator.class_weight
    return params | {
        "model_name": source.model_name,
        "model_args": [list(pair) for pair in source.options.model_args],
        "image_size": info.image_size,
        "preprocessing": json.loads(json.dumps(dict(info.data_config))),
        "weights": weights,
        "images": hash_rows(digests),
        "reader": describe_reader(),
        "labels": hash_rows(targets.classes[targets.encoded[rows]]),
        "groups": None if groups is None else hash_rows(groups[rows]),
        "sample_weight": (
            None if targets.sample_weight is None else hash_rows(targets.sample_weight[rows])
        ),
        "loss": repr(get_loss(estimator.loss)),
        "augment": _describe_augment(estimator.augment),
        "lora_targets": repr(estimator.lora_targets),
        "class_weight": class_weight if class_weight is None else repr(class_weight),
        # A seed that nobody asked for is drawn once, and kept in the checkpoint.
        "random_state": None if estimator.random_state is None else seeds,
    }
