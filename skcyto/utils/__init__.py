"""Devices, seeds, versions, optional dependencies and checks that the other subpackages share."""

from skcyto.utils._discovery import all_estimators
from skcyto.utils._public_paths import use_public_paths
from skcyto.utils._show_versions import show_versions

__all__ = ["all_estimators", "show_versions"]

use_public_paths(__name__, globals(), __all__)
