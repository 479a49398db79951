"""Results under the content they come from: image, mask, settings, versions and label."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from skcyto.feature_extraction._radiomics._cases import Case, ScanProblem, Source
from skcyto.feature_extraction._radiomics._dicom_series import read_series
from skcyto.feature_extraction._radiomics._runtime import import_sitk
from skcyto.feature_extraction._radiomics._schema import Schema, radiomics_version
from skcyto.feature_extraction._radiomics._settings import Settings
from skcyto.feature_extraction._radiomics._truncated import suffix_of
from skcyto.feature_extraction._radiomics._worker import CaseResult

_FORMAT = 3  # to be raised with every change of what the engine computes or how it is stored
FILE_NAME = "radiomics.sqlite"
# Formats whose file holds everything; of others (.mhd, .nhdr, .hdr) the voxels are hashed.
_WHOLE_FILES = (
    ".nii",
    ".nii.gz",
    ".mha",
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
)


def settings_digest(settings: Settings, schema: Schema, *, whole: bool) -> str:
    """Digest everything but image, mask and label that a result depends on."""
    import pywt
    import SimpleITK as sitk

    content = {
        "format": _FORMAT,
        "radiomics": radiomics_version(),
        "SimpleITK": sitk.Version().VersionString(),
        "PyWavelets": pywt.__version__,
        "setting": settings.setting,
        "image_types": settings.image_types,
        "feature_classes": settings.feature_classes,
        "schema": asdict(schema),
        "whole": whole,
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def case_digest(case: Case) -> str | None:
    """Digest a case's images and mask, or return None where they can't be read."""
    try:
        return "-".join(source_digest(source) for source in (*case.images, case.mask))
    except (ScanProblem, OSError, RuntimeError):
        return None  # reading it for features says what is wrong


def entry_key(case: str, settings: str, structure: str) -> str:
    """Key of one structure's values."""
    return f"{case}-{settings}-{structure}"


def encode(result: CaseResult, structure: str) -> bytes:
    """Pack what came of one structure: values and notes, or why it is missing."""
    values = result.values.get(structure, np.empty(0))
    head = {"notes": result.notes.get(structure, []), "missing": result.missing.get(structure)}
    return json.dumps(head).encode() + b"\n" + np.asarray(values, dtype="<f8").tobytes()


def decode_into(result: CaseResult, structure: str, entry: bytes) -> None:
    """Unpack what :func:`encode` packed."""
    head, _, values = entry.partition(b"\n")
    remarks = json.loads(head)
    missing, notes = remarks["missing"], remarks["notes"]
    if not isinstance(missing, str | None) or not isinstance(notes, list):
        raise TypeError("its remarks are none")
    if missing is not None:
        result.missing[structure] = missing
        return
    result.values[structure] = np.frombuffer(values, dtype="<f8").astype(np.float64)
    if notes:
        result.notes[structure] = notes


def cache_file(cache: str | os.PathLike[str]) -> Path:
    """Path of the results' file in the cache folder."""
    return Path(cache) / FILE_NAME


def source_digest(source: Source) -> str:
    """Digest the content of an image or a mask, whatever its name.

    Raises
    ------
    ScanProblem, OSError, RuntimeError
        If it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=20)
    if source.problem is not None:
        raise ScanProblem(source.problem)
    if source.path is not None:
        if os.path.isdir(source.path):
            _update_with_image(digest, read_series(source.path, "image"))
            return digest.hexdigest()
        suffix = suffix_of(source.path)
        if suffix in _WHOLE_FILES or (suffix == ".nrrd" and not _is_detached(source.path)):
            digest.update(suffix.encode())
            with open(source.path, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            return digest.hexdigest()
        _update_with_image(digest, import_sitk().ReadImage(source.path))
    elif source.image is not None:
        _update_with_image(digest, source.image)
    else:
        array = np.ascontiguousarray(source.array)
        digest.update(repr((array.shape, array.dtype.str, source.spacing)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _is_detached(path: str) -> bool:
    with open(path, "rb") as file:
        header = file.read(1 << 14).partition(b"\n\n")[0].lower()
    return b"data file:" in header or b"datafile:" in header


def _update_with_image(digest: Any, image: Any) -> None:
    geometry = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    digest.update(repr((geometry, image.GetPixelIDTypeAsString())).encode())
    array = import_sitk().GetArrayViewFromImage(image)
    digest.update(np.ascontiguousarray(array).tobytes())
