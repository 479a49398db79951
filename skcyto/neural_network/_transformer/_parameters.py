"""Which values the parameters of EVA02Classifier take."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from skcyto.neural_network._neural_classifier import TRAINING_PARAMETERS
from skcyto.neural_network._transformer._lora import TARGETS
from skcyto.utils._backbones._request import BACKBONE_CONSTRAINTS
from skcyto.utils._backbones._transforms import AUGMENTATIONS
from skcyto.utils._backbones._views import VIEWS

PARAMETERS: dict[str, list[Any]] = {
    **TRAINING_PARAMETERS,
    **BACKBONE_CONSTRAINTS,
    "views": [StrOptions(set(VIEWS)), Interval(Integral, 1, None, closed="left"), None],
    "augment": [StrOptions(set(AUGMENTATIONS)), callable, None],
    "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
    "ema_decay": [Interval(Real, 0, 1, closed="neither"), None],
    "mixup_alpha": [Interval(Real, 0, None, closed="left")],
    "cutmix_alpha": [Interval(Real, 0, None, closed="left")],
    "head_hidden_size": [Interval(Integral, 1, None, closed="left"), None],
    "lora_rank": [Interval(Integral, 0, None, closed="left")],
    "lora_alpha": [Interval(Real, 0, None, closed="neither"), None],
    "lora_targets": [StrOptions(set(TARGETS)), list, tuple],
    "layer_decay": [Interval(Real, 0, 1, closed="right")],
    "freeze": [Interval(Integral, 0, None, closed="left")],
    "drop_path": [Interval(Real, 0, 1, closed="left")],
    "grad_accumulation": [Interval(Integral, 1, None, closed="left")],
    "checkpoint": [str, os.PathLike, None],
    "precision": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
    "gradient_checkpointing": ["boolean"],
    "compile": ["boolean"],
    "n_jobs": [Integral, None],
}
