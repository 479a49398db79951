"""Name features in messages."""

from __future__ import annotations

import numpy as np

from skcyto.utils._wording import list_some


def list_names(names: np.ndarray) -> str:
    """Count names and show the first of them."""
    return f"{len(names)} feature(s) ({list_some(repr(str(name)) for name in names)})"
