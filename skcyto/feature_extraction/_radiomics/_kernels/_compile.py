"""How kernels are compiled, and where that is kept for the next process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile a function on its first call, and keep the result on disk where that can be.

    The place is numba's: ``NUMBA_CACHE_DIR`` where it is set, or else beside the package, or else
    the user's own cache folder. Where nothing can be written, every process compiles anew.
    Sums are not reordered (no ``fastmath``), as results must be those of the plain code.

    Parameters
    ----------
    function : callable

    Returns
    -------
    compiled : callable
    """
    njit: Any = partial(numba.njit, error_model="numpy", nogil=True)
    try:
        return cast("_Function", njit(cache=True)(function))
    except RuntimeError:  # numba found no folder to write to
        return cast("_Function", njit()(function))
