"""Write fine-tuned weights where timm and other estimators read them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from skcyto.neural_network._transformer._network import TransformerClassifier
from skcyto.utils._atomic import written_whole
from skcyto.utils._backbones._options import make_metadata
from skcyto.utils._backbones._source import BackboneInfo
from skcyto.utils._backbones._tensor_checksum import add_checksum
from skcyto.utils._file_modes import mode_of_umask


def write_weights(
    path: str | os.PathLike[str],
    network: TransformerClassifier,
    info: BackboneInfo,
    classes: NDArray,
) -> None:
    """Write a network's weights under timm's names.

    Parameters
    ----------
    path : str or path
        Where; replaced as a whole or not at all.
    network : TransformerClassifier
        The network.
    info : BackboneInfo
        Description of its transformer.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the logits.

    Raises
    ------
    ValueError
        If the name has another ending than ``.safetensors``.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if not path.endswith(".safetensors"):
        raise ValueError(f"path={path!r} must end with '.safetensors'")
    state = network.backbone.state_dict()
    if isinstance(network.head, torch.nn.Linear):
        # Models with a distillation token average two heads: both get the same weights.
        for head in _head_names(info.model_name):
            state |= {f"{head}.{key}": value for key, value in network.head.state_dict().items()}
    state = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in state.items()}
    metadata = make_metadata(info.model_name, info.image_size, info.data_config, info.options)
    metadata["classes"] = json.dumps(classes.tolist(), default=str)
    metadata = add_checksum(state, metadata)
    with written_whole(Path(path)) as part, mode_of_umask(part):
        save_file(state, part, metadata)


def _head_names(model_name: str) -> tuple[str, ...]:
    config = timm.models.get_pretrained_cfg(model_name)
    names = (config.classifier if config is not None else None) or "head"
    return (names,) if isinstance(names, str) else tuple(names)
