"""How kernels are compiled, and where that is kept for the next process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
    options = {"error_model": "numpy", "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no folder to write to
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
