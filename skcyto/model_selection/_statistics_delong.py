"""DeLong's test of paired areas under ROC curves, for single cases and for clusters of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.utils.validation import column_or_1d


class DeLongResult(NamedTuple):
    """What :func:`delong_test` finds.

    Parameters
    ----------
    statistic : float
        z statistic of the difference.
    pvalue : float
        Two-sided p-value.
    auc_a, auc_b : float
        Areas.
    difference : float
        ``auc_a - auc_b``.
    ci_low, ci_high : float
        Confidence interval of the difference.
    """

    statistic: float
    pvalue: float
    auc_a: float
    auc_b: float
    difference: float
    ci_low: float
    ci_high: float


def delong_test(
    y_true: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
) -> DeLongResult:
    """Compare the areas under the ROC curves of two scores of the same cases.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True for the positive class (or 1), False (or 0) for the rest.
    scores_a, scores_b : array-like of shape (n_samples,)
        Larger for the positive class.
    groups : array-like of shape (n_samples,), default=None
        Patient of each case. Images of one patient are no independent cases: with groups the
        covariance is Obuchowski's for clustered data, which is DeLong's when every group has one
        case.
    confidence : float, default=0.95
        Coverage of the interval.

    Returns
    -------
    result : DeLongResult
        The p-value is 1 for scores that order all cases alike.

    Raises
    ------
    ValueError
        If either class has fewer than two cases (with groups: comes from fewer than two groups)
        or the arrays do not match.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), 837; Obuchowski, "Nonparametric
    analysis of clustered ROC curve data", Biometrics 53 (1997), 567.

    Examples
    --------
    >>> from skcyto.model_selection import delong_test
    >>> y = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> result = delong_test(y, [1, 2, 3, 5, 4, 6, 7, 8], [3, 2, 6, 5, 4, 1, 7, 8])
    >>> result.auc_a, result.auc_b, round(result.pvalue, 3)
    (0.9375, 0.625, 0.202)
    """
    areas, covariance = delong_covariance(y_true, np.vstack([scores_a, scores_b]), groups=groups)
    return compare_areas(areas, covariance, confidence=confidence)


def compare_areas(
    areas: NDArray[np.float64], covariance: NDArray[np.float64], *, confidence: float = 0.95
) -> DeLongResult:
    """Test two areas given their covariance.

    Parameters
    ----------
    areas : ndarray of shape (2,)
        Areas under the curves.
    covariance : ndarray of shape (2, 2)
        Their covariance.
    confidence : float, default=0.95
        Coverage of the interval.

    Returns
    -------
    result : DeLongResult
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must lie between 0 and 1")
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    if error <= 1e-12:
        z = 0.0 if abs(difference) <= 1e-12 else float(np.copysign(np.inf, difference))
        error = 0.0
    else:
        z = difference / error
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * error
    return DeLongResult(
        z,
        float(2 * stats.norm.sf(abs(z))),
        float(areas[0]),
        float(areas[1]),
        difference,
        difference - half,
        difference + half,
    )


def delong_covariance(
    y_true: ArrayLike, scores: ArrayLike, *, groups: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas under the ROC curves of several scores and the covariance of these areas.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True for the positive class.
    scores : array-like of shape (n_models, n_samples)
        Larger for the positive class.
    groups : array-like of shape (n_samples,), default=None
        Cluster of each case.

    Returns
    -------
    areas : ndarray of shape (n_models,)
    covariance : ndarray of shape (n_models, n_models)
    """
    positive = _as_boolean(y_true)
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    if scores.shape[1] != len(positive):
        raise ValueError(f"{scores.shape[1]} scores were given for {len(positive)} labels")
    if not np.all(np.isfinite(scores)):
        raise ValueError("the scores hold NaN or infinity")
    clusters = np.arange(len(positive)) if groups is None else column_or_1d(groups)
    if len(clusters) != len(positive):
        raise ValueError(f"{len(clusters)} groups were given for {len(positive)} labels")
    _, codes = np.unique(clusters, return_inverse=True)
    m, n = int(positive.sum()), int((~positive).sum())
    clusters_positive = len(np.unique(codes[positive]))
    clusters_negative = len(np.unique(codes[~positive]))
    if min(clusters_positive, clusters_negative) < 2:
        raise ValueError(
            "DeLong's variance needs two independent cases of either class (with groups: cases of "
            f"two groups); there are {clusters_positive} positive and {clusters_negative} negative"
        )
    # Mid-ranks give every case's share of the area in n log n (Sun and Xu, 2014).
    ranks = stats.rankdata(scores, axis=1)
    placements = np.empty_like(scores)
    placements[:, positive] = (ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / n
    placements[:, ~positive] = (
        1 - (ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / m
    )
    areas = placements[:, positive].mean(axis=1)
    centred = placements - areas[:, None]
    n_clusters = int(codes.max()) + 1
    sums_positive = _sum_by(codes, np.where(positive, centred, 0.0), n_clusters)
    sums_negative = _sum_by(codes, np.where(positive, 0.0, centred), n_clusters)
    s10 = clusters_positive / (clusters_positive - 1) * sums_positive @ sums_positive.T / m**2
    s01 = clusters_negative / (clusters_negative - 1) * sums_negative @ sums_negative.T / n**2
    cross = n_clusters / (n_clusters - 1) * sums_positive @ sums_negative.T / (m * n)
    return areas, s10 + s01 + cross + cross.T


def _as_boolean(y_true: ArrayLike) -> NDArray[np.bool_]:
    values = column_or_1d(y_true)
    if values.dtype != bool:
        if not np.isin(values, (0, 1)).all():
            raise ValueError(
                "y_true must hold True or 1 for the positive class and False or 0 for the rest; "
                f"it holds {np.unique(values)[:5].tolist()}: compare it with the positive label"
            )
        values = values.astype(bool)
    return values


def _sum_by(codes: NDArray[Any], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.vstack([np.bincount(codes, weights=row, minlength=size) for row in values])
