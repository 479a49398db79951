"""A fit from checked inputs to a trained network, and predictions with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.utils import check_random_state

from skcyto.exceptions import InvalidImageError
from skcyto.losses import Criterion, Loss
from skcyto.neural_network._imbalance import build_criterion, class_counts
from skcyto.neural_network._inner_split import inner_split
from skcyto.neural_network._transformer._batches import (
    EpochPlan,
    ImageStream,
    plain_draws,
    resolve_n_workers,
)
from skcyto.neural_network._transformer._checkpoint import Checkpoint, hash_rows
from skcyto.neural_network._transformer._loop import FineTuning, compute_logits
from skcyto.neural_network._transformer._mixing import check_mixing
from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.neural_network._transformer._settings import FineTuneSettings
from skcyto.neural_network._transformer._targets import Targets
from skcyto.utils._backbones._memory import inference_memory, training_memory
from skcyto.utils._backbones._source import (
    BackboneInfo,
    BackboneSource,
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


def fine_tune(settings: FineTuneSettings, inputs: ImageInputs, targets: Targets) -> FineTuned:
    """Train a network as settings say.

    What is quickly found to be wrong is looked at first: the model, then its weights, then every
    image, then the checkpoint.

    Parameters
    ----------
    settings : FineTuneSettings
        How.
    inputs : ImageInputs
        The images.
    targets : Targets
        Labels, weights and groups.

    Returns
    -------
    result : FineTuned
    """
    _check_settings(settings)
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    # Independent of one another: a change of the split does not change the initial weights.
    rng = check_random_state(settings.random_state)
    seeds = [draw_seed(rng) for _ in range(3)]
    source = settings.request.resolve(seeds[1])
    info = source.describe()
    network = _make_network(settings, source, len(targets.classes), seeds[1])
    _try_augmentation(settings, info)
    digests = _check_images(settings, inputs, targets)
    checkpoint, state = None, None
    if settings.checkpoint is not None:
        fingerprint = _make_fingerprint(settings, source, digests, targets, seeds)
        checkpoint = Checkpoint(settings.checkpoint, fingerprint)
        state = checkpoint.load()
        seeds = seeds if state is None else state["seeds"]
        if source.weights is None:
            source = replace(source, seed=seeds[1])

    plan = _plan_epochs(settings, targets, seeds)
    counts, criterion = _fit_loss(settings, targets, plan.train)
    batches = _halve_batches(
        device,
        settings.batch_size,
        info,
        "to train on",
        "a smaller image_size or model, gradient_checkpointing=True, or freeze more blocks",
    )
    needed = training_memory(
        network,
        info,
        settings.batch_size,
        precision,
        gradient_checkpointing=settings.gradient_checkpointing,
    )
    with reserve_memory(device, needed):
        with shortage_raises(batches.make_error):
            tuning = FineTuning(
                _place(network, device),
                criterion.to(device),
                settings,
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
        save = partial(_save, checkpoint, tuning, seeds)
        _run(settings, _read_images(settings, inputs, info, plan, tuning), tuning, plan, save)
        tuning.restore_best()
    return FineTuned(
        network.eval(),
        source,
        info,
        settings.loss,
        criterion,
        counts,
        tuning.draws_per_row,
        tuning.history,
    )


def _make_network(
    settings: FineTuneSettings, source: BackboneSource, n_classes: int, seed: int
) -> TransformerClassifier:
    with torch_seed(seed):
        return TransformerClassifier(
            source,
            source.describe(),
            n_classes,
            cosine_head=settings.loss.needs_cosine_head,
            freeze=settings.freeze,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            head_hidden_size=settings.head_hidden_size,
            lora_rank=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_targets=settings.lora_targets,
        )


def _check_settings(settings: FineTuneSettings) -> None:
    """Refuse what contradicts itself."""
    if settings.warmup_epochs >= settings.max_epochs:
        raise ValueError(
            f"warmup_epochs={settings.warmup_epochs} must be less than "
            f"max_epochs={settings.max_epochs}: the learning rate would never be reached"
        )
    if hasattr(settings.augment, "get_params"):
        raise ValueError(
            f"augment={settings.augment!r} cannot be cloned: scikit-learn takes its get_params "
            "for that of an estimator. Give torchvision.transforms.Compose([transform])"
        )


def _try_augmentation(settings: FineTuneSettings, info: BackboneInfo) -> None:
    """Apply a transform of the user's once: what it does wrong is no image's fault."""
    if callable(settings.augment):
        with all_seeded(0):
            make_transform(info, settings.augment)(Image.new("RGB", (64, 48)))


def _check_images(settings: FineTuneSettings, inputs: ImageInputs, targets: Targets) -> list[bytes]:
    """Read every image once, and return what tells each from others."""
    bar = progress_bar(
        total=len(targets.rows), desc="Checking", unit="image", verbose=settings.verbose
    )
    with bar:
        return check_images(
            inputs,
            targets.rows.tolist(),
            n_threads=resolve_n_threads(settings.n_jobs),
            advance=bar.update,
        )


def _plan_epochs(settings: FineTuneSettings, targets: Targets, seeds: list[int]) -> EpochPlan:
    """Split the images, and say what each epoch shows."""
    rows = targets.rows
    train, valid = inner_split(
        targets.encoded[rows],
        validation_fraction=settings.validation_fraction,
        groups=None if targets.groups is None else targets.groups[rows],
        random_state=seeds[0],
    )
    return EpochPlan(
        train=rows[train],
        valid=rows[valid],
        target=targets.encoded[rows[train]],
        sampler=settings.sampler,
        batch_size=settings.batch_size * settings.grad_accumulation,
        valid_batch_size=settings.batch_size,
        augmented=settings.augment is not None,
        seed=seeds[2],
    )


def _fit_loss(
    settings: FineTuneSettings, targets: Targets, train: NDArray[np.intp]
) -> tuple[NDArray[np.float64], Criterion]:
    """Fit the loss to the images that train, and return their class counts too."""
    weight = None if targets.sample_weight is None else targets.sample_weight[train]
    counts = class_counts(targets.encoded[train], len(targets.classes), weight)
    criterion = build_criterion(settings.loss, counts, targets.classes, len(train), settings)
    if settings.mixup_alpha or settings.cutmix_alpha:
        check_mixing(criterion, settings.loss)
    return counts, criterion


def _halve_batches(
    device: torch.device, batch_size: int, info: BackboneInfo, what: str, remedy: str
) -> BatchHalver:
    describe = partial(describe_shortage, device, what, info.model_name, info.image_size, remedy)
    return BatchHalver(device, batch_size, describe)


def _save(checkpoint: Checkpoint | None, tuning: FineTuning, seeds: list[int]) -> None:
    if checkpoint is not None:
        checkpoint.save(tuning.state_dict() | {"seeds": seeds})


def _read_images(
    settings: FineTuneSettings,
    inputs: ImageInputs,
    info: BackboneInfo,
    plan: EpochPlan,
    tuning: FineTuning,
) -> ImageStream:
    """Read the images of the epochs that are missing."""
    device = resolve_device(settings.device)
    return ImageStream(
        inputs,
        plan.draws(range(len(tuning.history), settings.max_epochs)),
        info=info,
        augment=settings.augment,
        n_workers=resolve_n_workers(settings.n_jobs, device),
        pin_memory=device.type == "cuda",
        find_all_bad=False,
        warn_of_notes=False,  # They were said when the images were checked.
    )


def _run(
    settings: FineTuneSettings,
    stream: ImageStream,
    tuning: FineTuning,
    plan: EpochPlan,
    save: Callable[[], None],
) -> None:
    """Train the epochs that are missing, with a progress bar."""
    n_images = sum(len(batch) for batch in plan.train_batches(0))
    bar = progress_bar(
        total=settings.max_epochs * n_images,
        desc="Fine-tuning",
        unit="image",
        verbose=settings.verbose,
    )
    bar.update(len(tuning.history) * n_images)

    def report(row: dict[str, Any]) -> None:
        keys = ("train_loss", "valid_loss", "train_f1_macro", "valid_f1_macro")
        shown = {key: f"{row[key]:.4g}" for key in keys if key in row}
        bar.set_postfix({"epoch": f"{row['epoch']}/{settings.max_epochs}", **shown})

    with bar:
        tuning.run(stream, save=save, advance=bar.update, report=report)


def predict_logits(
    settings: FineTuneSettings,
    network: TransformerClassifier,
    info: BackboneInfo,
    inputs: ImageInputs,
) -> torch.Tensor:
    """Send images through a trained network.

    Parameters
    ----------
    settings : FineTuneSettings
        Say where it runs, on how many images at once, in which views.
    network : TransformerClassifier
        Trained; from now on on the device of the settings.
    info : BackboneInfo
        Description of its transformer.
    inputs : ImageInputs
        The images.

    Returns
    -------
    logits : torch.Tensor of shape (n_images, n_views, n_classes), dtype float32
        On that device.
    """
    missing = inputs.find_missing_files()
    if missing:
        raise InvalidImageError(f"{list_bad_images(inputs, missing)}\nMend or leave out these.")
    device = resolve_device(settings.device)
    batches = _halve_batches(
        device,
        settings.batch_size,
        info,
        "for",
        "a smaller image_size or model, precision='bfloat16', or device='cpu'",
    )
    views = list_views(settings.views)
    n_together = max(1, settings.batch_size // len(views))
    n_batches = -(-len(inputs) // n_together)
    stream = ImageStream(
        inputs,
        plain_draws(np.arange(len(inputs)), n_together),
        info=info,
        views=views,
        n_workers=min(resolve_n_workers(settings.n_jobs, device), n_batches),
        pin_memory=device.type == "cuda",
    )
    n_passes = len(inputs) * len(views)
    bar = progress_bar(total=n_passes, desc="Predicting", unit="image", verbose=settings.verbose)
    precision = resolve_precision(settings.precision, device)
    needed = inference_memory(info, min(settings.batch_size, n_passes), precision)
    with reserve_memory(device, needed):
        with shortage_raises(batches.make_error):
            network = _place(network, device).eval()
        with bar, torch.inference_mode():
            logits = compute_logits(network, stream, precision, batches, advance=bar.update)
            return logits.reshape(len(inputs), len(views), -1)


def _place(network: TransformerClassifier, device: torch.device) -> TransformerClassifier:
    """Move a network to a device, in the memory layout that is quickest there."""
    layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
    return network.to(device, memory_format=layout)


def _make_fingerprint(
    settings: FineTuneSettings,
    source: BackboneSource,
    digests: list[bytes],
    targets: Targets,
    seeds: list[int],
) -> dict[str, Any]:
    """Name everything that determines the result of a fit."""
    rows, info = targets.rows, source.describe()
    # Without a validation split, nothing depends on groups.
    groups = None if settings.validation_fraction is None else targets.groups
    weight = targets.sample_weight
    return settings.fingerprint() | {
        "model_name": source.model_name,
        "model_args": [list(pair) for pair in source.options.model_args],
        "image_size": info.image_size,
        "preprocessing": json.loads(json.dumps(dict(info.data_config))),
        "weights": "random" if source.weights is None else source.identify_weights(),
        "images": hash_rows(digests),
        "reader": describe_reader(),
        "labels": hash_rows(targets.classes[targets.encoded[rows]]),
        "groups": None if groups is None else hash_rows(groups[rows]),
        "sample_weight": None if weight is None else hash_rows(weight[rows]),
        # A seed that nobody asked for is drawn once, and kept in the checkpoint.
        "random_state": None if settings.random_state is None else seeds,
    }
