"""Parameters under the names that they have now, in models that former versions saved."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from skcyto.exceptions import ModelVersionWarning
from skcyto.utils._warnings import warn

# What a class's parameters and attributes were called before.
_RENAMED: dict[str, dict[str, str]] = {
    "skcyto.feature_extraction.EVA02TokenEmbedder": {"normalize": "final_norm"},
    "skcyto.feature_extraction.RadiomicsExtractor": {
        "labels": "mask_labels",
        "labels_": "mask_labels_",
    },
    "skcyto.losses.Minimax": {"groups": "grouping"},
    "skcyto.neural_network.EVA02Classifier": {
        "normalize": "reduction",
        "checkpoint_dir": "checkpoint",
    },
    "skcyto.neural_network.ImbalancedMLPClassifier": {"normalize": "reduction"},
}


def use_present_parameters(item: Any) -> None:
    """Rename what an object of skcyto's holds, and give new parameters their defaults.

    Parameters
    ----------
    item : object
        Part of a saved model, before it builds its networks; changed in place.

    Warns
    -----
    ModelVersionWarning
        If no present parameter says what a former one said.
    """
    kind = type(item)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not name.startswith("skcyto.") or not hasattr(kind, "get_params"):
        return
    state = vars(item)
    for former, present in _RENAMED.get(name, {}).items():
        if former in state and present not in state:
            state[present] = state.pop(former)
    if state.get("final_norm") == "ps3c":
        state["final_norm"] = "image"
    _use_max_margin(state)
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.default is not parameter.empty:
            state.setdefault(parameter.name, parameter.default)
    if name == "skcyto.neural_network.EVA02Classifier" and "classes_" in state:
        # Without a sampler an epoch showed each image once; with one, it is not known any more.
        ones = np.ones(len(state["classes_"]))
        state.setdefault("draws_per_row_", ones if state["sampler"] is None else ones * np.nan)


def _use_max_margin(state: dict[str, Any]) -> None:
    """Say the constant C of an LDAM loss by its largest margin, which needs the class counts."""
    for key in ("loss", "loss_"):
        loss = state.get(key)
        literal = getattr(loss, "__dict__", {}).pop("C", None)
        if loss is None or literal is None:
            continue
        if "class_counts_" in state:
            counts = np.asarray(state["class_counts_"], dtype=np.float64)
            # A class without cases counts as one.
            fewest = min(counts[counts > 0].min(), 1.0 if (counts == 0).any() else np.inf)
            loss.max_margin = float(literal) * float(fewest) ** -0.25
        else:
            warn(
                f"the saved model holds a loss LDAM(C={literal!r}), which is said by max_margin "
                f"now: {literal!r} times the rarest class's count to the power of -1/4. The "
                f"estimator that has it is not fitted, so that it gets max_margin="
                f"{loss.max_margin!r}; set it before you fit it again",
                ModelVersionWarning,
            )
