"""What an embedding depends on beside its image, as the key of a cache."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from skcyto.feature_extraction._embedding._tokens import RAW
from skcyto.utils._backbones._source import BackboneInfo
from skcyto.utils._images._decoding import describe_reader

if TYPE_CHECKING:
    import torch

# Raise it when an embedding would come out otherwise than before for a reason not named elsewhere.
_FORMAT_VERSION = 1


def fingerprint(info: BackboneInfo, weights: str, kind: str, precision: torch.dtype) -> bytes:
    """Hash everything that determines an embedding beside the image.

    Parameters
    ----------
    info : BackboneInfo
        Description of the network.
    weights : str
        The same if, and only if, the weights are the same.
    kind : {"raw", "normed", "pooled"}
        What the network gives.
    precision : torch.dtype
        What it computes in.

    Returns
    -------
    digest : bytes
    """
    parts = {
        "format": _FORMAT_VERSION,
        "reader": describe_reader(),
        "model": info.model_name,
        "weights": weights,
        "preprocessing": dict(info.data_config),
        "precision": str(precision),
    }
    if kind != RAW:  # Left out otherwise: what older caches hold stays good.
        parts["kind"] = kind
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).digest()
