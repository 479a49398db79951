"""Compare rankings of the same features."""

from __future__ import annotations

from itertools import combinations
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr


def ranking_stability(importances: np.ndarray, top: int) -> pd.DataFrame:
    """Describe each feature's rank over repeats.

    Parameters
    ----------
    importances : ndarray of shape (n_repeats, n_features)
        One ranking a row.
    top : int
        Number of leading ranks for ``top_frequency``.

    Returns
    -------
    stability : pandas.DataFrame
        One row a feature.
    """
    _check_top(top)
    ranks = rankdata(-importances, axis=1, method="average")
    return pd.DataFrame(
        {
            "rank_mean": ranks.mean(axis=0),
            "rank_std": ranks.std(axis=0, ddof=1),
            "rank_min": ranks.min(axis=0),
            "rank_max": ranks.max(axis=0),
            "top_frequency": (ranks <= top).mean(axis=0),
        }
    )


def _check_top(top: int) -> None:
    if not isinstance(top, Integral) or top < 1:
        raise ValueError(f"top={top!r} must be an int of at least 1")


def rank_agreement(importances: np.ndarray, top: int) -> pd.Series:
    """Average the agreement of all pairs of rankings.

    Parameters
    ----------
    importances : ndarray of shape (n_repeats, n_features)
        One ranking a row.
    top : int
        Number of leading ranks that are compared.

    Returns
    -------
    agreement : pandas.Series
        ``spearman``, ``top_overlap`` and ``same_first``.
    """
    _check_top(top)
    orders = np.argsort(-importances, axis=1, kind="stable")
    size = min(top, importances.shape[1])
    rows = [
        (
            spearmanr(importances[i], importances[j]).statistic,
            len(np.intersect1d(orders[i, :size], orders[j, :size])) / size,
            float(orders[i, 0] == orders[j, 0]),
        )
        for i, j in combinations(range(len(importances)), 2)
    ]
    return pd.Series(np.mean(rows, axis=0), index=["spearman", "top_overlap", "same_first"])
