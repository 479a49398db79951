"""Visit the objects that a pipeline is made of."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

_LEAVES = (str, bytes, bool, int, float, complex, type(None), type, FunctionType, ModuleType)
# Objects of these packages are written as a whole, or by the estimator that holds them.
_OPAQUE = {"numpy", "pandas", "scipy", "skorch", "timm", "torch"}


def walk(root: Any) -> Iterator[Any]:
    """Yield an object and all that it holds, each once.

    Parameters
    ----------
    root : object
        Where to start.

    Yields
    ------
    item : object
        Estimators, containers, arrays and other objects; no numbers, texts, functions or types.
    """
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _LEAVES) or id(item) in seen:
            continue
        seen[id(item)] = item  # holds on to it, so that its id stays its own
        yield item
        waiting.extend(reversed(_children(item)))


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if isinstance(item, np.ndarray):
        return item.ravel().tolist() if item.dtype == object else []
    if any(base.__module__.partition(".")[0] in _OPAQUE for base in type(item).__mro__):
        return []
    return list(getattr(item, "__dict__", {}).values())
