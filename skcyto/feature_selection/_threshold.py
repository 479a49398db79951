"""Turn a `threshold` parameter into the number that importances are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Fewer points than this show no bend.
_MIN_TAIL = 3


def resolve_threshold(importances: np.ndarray, threshold: float | str) -> float:
    """Return the number above which (strictly) an importance is kept.

    Parameters
    ----------
    importances : ndarray of shape (n_features,)
        Not negative.
    threshold : float or str
        A number, "mean", "median", "knee", or a multiple such as "0.5*mean".

    Returns
    -------
    threshold : float

    Raises
    ------
    ValueError
        If a string is none of the above.
    """
    if not isinstance(threshold, str):
        return float(threshold)
    factor, star, reference = threshold.rpartition("*")
    statistic = _STATISTICS.get(reference.strip())
    try:
        scale = float(factor) if star else 1.0
    except ValueError:
        statistic = None
    if statistic is None:
        raise ValueError(
            f"threshold={threshold!r} is not understood: use a number, 'mean', 'median', 'knee', "
            "or a multiple of one of them such as '0.5*mean'"
        )
    return scale * statistic(importances)


def knee_threshold(importances: np.ndarray) -> float:
    """Find where sorted importances fall off a cliff in their lower tail.

    The positive importances are sorted in decreasing order, ``v[0] >= ... >= v[m - 1]``, and a
    chord joins the two ends of the curve of ``log10(v)`` over the ranks. Among the points from the
    middle rank ``m // 2`` on, the lower tail, the knee ``k`` is the one farthest above the chord,
    the last one before the fall, and the threshold is the next value, ``v[k + 1]``, so that strict
    ``>`` keeps exactly ``v[0], ..., v[k]``.

    Values that are nothing but rounding beside the largest one (below machine epsilon times it)
    count as zero. Where the tail has no point above the chord, so no knee, that bound is the
    threshold and all positive importances are kept.

    Parameters
    ----------
    importances : ndarray of shape (n_features,)
        Not negative.

    Returns
    -------
    threshold : float
    """
    floor = float(np.finfo(np.float64).eps * importances.max(initial=0.0))
    positive = np.sort(importances[importances > floor])[::-1]
    start = len(positive) // 2
    if len(positive) - start < _MIN_TAIL:
        return floor
    curve = np.log10(positive)
    # A chord over all ranks is steadier than one whose upper end is the median. For a given chord
    # the vertical and the perpendicular distance are largest at the same point.
    height = (curve - np.linspace(curve[0], curve[-1], len(curve)))[start:]
    knee = int(np.argmax(height))
    if height[knee] <= 1e-9 * (curve[0] - curve[-1]):
        return floor
    return float(positive[start + knee + 1])


_STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "knee": knee_threshold,
    "mean": lambda importances: float(np.mean(importances)),
    "median": lambda importances: float(np.median(importances)),
}
