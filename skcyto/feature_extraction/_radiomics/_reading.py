"""Read images and masks, and notice what ITK reads without a word.

ITK fills the rest of a truncated NIfTI file with zeros. It gives the channels of a picture as a
vector image, which pyradiomics refuses, or a mask's first channel, which it takes.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import ScanProblem, Source, is_colour_array

# Read with Pillow: their pixels have no size in millimetres, whatever resolution a file claims.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".nia")


def suffix_of(path: str) -> str:
    """Return a path's suffix in lower case, `.nii.gz` and the like whole."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        return "".join(suffixes[-2:])
    return suffixes[-1] if suffixes else ""


def read_image(source: Source) -> Any:
    """Read an image.

    Parameters
    ----------
    source : Source

    Returns
    -------
    image : SimpleITK.Image
        Of 2 or 3 dimensions; only 2-D ones may have channels, red, green and blue.

    Raises
    ------
    ScanProblem
    """
    image = _read(source, "image")
    components, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    if ndim not in (2, 3):
        raise ScanProblem(
            f"the image has {ndim} dimensions, size {image.GetSize()}: give one 3-D volume a case"
        )
    if components > 1 and (ndim, components) != (2, 3):
        raise ScanProblem(
            f"the image has {components} channels and {ndim} dimensions; colour is understood "
            "for 2-D RGB images: give one channel"
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise ScanProblem("the image has complex numbers: give their magnitude")
    return image


def read_mask(source: Source, label_channel: int | None) -> Any:
    """Read a mask.

    Parameters
    ----------
    source : Source
    label_channel : int or None
        Which channel of a mask with several to take, as pyradiomics' setting of that name.

    Returns
    -------
    mask : SimpleITK.Image of 32-bit unsigned integers

    Raises
    ------
    ScanProblem
    """
    import SimpleITK as sitk

    if source.path is not None and suffix_of(source.path) in (".jpg", ".jpeg"):
        raise ScanProblem(
            "the mask is a JPEG file, which does not keep label values: save masks as PNG"
        )
    mask = _read(source, "mask")
    channels = mask.GetNumberOfComponentsPerPixel()
    if channels > 1:
        mask = _one_channel(mask, label_channel, channels)
    values = sitk.GetArrayViewFromImage(mask)
    if values.dtype.kind not in "uib":
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise ScanProblem("the mask holds NaN, infinite or complex values: give whole numbers")
        if (values != np.floor(values)).any():
            raise ScanProblem(
                "the mask holds fractions, as after interpolation: resample masks with "
                "nearest-neighbour interpolation, or threshold them"
            )
    if values.dtype.kind in "if" and values.min() < 0:
        raise ScanProblem(f"the mask holds negative values, down to {values.min():g}")
    return sitk.Cast(mask, sitk.sitkUInt32)


def peek(source: Source) -> tuple[int, int]:
    """Read an image's dimension and number of channels, of a file from its header alone.

    Raises
    ------
    ScanProblem
    """
    import SimpleITK as sitk

    _check_there(source, "image")
    if source.path is None or _is_picture(source.path):
        image = read_image(source)
        return image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    reader = sitk.ImageFileReader()
    reader.SetFileName(source.path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ScanProblem(f"the image can't be read: {_itk_reason(error)}") from error
    return reader.GetDimension(), reader.GetNumberOfComponents()


def _check_there(source: Source, role: str) -> None:
    if source.problem is not None:
        raise ScanProblem(source.problem)
    if source.path is None:
        return
    if os.path.isdir(source.path):
        raise ScanProblem(
            f"the {role} {source.path} is a folder: convert a DICOM series to one NIfTI or NRRD "
            "file, or read it with SimpleITK and pass the image"
        )
    if not os.path.isfile(source.path):
        raise ScanProblem(f"the {role} file {source.path} does not exist")


def _read(source: Source, role: str) -> Any:
    import SimpleITK as sitk

    _check_there(source, role)
    if source.image is not None:
        image = source.image
        if image.GetNumberOfPixels() == 0:
            raise ScanProblem(f"the {role} is empty")
        return image
    if source.array is not None:
        return _from_array(source.array, source.spacing, role)
    path = str(source.path)
    if _is_picture(path):
        return _from_array(_read_picture(path, role), None, role)
    try:
        if suffix_of(path) in _NIFTI_SUFFIXES:
            _check_nifti(path, role)
        return sitk.ReadImage(path)
    except (RuntimeError, OSError) as error:
        raise ScanProblem(f"the {role} {path} can't be read: {_itk_reason(error)}") from error


def _itk_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown reason"


def _from_array(array: NDArray[Any], spacing: tuple[float, ...] | None, role: str) -> Any:
    import SimpleITK as sitk

    colour = is_colour_array(array)
    if array.size == 0 or (array.ndim not in (2, 3)):
        raise ScanProblem(
            f"the {role} is an array of shape {array.shape}: expected (H, W), (D, H, W) or, for "
            "colour, uint8 (H, W, 3)"
        )
    if array.dtype.kind not in "buif" or array.dtype == np.float16:
        raise ScanProblem(
            f"the {role} is an array of dtype {array.dtype}: convert it to integers or floats"
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    try:
        image = sitk.GetImageFromArray(array, isVector=colour)
        if spacing is not None:
            image.SetSpacing(spacing[::-1])
    except (TypeError, RuntimeError) as error:
        raise ScanProblem(
            f"the {role}, an array of shape {array.shape} and dtype {array.dtype}, is no image for "
            f"SimpleITK ({_itk_reason(error)}): convert it to integers or floats"
        ) from error
    return image


def _is_picture(path: str) -> bool:
    if suffix_of(path) not in PICTURE_SUFFIXES:
        return False
    if not suffix_of(path).startswith(".tif"):
        return True
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) == 1
    except (UnidentifiedImageError, OSError):
        return False


def _read_picture(path: str, role: str) -> NDArray[Any]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise ScanProblem(f"the {role} {path} is an animation: save one frame")
            picture = ImageOps.exif_transpose(opened)
            if picture.mode in ("1", "L", "I", "F", "I;16", "I;16B", "I;16L"):
                pixels = np.asarray(picture)
            elif picture.mode == "P" and role == "mask":
                pixels = np.asarray(picture)  # the index is the label, colours are decoration
            elif picture.mode in ("LA", "La"):
                pixels = np.asarray(picture.convert("L"))
            else:
                pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ScanProblem(f"the {role} {path} can't be read: {error}") from error
    if role == "mask" and pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise ScanProblem(
                "the mask is a colour image: save label values as a gray or palette image"
            )
        pixels = pixels[..., 0]
    return pixels


def _one_channel(mask: Any, label_channel: int | None, channels: int) -> Any:
    import SimpleITK as sitk

    if label_channel is None:
        raise ScanProblem(
            f"the mask has {channels} channels: choose one with the setting 'label_channel', or "
            "save a mask of labels"
        )
    if label_channel >= channels:
        raise ScanProblem(
            f"label_channel={label_channel}, but the mask has channels 0 to {channels - 1}"
        )
    return sitk.VectorIndexSelectionCast(mask, int(label_channel))


def _check_nifti(path: str, role: str) -> None:
    """Compare the size of a NIfTI or Analyze file with what its header promises."""
    data_path = header_path = path
    if suffix_of(path) in (".hdr", ".img", ".img.gz"):
        stem = path[: -len(suffix_of(path))]
        header_path = f"{stem}.hdr"
        candidates = [f"{stem}.img", f"{stem}.img.gz"]
        data_path = next(filter(os.path.isfile, candidates), candidates[0])
        for part in (header_path, data_path):
            if not os.path.isfile(part):
                raise ScanProblem(f"the {role} {path} lacks its other half {part}")
    if suffix_of(path) == ".nia":
        return  # ASCII: ITK itself counts the values
    size = _unpacked_size(data_path, role)
    promised = _promised_size(header_path, with_header=header_path == data_path)
    if promised is not None and size < promised:
        raise ScanProblem(
            f"the {role} file {data_path} is truncated: it holds {size} of {promised} bytes; copy "
            "or export it again"
        )


def _unpacked_size(path: str, role: str) -> int:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not packed:
        return os.path.getsize(path)
    size = 0
    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                size += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanProblem(
            f"the {role} file {path} is truncated or damaged ({error}); copy or export it again"
        ) from error
    return size


def _promised_size(path: str, *, with_header: bool) -> int | None:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if packed else open
    with opener(path, "rb") as file:
        header = file.read(540)
    if len(header) < 348:
        return 348
    for order in "<>":
        kind = struct.unpack(f"{order}i", header[:4])[0]
        if kind == 348:
            dims = struct.unpack(f"{order}8h", header[40:56])
            bits = struct.unpack(f"{order}h", header[72:74])[0]
            offset = struct.unpack(f"{order}f", header[108:112])[0]
        elif kind == 540 and len(header) == 540:
            dims = struct.unpack(f"{order}8q", header[16:80])
            bits = struct.unpack(f"{order}h", header[14:16])[0]
            offset = struct.unpack(f"{order}q", header[168:176])[0]
        else:
            continue
        if not 1 <= dims[0] <= 7:
            return None  # ITK says what it thinks of such a header
        voxels = 1
        for extent in dims[1 : dims[0] + 1]:
            voxels *= max(extent, 1)
        return (int(offset) if with_header else 0) + (voxels * bits + 7) // 8
    return None
