"""Devices, seeds, optional dependencies and checks that the other subpackages share."""

from skcyto.utils._discovery import all_estimators

__all__ = ["all_estimators"]
