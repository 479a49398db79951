"""Write fine-tuned weights where timm and other estimators read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from skcyto.neural_network._transformer._lora import merged_state
from skcyto.neural_network._transformer._network import TransformerClassifier, head_names
from skcyto.utils._atomic import written_whole
from skcyto.utils._backbones._folder import CONFIG
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
        A file that ends with ``.safetensors``, or a folder. Each file is replaced as a whole or
        not at all.
    network : TransformerClassifier
        The network.
    info : BackboneInfo
        Description of its transformer.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the logits.

    Raises
    ------
    ValueError
        If the name has another ending.
    """
    path = os.path.abspath(os.path.expanduser(path))
    folder = None
    if not path.endswith(".safetensors"):
        if os.path.splitext(path)[1] and not os.path.isdir(path):
            raise ValueError(f"path={path!r} must end with '.safetensors', or be a folder")
        folder, path = path, os.path.join(path, "model.safetensors")
        os.makedirs(folder, exist_ok=True)
    state = merged_state(network.backbone)
    if isinstance(network.head, torch.nn.Linear):
        # Models with a distillation token average two heads: both get the same weights.
        for head in head_names(network.backbone):
            state |= {f"{head}.{key}": value for key, value in network.head.state_dict().items()}
    state = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in state.items()}
    metadata = make_metadata(info.model_name, info.image_size, info.data_config, info.options)
    metadata["classes"] = json.dumps(classes.tolist(), default=str)
    metadata = add_checksum(state, metadata)
    with written_whole(Path(path)) as part, mode_of_umask(part):
        save_file(state, part, metadata)
    if folder is not None:
        config = _make_config(network, info, classes)
        with written_whole(Path(folder) / CONFIG) as part:
            Path(part).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _make_config(
    network: TransformerClassifier, info: BackboneInfo, classes: NDArray
) -> dict[str, Any]:
    """Describe a network as timm does it, for its ``local-dir:``."""
    own = network.backbone.pretrained_cfg
    labels = json.loads(json.dumps(classes.tolist(), default=str))
    n_classes = len(labels) if isinstance(network.head, torch.nn.Linear) else 0
    args = dict(info.options.model_args)
    if info.takes_image_size:
        args["img_size"] = info.image_size
    config = dict(info.data_config)
    if config.pop("fill", None) is not None:
        config["crop_mode"] = "border"  # timm pads, too, but with the mean colour.
    described = {name: own.get(name) for name in ("classifier", "first_conv", "pool_size")}
    return {
        "architecture": info.model_name.split(".")[0],
        "num_classes": n_classes,
        "label_names": [str(label) for label in labels],
        "model_args": args,
        "pretrained_cfg": {**described, **config, "num_classes": n_classes},
    }
