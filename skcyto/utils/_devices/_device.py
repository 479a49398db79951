"""Choose where and how precisely a network runs."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a `device` parameter into a torch device that exists here.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one, then Apple's MPS, then the CPU; anything else is
        given to :class:`torch.device`. Of several CUDA devices, "auto" gives the workers of
        joblib one after another, and everyone else the current one.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the device is unknown or not present on this machine.
    RuntimeError
        If the process is a fork, in which CUDA must not be used.
    """
    import torch

    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            _refuse_fork(device)
            worker, count = _worker_number(), torch.cuda.device_count()
            if worker is not None and count > 1:
                return torch.device("cuda", worker % count)
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
        _refuse_fork(device)
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


def _worker_number() -> int | None:
    """Return the number, from 0, of this worker of joblib or multiprocessing; None in others.

    Numbers are given out in the order in which workers start, so that any so many of them in a
    row are spread evenly over the devices. The workers of a Dask cluster have none: there, each
    worker is best shown its own device (``CUDA_VISIBLE_DEVICES``).
    """
    identity = multiprocessing.current_process()._identity
    return identity[-1] - 1 if identity else None


def _refuse_fork(device: str | torch.device) -> None:
    """Raise an error in a forked process, whose copy of CUDA's state is broken or soon will be."""
    import torch

    is_fork = type(multiprocessing.current_process()).__name__ == "ForkProcess"
    if is_fork or torch.cuda._is_in_bad_fork():
        raise RuntimeError(
            f"device={str(device)!r} was asked for in a forked process, where CUDA can't be used: "
            "run the jobs on joblib's default backend, 'loky', which starts fresh processes (not "
            "on 'multiprocessing', which forks), or set device='cpu'"
        )


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
