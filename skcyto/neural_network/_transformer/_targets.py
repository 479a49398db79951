"""Labels, weights and groups of images, checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from skcyto.exceptions import ImbalanceWarning
from skcyto.neural_network._row_checks import check_groups, check_labels
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some


@dataclass(frozen=True)
class Targets:
    """What is known of the images beside their pixels.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Labels, sorted.
    rows : ndarray of int
        Positions of the images that take part: those whose weight is not 0.
    encoded : ndarray of int, shape (n_images,)
        Class of each image; -1 for those that take no part.
    sample_weight : ndarray of float32, shape (n_images,) or None
        Weights of the images.
    groups : ndarray of shape (n_images,) or None
        Groups of the images.
    """

    classes: NDArray
    rows: NDArray[np.intp]
    encoded: NDArray[np.intp]
    sample_weight: NDArray[np.float32] | None
    groups: NDArray | None


def check_targets(
    name: str,
    n_images: int,
    y: Any,
    sample_weight: ArrayLike | None,
    groups: ArrayLike | None,
    *,
    is_validated: bool,
) -> Targets:
    """Check what comes with the images.

    Parameters
    ----------
    name : str
        Of the estimator, for messages.
    n_images : int
        Number of images.
    y : array-like of shape (n_images,)
        Labels.
    sample_weight : array-like of shape (n_images,) or None
        Weights.
    groups : array-like of shape (n_images,) or None
        Groups.
    is_validated : bool
        Whether some of the images will be held out to choose the best epoch.

    Returns
    -------
    targets : Targets

    Raises
    ------
    ValueError
        If lengths differ, labels are missing, of mixed types or of fewer than two classes, or no
        weight is positive; or if a class has one image and images are held out.

    Warns
    -----
    ImbalanceWarning
        If a class has one image and none is held out.
    """
    if y is None:
        raise ValueError(
            f"{name} requires y to be passed, but the target y is None: give one label an image"
        )
    labels = column_or_1d(np.asarray(y), warn=True)
    _check_length("y", labels, n_images)
    check_labels(y, "image")
    check_classification_targets(labels)
    if groups is not None:
        groups = check_groups(groups, n_images, "image")
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, np.empty((n_images, 0)), dtype=np.float32, ensure_non_negative=True
        )
    rows = np.arange(n_images) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    if not len(rows):
        raise ValueError("every sample_weight is 0: there is no image to train on")
    classes, codes = np.unique(labels[rows], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs at least 2 classes; the data given to fit have 1 class: {classes[0]!r}"
        )
    _check_single_images(classes[np.bincount(codes) == 1], is_validated)
    encoded = np.full(n_images, -1, dtype=np.intp)
    encoded[rows] = codes
    return Targets(classes, rows, encoded, sample_weight, groups)


def _check_length(name: str, values: Any, n_images: int) -> None:
    if values.ndim != 1 or len(values) != n_images:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X holds {n_images} "
            f"images, {name} has shape {values.shape}"
        )


def _check_single_images(classes: NDArray, is_validated: bool) -> None:
    """Say before the training that a class with one image can be neither validated nor scored."""
    if not len(classes):
        return
    found = f"{len(classes)} class(es) with one image: {list_some(map(repr, classes.tolist()))}"
    remedy = "give more images, merge the class with another, or leave it out"
    if is_validated:
        raise ValueError(
            f"{found}. An image can't both train and choose the best epoch: {remedy}; or set "
            "validation_fraction=None to train on it without validation"
        )
    warn(
        f"{found}. It is trained on, but can't be cross-validated, since the class would be "
        f"missing in the training or the test images: {remedy}",
        ImbalanceWarning,
    )
