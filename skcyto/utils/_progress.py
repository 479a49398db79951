"""One way to show progress: a widget in notebooks, a line in terminals, one level at a time."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

_shown: WeakSet[Any] = WeakSet()


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "it",
    verbose: int | bool = 0,
) -> Any:
    """Return a tqdm progress bar that is silent unless `verbose` is positive.

    What runs inside a bar that is shown has none of its own: the lines of nested bars overwrite
    one another, and where output goes to a file there are hundreds of them.

    Parameters
    ----------
    iterable : iterable or None
        What to iterate over; None for a bar that is advanced by hand with ``update``.
    total : int or None
        Number of steps where `iterable` has no length.
    desc : str
        Text before the bar.
    unit : str, default="it"
        Name of one step.
    verbose : int or bool, default=0
        The bar is shown for values above 0.

    Returns
    -------
    bar : tqdm.tqdm
        Also a context manager.
    """
    from tqdm.auto import tqdm

    # tqdm disables a bar when it is closed.
    nested = any(not bar.disable for bar in tuple(_shown))
    disable = not verbose or nested
    bar = tqdm(iterable, total=total, desc=desc, unit=unit, disable=disable)
    if not disable:
        _shown.add(bar)
    return bar
