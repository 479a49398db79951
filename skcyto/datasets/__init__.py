"""Loaders of data sets on disk and generators of synthetic ones."""

from skcyto.datasets._image_folder import load_image_folder
from skcyto.datasets._image_mask_folder import load_image_mask_folder
from skcyto.datasets._ps3c import load_ps3c, write_ps3c_submission
from skcyto.datasets._pyradiomics_csv import load_pyradiomics_csv
from skcyto.datasets._synthetic._cell_images import make_cell_images
from skcyto.datasets._synthetic._orbit_mri import make_orbit_mri
from skcyto.datasets._ted import load_ted
from skcyto.datasets._writers import (
    write_image_folder,
    write_image_mask_folder,
    write_ps3c_folder,
)
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "load_image_folder",
    "load_image_mask_folder",
    "load_ps3c",
    "load_pyradiomics_csv",
    "load_ted",
    "make_cell_images",
    "make_orbit_mri",
    "write_image_folder",
    "write_image_mask_folder",
    "write_ps3c_folder",
    "write_ps3c_submission",
]

use_public_paths(__name__, globals(), __all__)
