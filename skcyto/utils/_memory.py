"""Tell out-of-memory errors of a device from other errors, and free what can be freed."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# What torch says where it raises a plain RuntimeError: MPS, the CPU, and CUDA's own libraries.
_PHRASES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device's memory is full.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    full : bool
    """
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(p in str(error).lower() for p in _PHRASES)


def release_memory(device: torch.device) -> None:
    """Give back the memory that torch holds in reserve on a device.

    Parameters
    ----------
    device : torch.device
        Which one.
    """
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
