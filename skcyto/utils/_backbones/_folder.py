"""Folders that hold a model as timm and the Hugging Face Hub lay it out, here or on the hub."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from skcyto.exceptions import PretrainedWeightsError
from skcyto.utils._backbones._weights import ask_hub

CONFIG = "config.json"
_HUB = ("hf-hub:", "hf_hub:")
_LOCAL = "local-dir:"
# Weights in a folder, in the order in which timm looks for them.
_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


def is_folder(model_name: str) -> bool:
    """Tell whether a `model_name` stands for a folder, here or on the hub, and not for a name."""
    return model_name.startswith((*_HUB, _LOCAL)) or any(c in model_name for c in "/\\~")


def find_folder(model_name: str) -> str:
    """Return the absolute path of a folder with a `config.json`, fetched if it is on the hub.

    Parameters
    ----------
    model_name : str
        ``hf-hub:owner/name``, with ``@revision`` at will, ``local-dir:`` and a path, or a path.

    Returns
    -------
    path : str

    Raises
    ------
    PretrainedWeightsError
        If there is no such folder, nothing in it says what the model is, or the hub refuses or
        does not answer.
    """
    if model_name.startswith(_HUB):
        return os.path.dirname(_fetch(model_name.partition(":")[2], (CONFIG,)))
    path = os.path.abspath(os.path.expanduser(model_name.removeprefix(_LOCAL)))
    if not os.path.isdir(path):
        raise PretrainedWeightsError(
            f"model_name={model_name!r}: there is no folder {path}. Give the name of a timm model, "
            "'hf-hub:owner/name', or a folder that holds config.json and model.safetensors"
        )
    if not os.path.isfile(os.path.join(path, CONFIG)):
        raise PretrainedWeightsError(
            f"model_name={model_name!r}: the folder {path} has no {CONFIG}, which says what the "
            "model is. Fetch it from where the weights come from; or give timm's name of the "
            "architecture as model_name, and the file as weights='/path/to/model.safetensors'"
        )
    return path


def find_weights(model_name: str, folder: str) -> str:
    """Return the path of the weights in a folder, fetched if it is on the hub.

    Parameters
    ----------
    model_name : str
        As for :func:`find_folder`.
    folder : str
        What that returned.

    Returns
    -------
    path : str

    Raises
    ------
    PretrainedWeightsError
        If there are none, or the hub refuses or does not answer.
    """
    if model_name.startswith(_HUB):
        return _fetch(model_name.partition(":")[2], _FILES[:2])
    for name in _FILES:
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise PretrainedWeightsError(
        f"model_name={model_name!r}: the folder {folder} holds none of {', '.join(_FILES)}. Fetch "
        "the weights, give their path as weights=, or take weights=None for random weights"
    )


def read_config(path: str) -> dict[str, Any] | None:
    """Read a config.json of timm.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    content : dict or None
        With architecture, pretrained_cfg and model_args; None if it is none of timm's.

    Raises
    ------
    PretrainedWeightsError
        If it is no JSON.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PretrainedWeightsError(f"{path} beside the weights is no JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        return None
    return {
        "architecture": content["architecture"],
        "pretrained_cfg": content.get("pretrained_cfg", content),
        "model_args": content.get("model_args") or {},
    }


def _fetch(repository: str, names: tuple[str, ...]) -> str:
    """Return the first of some files of a repository, from the hub's cache or the hub itself."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    owner, _, revision = repository.partition("@")
    for name in names:
        found = try_to_load_from_cache(owner, name, revision=revision or None)
        if isinstance(found, str):
            return found
    page = f"https://huggingface.co/{owner}"
    try:
        ask_hub()
        for name in names:
            try:
                return str(hf_hub_download(owner, name, revision=revision or None))
            except EntryNotFoundError:
                continue
        reason = f"the repository has no {' or '.join(names)}"
    except GatedRepoError:
        reason = f"it is gated: ask for access on {page}, then log in with `hf auth login`"
    except RepositoryNotFoundError:
        reason = f"there is no {page}, or it is private: log in with `hf auth login`"
    except Exception as error:  # The hub's client raises what its HTTP library raises.
        reason = textwrap.shorten(str(error) or type(error).__name__, 500)
    raise PretrainedWeightsError(
        f"model_name='hf-hub:{repository}' could not be had from the Hugging Face Hub, nor from "
        f"its local cache. Reason: {reason}\n"
        "Without network: on a machine that has it, run\n"
        f"    hf download {owner} --local-dir {owner.rpartition('/')[2]}\n"
        "copy the folder and pass its path as model_name"
    )
