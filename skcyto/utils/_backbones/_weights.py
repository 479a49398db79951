"""Weights of timm models: from the hub, from its local cache, or from a file."""

from __future__ import annotations

import hashlib
import os
import re
import textwrap
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import PretrainedWeightsError
from skcyto.utils._backbones._tensor_checksum import check_checksum
from skcyto.utils._wording import list_some

if TYPE_CHECKING:
    from torch import nn

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt")
# Names under which timm stores the weights of a model on the hub, in the order it looks for them.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_FIRST_LAYER = "patch_embed.proj.weight"
# What a network is called inside of what it was trained in.
_WRAPPERS = {"backbone", "encoder", "model", "module", "net", "network", "student", "teacher"}
_HUB_TIMEOUT = 10  # seconds

_file_hashes: dict[tuple[str, int, int], str] = {}


def hash_weights_file(path: str) -> str:
    """Hash a weights file's content, once for each of its states.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    digest : str
        Hexadecimal.

    Raises
    ------
    PretrainedWeightsError
        If there is no such file.
    """
    _check_file(path)
    stat = os.stat(path)
    state = (os.path.realpath(path), stat.st_size, stat.st_mtime_ns)
    if state not in _file_hashes:
        with open(path, "rb") as file:
            _file_hashes[state] = hashlib.file_digest(
                file, lambda: hashlib.blake2b(digest_size=20)
            ).hexdigest()
    return _file_hashes[state]


def pretrained_origin(model_name: str) -> str:
    """Say where timm takes a model's pretrained weights from.

    Parameters
    ----------
    model_name : str
        Name of a timm model, perhaps with a tag.

    Returns
    -------
    origin : str
        Repository of the hub, or address.

    Raises
    ------
    PretrainedWeightsError
        If timm has none for this model.
    """
    import timm

    config = timm.models.get_pretrained_cfg(model_name)
    if config is None or not config.has_weights:
        raise PretrainedWeightsError(
            f"timm has no pretrained weights for model_name={model_name!r}. Name another model "
            "(timm.list_pretrained() lists those that have weights), give weights=<path of a "
            ".safetensors or .pth file>, or weights=None for random weights"
        )
    if config.hf_hub_id:
        return f"{config.hf_hub_id}/{config.hf_hub_filename or _HUB_FILES[0]}"
    return str(config.url or config.file)


def load_pretrained_model(model_name: str, **kwargs: Any) -> nn.Module:
    """Build a model with the weights that timm has for it.

    Parameters
    ----------
    model_name : str
        Name of a timm model, perhaps with a tag.
    **kwargs : dict
        Given to :func:`timm.create_model`.

    Returns
    -------
    model : torch.nn.Module

    Raises
    ------
    PretrainedWeightsError
        If the weights are out of reach; the message says what was sought and how to pass a file.
    """
    import timm

    origin = pretrained_origin(model_name)
    overlay = None
    cached = _find_in_hub_cache(model_name)
    if cached is not None:
        overlay = {"file": cached}
    elif not origin.startswith("http"):
        try:
            ask_hub()
        except Exception as error:  # requests' or httpx's, depending on the hub client's release
            raise _out_of_reach(model_name, origin, error) from error
    try:
        return timm.create_model(
            model_name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **kwargs
        )
    except Exception as error:  # The hub's client raises what its HTTP library raises.
        raise _out_of_reach(model_name, origin, error) from error


def load_weights_file(model_name: str, path: str, **kwargs: Any) -> nn.Module:
    """Build a model with the weights of a file.

    timm's own conversions apply: checkpoints of the original authors, position embeddings of
    another image size, half precision; and the names of Hugging Face's transformers (ViT, DINOv2)
    are known. A classifier is dropped; every other weight must be there and have its place.

    Parameters
    ----------
    model_name : str
        Name of a timm model.
    path : str
        A .safetensors file, or a file of :func:`torch.save` that holds weights only.
    **kwargs : dict
        Given to :func:`timm.create_model`.

    Returns
    -------
    model : torch.nn.Module

    Raises
    ------
    PretrainedWeightsError
        If the file cannot be read, or weights are missing, unexpected or of another shape.
    """
    import timm

    state_dict = _rename_transformers(_strip_prefix(_read_state_dict(path), path))
    config = timm.models.get_pretrained_cfg(model_name)
    heads = (config.classifier if config is not None else None) or "head"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state_dict = {k: v for k, v in state_dict.items() if not _belongs_to_head(k, heads)}
    if not state_dict:
        raise PretrainedWeightsError(f"{path} holds a classifier's weights only")
    _check_patch_size(state_dict, model_name, path, kwargs)
    # As if the weights' own number of classes were 0: timm then insists on every other weight.
    overlay = {"state_dict": state_dict, "num_classes": 0, "source": "", "custom_load": False}
    try:
        model = timm.create_model(
            model_name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **kwargs
        )
    except Exception as error:  # Converters fail in their own ways on weights of other models.
        raise PretrainedWeightsError(
            f"the weights in {path} do not fit model_name={model_name!r}: "
            f"{_shorten_mismatch(error)}"
        ) from error
    model.pretrained_cfg["state_dict"] = None  # timm would keep a second copy of all weights
    return model


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise PretrainedWeightsError(
            f"there is no weights file {path}: weights must be 'pretrained', None, or the path of "
            "a .safetensors or .pth file"
        )


def _read_state_dict(path: str) -> dict[str, Any]:
    import timm

    _check_file(path)
    if not path.endswith(_SUFFIXES):
        raise PretrainedWeightsError(
            f"{path} ends with none of {', '.join(_SUFFIXES)}: save the weights with "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    try:
        if path.endswith(".safetensors"):
            check_checksum(path)
        state_dict = timm.models.load_state_dict(path, device="cpu", weights_only=True)
    except PretrainedWeightsError:
        raise
    except Exception as error:  # Each format's reader has errors of its own.
        # PyTorch advises to let the file run code.
        advises = "weights_only" in str(error)
        reason = type(error).__name__ if advises else textwrap.shorten(str(error), 1000)
        raise PretrainedWeightsError(
            f"{path} could not be read as weights: {reason}. Only "
            "tensors are loaded, never pickled code: save model.state_dict(), not the model"
        ) from error
    if isinstance(state_dict, dict):
        # DINO keeps its networks in dictionaries of their own.
        nested = {k: v for k, v in state_dict.items() if isinstance(v, dict)}
        if nested and not any(hasattr(v, "shape") for v in state_dict.values()):
            state_dict = {f"{k}.{name}": v for k, d in nested.items() for name, v in d.items()}
    if not isinstance(state_dict, dict) or not any(
        hasattr(v, "shape") for v in state_dict.values()
    ):
        raise PretrainedWeightsError(f"{path} holds no weights (no dictionary of tensors)")
    return state_dict


def _strip_prefix(state_dict: dict[str, Any], path: str) -> dict[str, Any]:
    """Take a network out of what it was trained in: DINO's teacher, a wrapper, a detector."""
    firsts = [key for key in state_dict if key.endswith(_FIRST_LAYER)]
    prefixes = sorted({key.removesuffix(_FIRST_LAYER) for key in firsts})
    wrapped = [p for p in prefixes if p and all(part in _WRAPPERS for part in p[:-1].split("."))]
    if not wrapped or wrapped != prefixes:
        return state_dict
    if len(wrapped) > 1:
        wrapped = [prefix for prefix in wrapped if "teacher" in prefix.split(".")]
    if len(wrapped) != 1:
        raise PretrainedWeightsError(
            f"{path} holds several networks ({', '.join(map(repr, prefixes))}): save the one that "
            "is meant, without its prefix"
        )
    prefix = wrapped[0]
    outer = prefix.removesuffix("backbone.")
    rest = [
        key
        for key in state_dict
        if not key.startswith(prefix)
        and not (len(prefixes) > 1 and not key.startswith(outer))
        and not any("head" in part for part in key.removeprefix(outer).split(".")[:1])
    ]
    if rest:
        raise PretrainedWeightsError(
            f"{path} holds weights beside those of the network {prefix!r}, such as {rest[0]!r}: "
            "save the network alone, without its prefix"
        )
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}


# Names that transformers gives to the layers of ViT and DINOv2, and timm's.
_LAYERS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_STEM = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": _FIRST_LAYER,
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_QUERY = re.compile(r"(?:.*\.)?encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)")


def _rename_transformers(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Give weights of Hugging Face's transformers timm's names, and leave all others alone."""
    import torch

    first = "embeddings.patch_embeddings.projection.weight"
    prefix = next((k.removesuffix(first) for k in state_dict if k.endswith(first)), None)
    if prefix is None:
        return state_dict
    named: dict[str, Any] = {}
    for key, value in state_dict.items():
        key = key.removeprefix(prefix)
        parts = key.split(".")
        if query := _QUERY.fullmatch(key):
            three = [key.replace("query", name) for name in ("query", "key", "value")]
            joined = torch.cat([state_dict[f"{prefix}{name}"] for name in three])
            named[f"blocks.{query[1]}.attn.qkv.{query[2]}"] = joined
        elif key.startswith("encoder.layer."):
            inner = ".".join(parts[3:])
            last = "" if inner in _LAYERS else f".{parts[-1]}"
            layer = _LAYERS.get(inner.removesuffix(last))
            if layer is not None:
                named[f"blocks.{parts[2]}.{layer}{last}"] = value
            elif not inner.startswith(("attention.attention.key", "attention.attention.value")):
                named[key] = value
        elif key != "embeddings.mask_token" and not key.startswith("pooler."):
            named[_STEM.get(key, key)] = value
    return named


def _check_patch_size(
    state_dict: dict[str, Any], model_name: str, path: str, kwargs: dict[str, Any]
) -> None:
    """Refuse weights of another patch size, which timm would resample without a word."""
    import timm
    import torch

    found = {tuple(w.shape[-2:]) for w in state_dict.values() if _sees_pixels(w)}
    try:
        with torch.device("meta"):
            model = timm.create_model(model_name, num_classes=0, **kwargs)
    except (RuntimeError, NotImplementedError):
        model = timm.create_model(model_name, num_classes=0, **kwargs)
    wanted = {tuple(w.shape[-2:]) for w in model.state_dict().values() if _sees_pixels(w)}
    if found and wanted and not found & wanted:
        (height, width), (own, _) = min(found), min(wanted)
        raise PretrainedWeightsError(
            f"the weights in {path} do not fit model_name={model_name!r}: they are made for "
            f"patches of {height} x {width} pixels, the model has {own} x {own}"
        )


def _sees_pixels(weight: Any) -> bool:
    """Tell whether a weight is a convolution of the three colours."""
    return getattr(weight, "ndim", 0) == 4 and weight.shape[1] == 3


def _shorten_mismatch(error: Exception) -> str:
    """Say in a line what torch lists in hundreds."""
    text = str(error) or type(error).__name__
    parts = []
    for kind in ("Missing", "Unexpected"):
        found = re.search(rf"{kind} key\(s\) in state_dict: (.*?)\.\s", f"{text}\n", re.DOTALL)
        if found:
            names = [name.strip(' "') for name in found[1].split(",")]
            parts.append(f"{kind.lower()} {list_some(names, 3)}")
    sizes = re.findall(r"size mismatch for ([^:]+):", text)
    if sizes:
        parts.append(f"of another shape {list_some(sizes, 3)}")
    return "; ".join(parts) if parts else textwrap.shorten(text, 400)


def _belongs_to_head(key: str, heads: tuple[str, ...]) -> bool:
    # Checkpoints of image-text models put the image part under a prefix of its own.
    return any(
        key in (f"{prefix}{head}.weight", f"{prefix}{head}.bias")
        for head in heads
        for prefix in ("", "visual.", "visual.trunk.")
    )


def _find_in_hub_cache(model_name: str) -> str | None:
    """Return the local copy of a model's weights, so that no network is asked for it."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.models.get_pretrained_cfg(model_name)
    if config is None or not config.hf_hub_id or config.custom_load:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    for name in names:
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            return found
    return None


def ask_hub() -> None:
    """Ask once whether the hub answers: its client keeps trying for most of a minute.

    Raises
    ------
    Exception
        Of its HTTP library, if it does not.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT)


def _out_of_reach(model_name: str, origin: str, error: Exception) -> PretrainedWeightsError:
    folder, _, name = origin.rpartition("/")
    if origin.startswith("http"):
        place, command = "", f"curl -LO {origin}"
    else:
        place = " on the Hugging Face Hub, and in its local cache"
        command = f"hf download {folder} {name}"
    return PretrainedWeightsError(
        f"the pretrained weights of model_name={model_name!r} could not be loaded. Sought: "
        f"{origin}{place}. "
        f"Reason: {textwrap.shorten(str(error) or type(error).__name__, 500)}\n"
        "Without network: on a machine that has it, run\n"
        f"    {command}\n"
        f"copy the file and pass its path: weights='/path/to/{name}'. "
        "weights=None gives random weights, which are good for trials only."
    )
