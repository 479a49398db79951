"""Choose the rows that stand in for absent features."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample


def choose_background(
    rows: np.ndarray,
    labels: np.ndarray,
    size: int,
    method: str,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose some rows of a table to represent it.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        The data.
    labels : ndarray of shape (n_rows,)
        Classes, for a stratified sample.
    size : int
        Number of rows to choose; where the data have no more, all are taken.
    method : {"stratified", "kmeans"}
        Drawn without replacement in the classes' proportions, or the rows next to the centres of
        clusters, weighted by the clusters' sizes.
    random_state : int
        Seed.

    Returns
    -------
    indices : ndarray of int, shape (n_background,)
    weights : ndarray of shape (n_background,)
        They sum to one.
    """
    if size >= len(rows):
        return np.arange(len(rows)), np.full(len(rows), 1 / len(rows))
    if method == "stratified":
        indices = resample(
            np.arange(len(rows)),
            replace=False,
            n_samples=size,
            stratify=labels,
            random_state=random_state,
        )
        return np.sort(indices), np.full(size, 1 / size)
    scaled = StandardScaler().fit_transform(rows)
    if not np.isfinite(scaled).all():
        raise ValueError(
            "background_method='kmeans' needs data without missing values: use 'stratified'"
        )
    model = KMeans(size, n_init=1, random_state=random_state)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: the empty clusters are left out below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = model.fit_predict(scaled)
    sizes = np.bincount(clusters, minlength=size)
    used = np.flatnonzero(sizes)
    # Real rows instead of centres: a mean of one-hot columns is a row that cannot exist.
    indices = pairwise_distances_argmin(model.cluster_centers_[used], scaled)
    return indices, sizes[used] / len(rows)
