"""Intraclass correlation of many features at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ICC_FORMS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")
# Variance that rounding leaves of equal values.
_ROUNDING = 1e-12


def intraclass_correlation(
    measurements: NDArray[np.float64], form: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the intraclass correlation of each feature.

    Parameters
    ----------
    measurements : ndarray of shape (n_subjects, n_measurements, n_features)
        NaN is missing: a subject that lacks a measurement of a feature is left out for it.
    form : str
        One of ``ICC_FORMS``, as in Shrout and Fleiss.

    Returns
    -------
    icc : ndarray of shape (n_features,)
        NaN where there are fewer than two complete subjects, or all values are equal.
    n_subjects : ndarray of int, shape (n_features,)
        Complete subjects.
    """
    k = measurements.shape[1]
    complete = ~np.isnan(measurements).any(axis=1, keepdims=True)
    n = complete.sum(axis=(0, 1))
    largest = np.max(np.abs(measurements), axis=(0, 1), where=complete, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # In units of the largest value, and from the mean, sums of squares neither overflow nor
        # cancel.
        values = np.where(complete, measurements / np.where(largest > 0, largest, 1.0), 0.0)
        values = np.where(complete, values - values.sum(axis=(0, 1)) / (n * k), 0.0)
        total = (values**2).sum(axis=(0, 1))
        between = k * (values.mean(axis=1) ** 2).sum(axis=0)
        raters = n * ((values.sum(axis=0) / n) ** 2).sum(axis=0)
        rest = np.maximum(total - between - raters, 0.0)
        msb, msj = between / (n - 1), raters / (k - 1)
        mse = rest / ((n - 1) * (k - 1))
        msw = (raters + rest) / (n * (k - 1))
        single = form.endswith("1)")
        if form.startswith("ICC(1"):
            icc = (msb - msw) / (msb + (k - 1) * msw if single else msb)
        elif form.startswith("ICC(2"):
            icc = (msb - mse) / (
                msb + (k - 1) * mse + k * (msj - mse) / n if single else msb + (msj - mse) / n
            )
        else:
            icc = (msb - mse) / (msb + (k - 1) * mse if single else msb)
    constant = total <= _ROUNDING**2 * n * k
    return np.where((n < 2) | constant, np.nan, icc), n
