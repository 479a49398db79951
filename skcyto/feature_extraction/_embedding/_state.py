"""What a saved model holds of an EVA02TokenEmbedder; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from skcyto.exceptions import InvalidModelError, PretrainedWeightsError
from skcyto.feature_extraction._embedding._fine_tuned import FineTunedSource
from skcyto.feature_extraction._embedding._tokens import POOLED
from skcyto.utils._backbones._folder import is_folder
from skcyto.utils._backbones._options import NO_OPTIONS, BackboneOptions, make_metadata
from skcyto.utils._backbones._source import BackboneSource
from skcyto.utils._persistence import check_tensors, write_tensors


def save_embedder_state(state: dict[str, Any], weights: Path) -> dict[str, Any]:
    """Return the attributes of an embedder, and write the weights that it embeds with.

    They are written wherever they come from, so that the model needs no network, and goes on
    embedding the same when the hub's weights or the user's file have changed.

    Parameters
    ----------
    state : dict
        All attributes.
    weights : Path
        Where the weights of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = state | {"device": str(state["device"]), "cache": None}
    if isinstance(state["weights"], os.PathLike):
        state["weights"] = os.fspath(state["weights"])
    source = state.pop("_source", None)
    identity = state.pop("_weights_identity", None)
    if isinstance(source, BackboneSource):
        state["_backbone_name"] = source.model_name
        state["_backbone_size"] = source.image_size
        state["_backbone_options"] = source.options.to_dict()
    if source is None or "finetune_" in state:
        return state  # A fine-tuned classifier writes its own weights.
    if source.identify_weights() != identity:
        raise PretrainedWeightsError(
            f"the weights of model_name={source.model_name!r} are not those that fit saw (then: "
            f"{identity}; now: {source.identify_weights()}): fit again, then save"
        )
    if str(source.weights).endswith(".safetensors") and source.options == NO_OPTIONS:
        shutil.copyfile(source.weights, weights)
    else:
        # With what a config.json beside the file may have said: a clone is fitted from this file.
        info = source.describe()
        metadata = make_metadata(info.model_name, info.image_size, info.data_config, info.options)
        write_tensors(weights, source.create().state_dict(), metadata)
    return state


def load_embedder_state(state: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """Turn what :func:`save_embedder_state` gave into attributes; weights are read on first use.

    Parameters
    ----------
    state : dict
        As returned there.
    weights : Path or None
        The weights of a fitted embedder.

    Returns
    -------
    state : dict
        All attributes.

    Raises
    ------
    InvalidModelError
        If weights are missing, or timm knows no such model.
    """
    # A file says neither which weights are read nor where anything is written.
    state = {k: v for k, v in state.items() if k not in ("_source", "_weights_identity")}
    state["cache"] = None
    if "embedding_dim_" not in state:
        return state
    try:
        source = _find_source(state, weights)
        info = source.describe()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(f"EVA02TokenEmbedder cannot be built: {error}") from error
    is_pooled = state["tokens"] == POOLED or list(state["tokens"]) == [POOLED]
    dim = info.pooled_dim if is_pooled else info.embedding_dim
    if (dim, info.image_size) != (state["embedding_dim_"], state["image_size_"]):
        raise InvalidModelError(
            f"model_name={source.model_name!r} has tokens of length {dim} on "
            f"images of {info.image_size} pixels here; the saved EVA02TokenEmbedder has "
            f"{state['embedding_dim_']} on {state['image_size_']}"
        )
    return state | {"_source": source, "_weights_identity": source.identify_weights()}


def _find_source(state: dict[str, Any], weights: Path | None) -> BackboneSource | FineTunedSource:
    if "finetune_" in state:
        return FineTunedSource.of(state["finetune_"])
    if weights is None:
        raise InvalidModelError("its weights are missing")
    check_tensors(weights)
    path = os.path.abspath(weights)
    # Models saved by earlier releases have none of the three.
    name = state.get("_backbone_name", state["model_name"])
    own_folder = is_folder(state["model_name"]) and "hub:" not in state["model_name"]
    if own_folder or state["weights"] not in ("pretrained", None):
        # So that a clone can be fitted without the former files.
        state.update(model_name=name, weights=path)
    size = state.get("_backbone_size", state["image_size"])
    options = BackboneOptions.from_dict(state.get("_backbone_options", {}))
    return BackboneSource(name, size, path, options=options)
