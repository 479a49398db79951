"""Take images in every form in which users hold them, and name the bad ones."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from skcyto.utils._images._decoding import array_to_rgb, count_pixels, decode_image, to_rgb
from skcyto.utils._images._notes import Note, ignore_note
from skcyto.utils._prefetch import WeightGate

Result = TypeVar("Result")

_MAX_LISTED = 20
_DIGEST_SIZE = 20
# Of pictures that are being decoded and resized, in all threads together: some bytes a pixel, as
# conversions hold a picture twice.
_DECODING = WeightGate(2**29)
_BYTES_PER_PIXEL = 8
# Pillow reads an opened file's pixels on first use, and not thread-safely, while a list may hold
# the same PIL image many times.
_PIL_LOCK = threading.Lock()
_ACCEPTED = (
    "a list, tuple, array or Series of paths, a list of PIL images, an array of shape "
    "(n_images, height, width, 3), a list of arrays of shape (height, width, 3), or a data frame "
    "with one column of these"
)


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image in memory, not yet decoded where it came from a file.

    Attributes
    ----------
    digest : bytes
        Hash of the content: of the file's bytes, or of an array's shape and bytes.
    content : bytes or ndarray of shape (height, width, 3)
        The file's bytes, or 8-bit RGB.
    """

    digest: bytes
    content: bytes | np.ndarray

    @property
    def n_bytes(self) -> int:
        """Size of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.nbytes

    def decode(self, note: Note = ignore_note) -> Image.Image:
        """Return the image in 8-bit RGB, or raise OSError or ValueError if it is damaged.

        Parameters
        ----------
        note : callable
            Told what of the file is lost or doubtful.

        Returns
        -------
        image : PIL.Image.Image
        """
        if isinstance(self.content, bytes):
            return decode_image(self.content, note)
        return Image.fromarray(self.content)

    def decode_for(
        self, function: Callable[[Image.Image], Result], note: Note = ignore_note
    ) -> Result:
        """Decode the image and give it to a function, while memory for large ones is held back.

        Parameters
        ----------
        function : callable
            Takes the image, and does not keep it.
        note : callable
            Told what of the file is lost or doubtful.

        Returns
        -------
        result : object
            What the function returned.
        """
        n_pixels = count_pixels(self.content) if isinstance(self.content, bytes) else 0
        with _DECODING.hold(n_pixels * _BYTES_PER_PIXEL):
            return function(self.decode(note))


class ImageInputs:
    """Images that are read one by one, on demand.

    Parameters
    ----------
    items : sequence
        Paths, PIL images or arrays, mixed as one likes.
    on_demand : bool, default=False
        Whether `items` may make each item when it is asked for: it is then asked once for each
        reading, for no other purpose, and for nothing beyond its length.
    """

    def __init__(self, items: Sequence[Any] | np.ndarray, *, on_demand: bool = False) -> None:
        self._items = items
        self._on_demand = on_demand

    def __len__(self) -> int:
        return len(self._items)

    def name(self, index: int) -> str:
        """Say which image is meant: its path, or its position."""
        item = None if self._on_demand else self._items[index]
        if isinstance(item, (str, os.PathLike)):
            return f"{os.fspath(item)!s} (row {index})"
        return f"row {index}"

    def weigh(self, index: int) -> int:
        """Say how many bytes a file takes that :meth:`load` reads; 0 where none is read.

        Parameters
        ----------
        index : int
            Its position.

        Returns
        -------
        n_bytes : int
        """
        item = None if self._on_demand else self._items[index]
        if not isinstance(item, (str, os.PathLike)):
            return 0
        try:
            return os.stat(item).st_size
        except (OSError, ValueError):
            return 0

    def load(self, index: int, note: Note = ignore_note) -> LoadedImage:
        """Read one image.

        Parameters
        ----------
        index : int
            Its position.
        note : callable
            Told what is doubtful.

        Returns
        -------
        image : LoadedImage

        Raises
        ------
        OSError, ValueError
            If there is no such file, or the item is no image. An opened PIL image that is read
            here for the first time may raise other errors where its file is damaged.
        """
        item = self._items[index]
        if isinstance(item, (str, os.PathLike)):
            with open(item, "rb") as file:
                data = file.read()
            return LoadedImage(hashlib.blake2b(data, digest_size=_DIGEST_SIZE).digest(), data)
        if isinstance(item, Image.Image):
            with _PIL_LOCK:
                item = np.asarray(to_rgb(item, note))
        if isinstance(item, np.ndarray):
            rgb = array_to_rgb(item, note)
            digest = hashlib.blake2b(rgb.data, digest_size=_DIGEST_SIZE, person=b"array")
            digest.update(str(rgb.shape).encode())
            return LoadedImage(digest.digest(), rgb)
        if _is_missing(item):
            raise ValueError("the value is missing")
        raise ValueError(f"{type(item).__name__} is neither a path, a PIL image nor an array")

    def find_missing_files(self) -> dict[int, str]:
        """Look for paths that name no file, without reading any.

        Returns
        -------
        missing : dict of int to str
            Position and reason.
        """
        if self._on_demand:
            return {}
        return {
            index: explain(FileNotFoundError())
            for index, item in enumerate(self._items)
            if isinstance(item, (str, os.PathLike)) and not os.path.exists(item)
        }


def as_image_inputs(X: Any) -> ImageInputs:
    """Take images in any accepted form.

    Parameters
    ----------
    X : sequence, array, Series or DataFrame
        Paths, PIL images or arrays.

    Returns
    -------
    inputs : ImageInputs

    Raises
    ------
    TypeError, ValueError
        If `X` is no collection of images at all, or empty. Single bad images are found later,
        when they are read.
    """
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        raise TypeError(f"X is a single {type(X).__name__}: put it into a list. Give {_ACCEPTED}.")
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            raise ValueError(
                f"X is a data frame with {len(X.columns)} columns; images are one column of "
                "paths, PIL images or arrays: select it, as in X[['path']]"
            )
        X = X[X.columns[0]]
    if hasattr(X, "to_list"):
        X = X.to_list()
    if isinstance(X, np.ndarray):
        X = _check_array(X)
    elif isinstance(X, Mapping) or not (hasattr(X, "__len__") and hasattr(X, "__getitem__")):
        raise TypeError(f"X is a {type(X).__name__}, which is no sequence of images: {_ACCEPTED}")
    if len(X) == 0:
        raise ValueError(f"Found array with 0 sample(s): X holds no images. Give {_ACCEPTED}.")
    return ImageInputs(X, on_demand=not isinstance(X, (list, tuple, np.ndarray)))


def check_image_input(estimator: BaseEstimator, X: Any, *, reset: bool) -> ImageInputs:
    """Take the images that an estimator is given, and set or check the name of their column.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_`` and, from a data frame, ``feature_names_in_``.
    X : sequence, array, Series or DataFrame
        As for :func:`as_image_inputs`.
    reset : bool
        True in `fit`.

    Returns
    -------
    inputs : ImageInputs
    """
    inputs = as_image_inputs(X)
    if hasattr(X, "columns"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    elif reset:
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        estimator.n_features_in_ = 1
    return inputs


def _check_array(X: np.ndarray) -> np.ndarray | list[Any]:
    if X.dtype.kind in "OUT":
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim != 1:
            raise ValueError(
                f"X is an array of shape {X.shape} of dtype {X.dtype}; paths must be of shape "
                "(n_images,) or (n_images, 1)"
            )
        return X.tolist()
    if X.ndim == 4:
        return X
    if X.ndim == 3 and X.shape[2] not in (1, 3, 4):
        return X  # n grayscale images
    hint = "a single image must be put into a list; " if X.ndim in (2, 3) else ""
    raise ValueError(f"X is an array of shape {X.shape}: {hint}give {_ACCEPTED}.")


def _is_missing(item: Any) -> bool:
    if isinstance(item, (float, np.floating)):
        return bool(np.isnan(item))
    return item is None or type(item).__name__ in ("NAType", "NaTType")


def explain(error: Exception) -> str:
    """Say in a few words why an image could not be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, ValueError) or type(error) is OSError:
        return str(error)
    return f"{type(error).__name__}: {error}"


def list_bad_images(inputs: ImageInputs, bad: Mapping[int, str]) -> str:
    """List images that could not be read, with the reason of each.

    Parameters
    ----------
    inputs : ImageInputs
        All images.
    bad : mapping of int to str
        Position of each bad image, and why it is bad.

    Returns
    -------
    text : str
        Some lines; the first 20 images in full, then a count.
    """
    indices = sorted(bad)
    lines = [f"{len(bad)} of {len(inputs)} images could not be read:"]
    lines += [f"  {inputs.name(index)}: {bad[index]}" for index in indices[:_MAX_LISTED]]
    if len(indices) > _MAX_LISTED:
        lines.append(f"  ... and {len(indices) - _MAX_LISTED} more")
    return "\n".join(lines)
