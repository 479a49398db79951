"""What a saved model holds of an EVA02TokenEmbedder; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import InvalidModelError, PretrainedWeightsError
from skcyto.feature_extraction._embedding._fine_tuned import FineTunedSource
from skcyto.feature_extraction._embedding._tokens import POOLED
from skcyto.utils._backbones._folder import is_folder
from skcyto.utils._backbones._options import NO_OPTIONS, BackboneOptions, make_metadata
from skcyto.utils._backbones._source import BackboneSource
from skcyto.utils._persistence import check_tensors, write_tensors

if TYPE_CHECKING:
    from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder


def save_embedder_state(embedder: EVA02TokenEmbedder, weights: Path) -> dict[str, Any]:
    """Return the attributes of an embedder, and write the weights that it embeds with.

    They are written wherever they come from, so that the model needs no network, and goes on
    embedding the same when the hub's weights or the user's file have changed.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Fitted or not.
    weights : Path
        Where the weights of a fitted one are written.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = dict(vars(embedder))
    state["device"] = str(embedder.device)
    state["cache"] = None
    if isinstance(embedder.weights, os.PathLike):
        state["weights"] = os.fspath(embedder.weights)
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


def load_embedder_state(
    embedder: EVA02TokenEmbedder, state: dict[str, Any], weights: Path | None
) -> None:
    """Take back what :func:`save_embedder_state` gave; the weights are read on first use.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Changed in place.
    state : dict
        As returned there.
    weights : Path or None
        The weights of a fitted embedder.

    Raises
    ------
    InvalidModelError
        If weights are missing, or timm knows no such model.
    """
    # A file says neither which weights are read nor where anything is written.
    state = {k: v for k, v in state.items() if k not in ("_source", "_weights_identity", "cache")}
    embedder.__dict__.update(state, cache=None)
    for name in ("model_kwargs", "crop_mode", "fill", "views"):
        embedder.__dict__.setdefault(name, None)  # Models saved by earlier releases.
    if not hasattr(embedder, "embedding_dim_"):
        return
    try:
        source = _find_source(embedder, weights)
        info = source.describe()
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidModelError(f"{type(embedder).__name__} cannot be built: {error}") from error
    dim = info.pooled_dim if embedder._kind == POOLED else info.embedding_dim
    if (dim, info.image_size) != (embedder.embedding_dim_, embedder.image_size_):
        raise InvalidModelError(
            f"model_name={source.model_name!r} has tokens of length {dim} on "
            f"images of {info.image_size} pixels here; the saved {type(embedder).__name__} has "
            f"{embedder.embedding_dim_} on {embedder.image_size_}"
        )
    embedder._source = source
    embedder._weights_identity = source.identify_weights()


def _find_source(
    embedder: EVA02TokenEmbedder, weights: Path | None
) -> BackboneSource | FineTunedSource:
    if hasattr(embedder, "finetune_"):
        return FineTunedSource.of(embedder.finetune_)
    if weights is None:
        raise InvalidModelError("its weights are missing")
    check_tensors(weights)
    path = os.path.abspath(weights)
    # Models saved by earlier releases have none of the three.
    name = getattr(embedder, "_backbone_name", embedder.model_name)
    own_folder = is_folder(embedder.model_name) and "hub:" not in embedder.model_name
    if own_folder or embedder.weights not in ("pretrained", None):
        # So that a clone can be fitted without the former files.
        embedder.model_name, embedder.weights = name, path
    size = getattr(embedder, "_backbone_size", embedder.image_size)
    options = BackboneOptions.from_dict(getattr(embedder, "_backbone_options", {}))
    return BackboneSource(name, size, path, options=options)
