"""What a fit of EVA02Classifier is told: its parameters, frozen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from skcyto.losses import Loss, get_loss
from skcyto.utils._backbones._request import BackboneRequest
from skcyto.utils._backbones._transforms import Augment


@dataclass(frozen=True)
class FineTuneSettings:
    """Parameters of an EVA02Classifier, by their names, its loss looked up.

    Attributes
    ----------
    request : BackboneRequest
        Which network, on which images.
    """

    request: BackboneRequest
    loss: Loss
    augment: Augment
    batch_size: int
    checkpoint: str | os.PathLike[str] | None
    class_weight: str | Mapping[Any, float] | None
    compile: bool
    cutmix_alpha: float
    device: str | torch.device
    drop_path: float
    early_stopping: bool
    ema_decay: float | None
    freeze: int
    grad_accumulation: int
    gradient_checkpointing: bool
    head_hidden_size: int | None
    layer_decay: float
    learning_rate: float
    lora_alpha: float | None
    lora_rank: int
    lora_targets: str | Sequence[str]
    lr_scheduler: str | None
    max_epochs: int
    mixup_alpha: float
    n_iter_no_change: int
    n_jobs: int | None
    precision: str
    random_state: int | np.random.RandomState | None
    reduction: str
    restore_best_weights: bool
    sampler: str | None
    validation_fraction: float | None
    verbose: int | bool
    views: Any
    warmup_epochs: int
    weight_decay: float

    @classmethod
    def of(cls, estimator: Any) -> FineTuneSettings:
        """Take an estimator's parameters.

        Parameters
        ----------
        estimator : EVA02Classifier
            Gives the parameters.

        Returns
        -------
        settings : FineTuneSettings
        """
        own = estimator.get_params(deep=False)
        own |= {"request": BackboneRequest.of(estimator), "loss": get_loss(estimator.loss)}
        return cls(**{field.name: own[field.name] for field in fields(cls) if field.name in own})

    @property
    def patience(self) -> int | None:
        """Epochs without improvement that end the training."""
        return self.n_iter_no_change if self.early_stopping else None

    def _describe_augment(self) -> str | None:
        """Name a transform, without the place that it has in this process's memory."""
        if self.augment is None or isinstance(self.augment, str):
            return self.augment
        text = repr(self.augment)
        if " at 0x" not in text:
            return text
        return f"{self.augment.__module__}.{getattr(self.augment, '__qualname__', text)}"

    def fingerprint(self) -> dict[str, Any]:
        """Return what the result of a fit depends on, beside network, data and seeds."""
        left_out = {
            *("request", "checkpoint", "compile", "device", "gradient_checkpointing"),
            *("n_jobs", "random_state", "verbose", "views"),
        }
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in left_out
        } | {
            "loss": repr(self.loss),
            "augment": self._describe_augment(),
            "lora_targets": repr(self.lora_targets),
            "class_weight": None if self.class_weight is None else repr(self.class_weight),
        }
