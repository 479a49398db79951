"""Lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def list_some(items: Iterable[object], most: int = 5, between: str = ", ") -> str:
    """Name the first items, and how many more there are.

    Parameters
    ----------
    items : iterable
        What to name.
    most : int, default=5
        How many of them.
    between : str, default=", "
        Stands between them.

    Returns
    -------
    text : str
    """
    texts = [str(item) for item in items]
    shown = between.join(texts[:most])
    return f"{shown} and {len(texts) - most} more" if len(texts) > most else shown
