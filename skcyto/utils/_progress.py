"""One way to show progress."""

from collections.abc import Iterable
from typing import Any


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "it",
    verbose: int | bool = 0,
) -> Any:
    """Return a tqdm progress bar that is silent unless `verbose` is positive.

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

    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=not verbose)
