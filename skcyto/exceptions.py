"""Errors and warnings that skcyto raises beside Python's and scikit-learn's own."""

__all__ = [
    "DeviceMemoryError",
    "ImbalanceWarning",
    "InvalidImageError",
    "InvalidInputWarning",
    "InvalidScanError",
    "MissingClassWarning",
    "PretrainedWeightsError",
]


class InvalidImageError(ValueError):
    """One or more images could not be read; the message lists them with their reasons."""


class InvalidScanError(ValueError):
    """A scan, mask or label gives no features; the message names case and label."""


class PretrainedWeightsError(RuntimeError):
    """Weights are missing, out of reach or do not fit the model."""


class DeviceMemoryError(RuntimeError):
    """The device's memory does not hold even the smallest batch."""


class InvalidInputWarning(UserWarning):
    """Some rows were bad and became missing values, as the caller asked."""


class ImbalanceWarning(UserWarning):
    """A setting for imbalanced classes will not do what it is meant to do."""


class MissingClassWarning(ImbalanceWarning):
    """A class has no case in the data that a loss or a fold was given."""
