"""A checksum in the metadata of weights that skcyto writes, looked at when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skcyto.exceptions import PretrainedWeightsError

if TYPE_CHECKING:
    import torch

_KEY = "skcyto.sha256"


def add_checksum(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> dict[str, str]:
    """Add a checksum of tensors and metadata to the metadata.

    Parameters
    ----------
    tensors : mapping of str to tensor
        Of the CPU.
    metadata : mapping of str to str

    Returns
    -------
    metadata : dict of str to str
    """
    return {**metadata, _KEY: _hash(tensors, metadata)}


def check_checksum(path: str) -> None:
    """Refuse weights that are not what skcyto wrote; others have no checksum.

    Parameters
    ----------
    path : str
        A safetensors file.

    Raises
    ------
    PretrainedWeightsError
        If the checksum is another.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        expected = metadata.pop(_KEY, None)
        if expected is None:
            return
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _hash(tensors, metadata) != expected:
        raise PretrainedWeightsError(
            f"the weights in {path} are damaged: they do not have the checksum that they were "
            "saved with. Copy the file again, or save the weights again"
        )


def _hash(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    import torch

    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
