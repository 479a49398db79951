"""Tell out-of-memory errors of a device from other errors, and free what can be freed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from skcyto.exceptions import DeviceMemoryError

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

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


class BatchHalver:
    """Do work in batches that are halved until they fit into a device's memory.

    Parameters
    ----------
    device : torch.device
        Where the work is done.
    batch_size : int
        Largest batch.
    make_error : callable
        Makes the error for the case that not even a batch of one fits, from torch's message.

    Attributes
    ----------
    batch_size : int
        Largest batch that has not failed yet.
    make_error : callable
        As given.
    """

    def __init__(
        self, device: torch.device, batch_size: int, make_error: Callable[[str], DeviceMemoryError]
    ) -> None:
        self.device = device
        self.batch_size = int(batch_size)  # of numpy, torch takes no integer
        self.make_error = make_error

    def run(self, work: Callable[[int], Result]) -> Result:
        """Do a piece of work, again from its beginning with a smaller batch where memory is short.

        Parameters
        ----------
        work : callable
            Takes the batch size.

        Returns
        -------
        result : object
            What `work` returned.

        Raises
        ------
        DeviceMemoryError
            If memory does not hold a batch of one.
        """
        while True:
            try:
                return work(self.batch_size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # Out here the error, and with it every tensor that its traceback held, is gone.
            release_memory(self.device)
            if self.batch_size == 1:
                raise self.make_error(reason)
            self.batch_size //= 2


@contextmanager
def shortage_raises(make_error: Callable[[str], DeviceMemoryError]) -> Iterator[None]:
    """Raise a clear error where memory is short inside the block.

    Parameters
    ----------
    make_error : callable
        Makes it from torch's message.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise make_error(str(error)) from error


def describe_shortage(
    device: torch.device, task: str, model_name: str, image_size: int, remedy: str, reason: str
) -> DeviceMemoryError:
    """Say that a device's memory is too small for one image, and what to do.

    Parameters
    ----------
    device : torch.device
        Which one.
    task : str
        What failed, before "one image of ...".
    model_name : str
        Name of the network.
    image_size : int
        In pixels.
    remedy : str
        What to choose instead.
    reason : str
        torch's own message.

    Returns
    -------
    error : DeviceMemoryError
    """
    return DeviceMemoryError(
        f"{device} has not enough memory {task} one image of {image_size} x {image_size} pixels "
        f"in model_name={model_name!r}: {reason}\n"
        f"Choose {remedy}, or end other programs that use the device."
    )
