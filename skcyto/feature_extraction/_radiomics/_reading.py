"""Read images and masks, and notice what ITK reads without a word.

ITK gives the channels of a picture as a vector image, which pyradiomics refuses, or a mask's first
channel, which it takes.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._cases import (
    Case,
    ScanProblem,
    Source,
    is_colour_array,
)
from skcyto.feature_extraction._radiomics._checks import geometry_difference, geometry_problem
from skcyto.feature_extraction._radiomics._dicom_series import read_series, slice_files
from skcyto.feature_extraction._radiomics._pictures import check_stored, intensities, labels
from skcyto.feature_extraction._radiomics._reasons import itk_reason
from skcyto.feature_extraction._radiomics._truncated import (
    check_complete,
    check_voxels,
    suffix_of,
)

_STRUCTURE_SET = b"1.2.840.10008.5.1.4.1.1.481.3"
_SEGMENTATION = b"1.2.840.10008.5.1.4.1.1.66."
# Read with Pillow: their pixels have no size in millimetres, whatever resolution a file claims.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


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
    if image.GetNumberOfComponentsPerPixel() == 3 and is_slice(image.GetSize()):
        image = _flatten(image)
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
    if source.path is not None and _is_dicom_of(source.path, _SEGMENTATION):
        raise ScanProblem(
            f"the mask file {source.path} is a DICOM segmentation (SEG), of which ITK reads frames "
            "and no labels; skcyto.feature_extraction.masks_from_dicom makes a mask of it"
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
    if values.max() >= 2**32:
        raise ScanProblem(
            f"the mask holds values up to {values.max()}, but labels must be below 2**32 = "
            f"{2**32}: give the structures smaller numbers"
        )
    return sitk.Cast(mask, sitk.sitkUInt32)


def read_case(case: Case, label_channel: int | None, ndim: int) -> tuple[list[Any], Any]:
    """Read the images of a case and its mask.

    A single slice of a volume, as scanners store radiographs, goes with a flat mask where images
    are flat, and a picture of a mask takes the place of its image: a picture has none.

    Parameters
    ----------
    case : Case
    label_channel : int or None
        As for :func:`read_mask`.
    ndim : {2, 3}
        Dimension of the images that the extractor was fitted on.

    Returns
    -------
    images : list of SimpleITK.Image
    mask : SimpleITK.Image

    Raises
    ------
    ScanProblem
    """
    images = [read_image(source) for source in case.images]
    mask = read_mask(case.mask, label_channel)
    images = [_beside_mask(image, mask, ndim) for image in images]
    if images[0].GetDimension() == 2:
        if is_slice(mask.GetSize()):
            mask = _flatten(mask)
        path = case.mask.path
        if path is not None and images[0].GetSize() == mask.GetSize() and _is_picture(path):
            mask.CopyInformation(images[0])
    return images, mask


def _beside_mask(image: Any, mask: Any, ndim: int) -> Any:
    """Take a slice of a volume for flat where images are, if it lies where the mask does."""
    if ndim == 2 and is_slice(image.GetSize()):
        if is_slice(mask.GetSize()):
            difference = geometry_difference(image, mask, None)
            if difference is not None:
                raise geometry_problem(difference)
        image = _flatten(image)
    return image


def is_slice(size: tuple[int, ...]) -> bool:
    """Tell whether this is the size of a volume of one slice."""
    return len(size) == 3 and size[2] == 1


def _flatten(image: Any) -> Any:
    """Make an image of a volume's only slice, wherever in space that lies."""
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)[0]
    flat = sitk.GetImageFromArray(values, isVector=values.ndim == 3)
    flat.SetSpacing(image.GetSpacing()[:2])
    return flat


def peek(case: Case) -> tuple[int, int]:
    """Read an image's dimension and number of channels, of a file from its header alone.

    A slice of a volume that has a flat mask counts as an image of two dimensions.

    Raises
    ------
    ScanProblem
    """
    size, channels = _peek_at(case.images[0], "image")
    if is_slice(size) and (channels == 3 or len(_peek_at(case.mask, "mask")[0]) == 2):
        return 2, channels
    return len(size), channels


def _peek_at(source: Source, role: str) -> tuple[tuple[int, ...], int]:
    import SimpleITK as sitk

    _check_there(source, role, quick=True)
    if source.path is None or _is_picture(source.path):
        image = _read(source, role)
        return image.GetSize(), image.GetNumberOfComponentsPerPixel()
    path, n_slices = source.path, 1
    if os.path.isdir(path):
        names = slice_files(path, role)
        path, n_slices = names[0], len(names)
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, role, f"ITK says: {itk_reason(error)}") from error
    if n_slices > 1:
        return (*reader.GetSize()[:2], n_slices), reader.GetNumberOfComponents()
    return reader.GetSize(), reader.GetNumberOfComponents()


def first_gray(cases: list[Case]) -> str | None:
    """Name the first image that can be read, if its red, green and blue are the same."""
    import SimpleITK as sitk

    for case in cases:
        try:
            image = read_image(case.images[0])
        except ScanProblem:
            continue
        values = sitk.GetArrayViewFromImage(image)
        gray = values.ndim == 3 and values.shape[2] == 3 and (values == values[..., :1]).all()
        return case.name if gray else None
    return None


def _check_there(source: Source, role: str, *, quick: bool = False) -> None:
    if source.problem is not None:
        raise ScanProblem(source.problem)
    if source.path is None:
        return
    if os.path.isdir(source.path):
        return  # of DICOM slices, or who reads them says what is missing
    if not os.path.isfile(source.path):
        raise ScanProblem(f"the {role} file {source.path} does not exist")
    try:
        check_complete(source.path, role, quick=quick)
    except OSError as error:
        raise ScanProblem(f"the {role} {source.path} can't be read: {error}") from error


# What ITK says of files that are whole, and what to do with them.
_NOT_TRUNCATED = (
    (
        "orthonormal",
        "has sheared axes, which SimpleITK does not read: resample it to axes at right angles, "
        "for instance with nibabel.processing.conform",
    ),
    (
        "Unable to determine ImageIO reader",
        "has no format that SimpleITK knows by its ending and content: save it as NIfTI, NRRD or "
        "PNG",
    ),
)


def _unreadable(path: str, role: str, reason: str) -> ScanProblem:
    if _is_dicom_of(path, _STRUCTURE_SET):
        return ScanProblem(
            f"the {role} file {path} is a DICOM structure set (RTSTRUCT): it holds contours, no "
            "voxels; skcyto.feature_extraction.masks_from_dicom draws them on the image's grid"
        )
    for words, what in _NOT_TRUNCATED:
        if words in reason:
            return ScanProblem(f"the {role} file {path} {what} ({reason})")
    detached = suffix_of(path) in (".mhd", ".nhdr")
    cause = "truncated, or without its file of voxels" if detached else "truncated"
    return ScanProblem(
        f"the {role} file {path} is unreadable, perhaps {cause}; copy or export it again ({reason})"
    )


def _is_dicom_of(path: str, kind: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 12)
    except OSError:
        return False
    return head[128:132] == b"DICM" and kind in head


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
    if os.path.isdir(path):
        return read_series(path, role)
    if _is_picture(path):
        return _from_array(_read_picture(path, role), None, role)
    try:
        image = sitk.ReadImage(path)
    except RuntimeError as error:
        raise _unreadable(path, role, f"ITK says: {itk_reason(error)}") from error
    check_voxels(path, role, sitk.GetArrayViewFromImage(image).nbytes)
    return image


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
            f"SimpleITK ({itk_reason(error)}): convert it to integers or floats"
        ) from error
    return image


def _is_picture(path: str) -> bool:
    if suffix_of(path) not in PICTURE_SUFFIXES:
        return False
    if not suffix_of(path).startswith(".tif"):
        return True
    from PIL import Image

    try:
        with open(path, "rb") as file, Image.open(file) as picture:
            return getattr(picture, "n_frames", 1) == 1
    except Exception:  # Pillow fails in many ways on what it does not know; ITK may know it.
        return False


def _has_16_bits(opened: Any) -> bool:
    """Say whether Pillow is about to drop half of the bits of a colour picture."""
    return any(";16" in str(tile[3]) for tile in opened.tile)


def _read_picture(path: str, role: str) -> NDArray[Any]:
    from PIL import Image, ImageOps

    try:
        # By its name, Pillow would map a plain TIFF file that lies on its side into memory wrongly.
        with open(path, "rb") as file, Image.open(file) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise ScanProblem(f"the {role} {path} is an animation: save one frame")
            if not opened.mode.startswith("I") and _has_16_bits(opened):
                raise ScanProblem(
                    f"the {role} {path} has 16 bits a channel, of which 8 would be lost: read it "
                    "with SimpleITK.ReadImage and pass that, or save it with 8 bits a channel"
                )
            check_stored(opened, role)
            picture = ImageOps.exif_transpose(opened)
            return labels(picture) if role == "mask" else intensities(picture)
    except ScanProblem:
        raise
    except Image.DecompressionBombError as error:
        raise ScanProblem(f"the {role} {path} can't be read: {error}") from error
    except Exception as error:  # Each of Pillow's decoders fails in its own way.
        raise _unreadable(path, role, f"Pillow says: {error}") from error


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
