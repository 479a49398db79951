"""Errors and warnings that skcyto raises beside Python's and scikit-learn's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AdditivityWarning",
    "DamagedFileWarning",
    "DeviceMemoryError",
    "DroppedFeatureWarning",
    "EmbeddingCacheWarning",
    "ImbalanceWarning",
    "InvalidDatasetError",
    "InvalidImageError",
    "InvalidInputWarning",
    "InvalidModelError",
    "InvalidScanError",
    "MissingClassWarning",
    "ModelSavingWarning",
    "ModelVersionWarning",
    "PretrainedWeightsError",
    "RandomWeightsWarning",
]


class InvalidDatasetError(ValueError):
    """A data set on disk is not what its folders and lists say; the message names every problem.

    Attributes
    ----------
    report : pandas.DataFrame or None
        One row a problem, with the columns ``problem``, ``item`` and ``detail``.
    """

    def __init__(self, message: str, report: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.report = report


class InvalidImageError(ValueError):
    """One or more images could not be read; the message lists them with their reasons.

    Attributes
    ----------
    bad : dict of int to str or None
        Row and reason of each, beyond those that the message has room for; None where the search
        for them stopped before it had seen all images.
    """

    def __init__(self, message: str, bad: dict[int, str] | None = None) -> None:
        super().__init__(message)
        self.bad = bad


class InvalidScanError(ValueError):
    """A scan, mask or label gives no features; the message names case and label.

    Attributes
    ----------
    bad : dict of int to list of str or None
        Row of `X` and what is wrong with it, beyond those that the message has room for.
    """

    def __init__(self, message: str, bad: dict[int, list[str]] | None = None) -> None:
        super().__init__(message)
        self.bad = bad


class PretrainedWeightsError(RuntimeError):
    """Weights are missing, out of reach or do not fit the model."""


class InvalidModelError(ValueError):
    """A saved model is damaged, incomplete, changed, of another version, or not to be trusted."""


class DeviceMemoryError(RuntimeError):
    """The device's memory does not hold even the smallest batch."""


class InvalidInputWarning(UserWarning):
    """Some rows were bad and were left out or became missing values, as the caller asked.

    Attributes
    ----------
    rows : dict of int to list of str
        Row of `X` and what is wrong with it, where that is known by row.
    lost : frozenset of int
        Those of `rows` that have no value at all.
    """

    def __init__(
        self,
        message: str = "",
        rows: dict[int, list[str]] | None = None,
        lost: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.rows = {} if rows is None else rows
        self.lost = lost


class ImbalanceWarning(UserWarning):
    """A setting for imbalanced classes will not do what it is meant to do."""


class MissingClassWarning(ImbalanceWarning):
    """A class has no case in the data that a loss or a fold was given."""


class DroppedFeatureWarning(UserWarning):
    """Features are left out: they carry no information, or these data have no such features."""


class ModelSavingWarning(UserWarning):
    """A saved model predicts the same, but lacks a setting that it had."""


class ModelVersionWarning(UserWarning):
    """A saved model was loaded with other versions of packages than it was saved with."""


class DamagedFileWarning(UserWarning):
    """A file that skcyto keeps results in was damaged, and set aside, or is out of reach.

    What it held is computed anew.
    """


class EmbeddingCacheWarning(DamagedFileWarning):
    """An embedding cache was damaged or out of reach; embeddings are computed anew."""


class RandomWeightsWarning(UserWarning):
    """A network has random weights: its features are good for trials only."""


class AdditivityWarning(UserWarning):
    """The Shapley values of a row do not sum to what the classifier says about it."""
