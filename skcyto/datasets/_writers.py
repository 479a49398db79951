"""Write images in the layouts that the loaders read, so that examples can run on files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.utils import check_consistent_length

from skcyto.datasets._ps3c import PS3C_CLASSES, PS3C_SPLITS
from skcyto.utils._validation import PATH, check_parameters, check_vector


@check_parameters(path=PATH, prefix=[str])
def write_image_folder(
    path: str | os.PathLike[str],
    images: Sequence[np.ndarray] | np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    prefix: str = "synthetic_cell",
) -> Path:
    """Write images as PNG files, one folder a class, with a list of them.

    Parameters
    ----------
    path : str or path-like
        Folder to write to; made where it is missing, refused where it holds anything.

    images : array-like of shape (n_samples, height, width, 3) or sequence of arrays, uint8
        The images.

    y : array-like of shape (n_samples,)
        Class of each image: the name of its folder.

    groups : array-like of shape (n_samples,), default=None
        Slide or patient of each image; written to the list.

    prefix : str, default="synthetic_cell"
        Beginning of each file name; a number follows.

    Returns
    -------
    index : Path
        The list, ``index.csv``, with the columns file, label and, where known, group.

    Raises
    ------
    FileExistsError
        If `path` holds anything already.
    ValueError
        If the lengths differ, an image is not uint8, or a class cannot name a folder.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import make_cell_images, write_image_folder
    >>> cells = make_cell_images(3, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     index = write_image_folder(root, cells.images, cells.target, groups=cells.groups)
    ...     print(index.read_text().splitlines()[0])
    file,label,group
    """
    classes = _folder_names(y)
    columns = _columns(images, {"label": classes, "group": groups})
    folder = _empty_folder(Path(path))
    files = [
        f"{label}/{name}.png" for label, name in zip(classes, _names(images, prefix), strict=True)
    ]
    for image, file in zip(images, files, strict=True):
        _write_png(folder / file, image)
    return _write_list(folder / "index.csv", {"file": files, **columns})


@check_parameters(path=PATH)
def write_ps3c_folder(
    path: str | os.PathLike[str],
    images: Sequence[np.ndarray] | np.ndarray,
    y: Sequence[str] | np.ndarray | None = None,
    *,
    split: Literal["train", "test", "eval"] = "train",
) -> Path:
    """Write images in the layout of one split of the PS3C challenge.

    Parameters
    ----------
    path : str or path-like
        Folder that holds the splits; made where it is missing.

    images : array-like of shape (n_samples, height, width, 3) or sequence of arrays, uint8
        The images.

    y : array-like of str of shape (n_samples,), default=None
        Class of each image: healthy, unhealthy, rubbish or bothcells. Needed for the train split.
        As in the challenge, test and eval splits are written without labels.

    split : {"train", "test", "eval"}, default="train"
        Which split to write; refused where it is there already.

    Returns
    -------
    folder : Path
        Folder of the split's images. Their names begin with ``synthetic_ps3c_``.

    Raises
    ------
    FileExistsError
        If the split is there already.
    ValueError
        If the lengths differ, an image is not uint8, a class is unknown, or `y` is missing.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import load_ps3c, make_cell_images, write_ps3c_folder
    >>> cells = make_cell_images(3, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     folder = write_ps3c_folder(root, cells.images, split="test")
    ...     print(load_ps3c(root, split="test").image_names[0])
    synthetic_ps3c_test_image_00001.png
    """
    if split not in PS3C_SPLITS:
        raise ValueError(f"split={split!r} must be one of {list(PS3C_SPLITS)}")
    if split == "train" and y is None:
        raise ValueError("the train split has labels: pass y")
    classes = None if y is None else [str(label) for label in y]
    unknown = sorted(set(classes or ()) - set(PS3C_CLASSES))
    if unknown:
        raise ValueError(f"y holds {unknown[0]!r}; the classes are {list(PS3C_CLASSES)}")
    columns = _columns(images, {"label": classes if split == "train" else None})
    name = f"isbi2025-ps3c-{split}-dataset"
    table = Path(path) / f"{name}.csv"
    if table.exists():
        raise FileExistsError(
            f"{str(table)!r} exists already; remove the split or write to another path"
        )
    folder = _empty_folder(Path(path) / name)
    files = [f"{n}.png" for n in _names(images, f"synthetic_ps3c_{split}_image", digits=5)]
    for i, (image, file) in enumerate(zip(images, files, strict=True)):
        _write_png(folder / (classes[i] if classes and split == "train" else "") / file, image)
    _write_list(table, {"image_name": files, **columns})
    return folder


@check_parameters(path=PATH, prefix=[str])
def write_image_mask_folder(
    path: str | os.PathLike[str],
    images: Sequence[np.ndarray] | np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray,
    y: Sequence[Any] | np.ndarray | None = None,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    prefix: str = "synthetic_cell",
) -> Path:
    """Write images and masks as PNG files of the same names, with a list of the cases.

    Parameters
    ----------
    path : str or path-like
        Folder to write to; made where it is missing, refused where it holds anything.

    images : array-like of shape (n_samples, height, width[, 3]) or sequence of arrays, uint8
        The images; they go to ``images/``.

    masks : array-like of shape (n_samples, height, width) or sequence of arrays, uint8
        The label of each pixel; they go to ``masks/``.

    y : array-like of shape (n_samples,), default=None
        Class of each image; written to the list.

    groups : array-like of shape (n_samples,), default=None
        Slide or patient of each image; written to the list.

    prefix : str, default="synthetic_cell"
        Beginning of each case's name; a number follows.

    Returns
    -------
    index : Path
        The list, ``index.csv``, with the columns case and, where known, label and group.

    Raises
    ------
    FileExistsError
        If `path` holds anything already.
    ValueError
        If the lengths differ, an image or mask is not uint8, or a mask has not its image's size.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import make_cell_images, write_image_mask_folder
    >>> cells = make_cell_images(3, image_size=48, random_state=0)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     index = write_image_mask_folder(root, cells.images, cells.masks, cells.target)
    ...     print(index.read_text().splitlines()[0])
    case,label
    """
    columns = _columns(images, {"label": y, "group": groups})
    check_consistent_length(images, masks)
    _check_images(masks, "masks")
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if np.shape(mask) != np.shape(image)[:2]:
            raise ValueError(
                f"masks[{i}] has the shape {np.shape(mask)}, its image {np.shape(image)}"
            )
    folder = _empty_folder(Path(path))
    cases = _names(images, prefix)
    for case, image, mask in zip(cases, images, masks, strict=True):
        _write_png(folder / "images" / f"{case}.png", image)
        _write_png(folder / "masks" / f"{case}.png", mask)
    return _write_list(folder / "index.csv", {"case": cases, **columns})


def _check_images(images: Sequence[np.ndarray] | np.ndarray, what: str) -> None:
    """Refuse what PNG would not keep as it is."""
    for i, image in enumerate(images):
        array = np.asarray(image)
        n_channels = array.shape[2] if array.ndim == 3 else 1
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or n_channels not in (1, 3, 4):
            raise ValueError(
                f"{what}[{i}] must be a uint8 array of two dimensions, or of three with 1, 3 or 4 "
                f"channels, got {array.dtype} of shape {array.shape}"
            )
        if not array.size:
            raise ValueError(f"{what}[{i}] has no pixels: its shape is {array.shape}")


def _columns(
    images: Sequence[np.ndarray] | np.ndarray, columns: dict[str, Any]
) -> dict[str, list[Any]]:
    """Check lengths and return the columns that were given."""
    given = {name: list(values) for name, values in columns.items() if values is not None}
    check_consistent_length(images, *given.values())
    if not len(images):
        raise ValueError("there is no image to write")
    _check_images(images, "images")
    return given


def _folder_names(y: Sequence[Any] | np.ndarray) -> list[str]:
    names = [str(label) for label in check_vector(y, "y")]
    for name in set(names):
        if not name.strip() or name.startswith(".") or any(c in name for c in '/\\:*?"<>|'):
            raise ValueError(f"the class {name!r} cannot name a folder")
    return names


def _names(images: Sequence[np.ndarray] | np.ndarray, prefix: str, digits: int = 4) -> list[str]:
    digits = max(digits, len(str(len(images))))
    return [f"{prefix}_{i:0{digits}d}" for i in range(1, len(images) + 1)]


def _empty_folder(folder: Path) -> Path:
    """Make a folder, or refuse one that holds anything."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(
            f"{str(folder)!r} is not empty; remove what is there or write to another folder"
        )
    return folder


def _write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(image)
    Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).save(
        path, compress_level=3
    )


def _write_list(path: Path, columns: dict[str, list[Any]]) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
    return path
