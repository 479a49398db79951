"""p-values of many tests at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def correct_pvalues(pvalues: NDArray[np.float64], correction: str | None) -> NDArray[np.float64]:
    """Correct p-values for the number of tests made; NaN stays NaN and is no test.

    Parameters
    ----------
    pvalues : ndarray of shape (n_tests,)
    correction : {"fdr_bh", "bonferroni", "holm"} or None

    Returns
    -------
    corrected : ndarray of shape (n_tests,)
    """
    tested = np.isfinite(pvalues)
    if correction is None or not tested.any():
        return pvalues.copy()
    from statsmodels.stats.multitest import multipletests

    corrected = np.full_like(pvalues, np.nan)
    corrected[tested] = multipletests(pvalues[tested], method=correction)[1]
    return corrected
