"""Name features in messages."""

from __future__ import annotations

import numpy as np


def list_names(names: np.ndarray, limit: int = 5) -> str:
    """Count names and show the first of them."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} feature(s) ({shown}{rest})"
