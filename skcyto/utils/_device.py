"""Choose where and how precisely a network runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a `device` parameter into a torch device that exists here.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one, then Apple's MPS, then the CPU; anything else is
        given to :class:`torch.device`.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the device is unknown or not present on this machine.
    """
    import torch

    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is no torch device: use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ValueError(
                f"device={device!r} was asked for, but torch sees no CUDA device here; "
                "use device='auto' or device='cpu'"
            )
        if resolved.index is not None and resolved.index >= count:
            raise ValueError(f"device={device!r} was asked for, but torch sees {count} device(s)")
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device={device!r} was asked for, but MPS is not available here")
    return resolved


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Turn a `precision` parameter into the dtype that a network computes in.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float16"}
        "auto" is bfloat16 on CUDA devices that have it and float32 elsewhere.
    device : torch.device
        Where the network runs.

    Returns
    -------
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If `precision` is none of the above.
    """
    import torch

    if precision == "auto":
        if device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float32
    dtypes = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if precision not in dtypes:
        raise ValueError(f"precision={precision!r} must be 'auto' or one of {sorted(dtypes)}")
    return dtypes[precision]


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device.

    Parameters
    ----------
    device : torch.device
        A GPU; for anything else there is no bound.

    Returns
    -------
    n_bytes : float
    """
    import torch

    if device.type != "cuda":
        return float("inf")
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds in reserve is free for it, too.
    return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
