"""How much may be computed at a time."""

from collections.abc import Iterator

from sklearn import get_config


def batches(n: int, size: int) -> Iterator[slice]:
    """Cut ``range(n)`` into slices of at most `size`; none where `n` is 0."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def rows_in_memory(row_length: int, *, copies: int = 1) -> int:
    """Return how many float64 rows fit scikit-learn's ``working_memory`` (MiB), at least one.

    Parameters
    ----------
    row_length : int
        Values in a row.
    copies : int, default=1
        Arrays of that size that live at the same time.

    Returns
    -------
    n_rows : int
    """
    budget = get_config()["working_memory"] * 2**20
    return max(1, int(budget // (8 * copies * max(1, row_length))))
