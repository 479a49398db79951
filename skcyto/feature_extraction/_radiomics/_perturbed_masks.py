"""Masks as another hand might have drawn them: moved, turned, grown or shrunk, less even."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.parallel import Parallel, delayed

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction._radiomics._cache import source_digest
from skcyto.feature_extraction._radiomics._cases import (
    Case,
    ScanProblem,
    check_columns,
    make_cases,
    with_masks,
)
from skcyto.feature_extraction._radiomics._checks import present_labels
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import peek, read_case
from skcyto.feature_extraction._radiomics._runtime import import_sitk
from skcyto.utils._validation import PATH, RANDOM_STATE, check_parameters
from skcyto.utils._warnings import warn

_AMOUNT: list[Any] = [Interval(Real, 0, None, closed="left")]
_MAX_NAMED = 10
_FORMAT = 1  # to be raised with every change of what is drawn


@dataclass(frozen=True)
class Amounts:
    """How far masks may be changed: millimetres and degrees."""

    shift: float
    rotation: float
    resize: float
    contour: float
    smoothness: float


@check_parameters(
    path=PATH,
    n_repeats=[Interval(Integral, 1, None, closed="left")],
    shift=_AMOUNT,
    rotation=_AMOUNT,
    resize=_AMOUNT,
    contour=_AMOUNT,
    smoothness=[Interval(Real, 0, None, closed="neither")],
    mask_column=[str],
    label_channel=[None, Integral],
    random_state=RANDOM_STATE,
    n_jobs=[None, Integral],
)
def perturb_masks(
    X: Any,
    path: str | os.PathLike[str],
    *,
    n_repeats: int = 4,
    shift: float = 1.0,
    rotation: float = 5.0,
    resize: float = 0.5,
    contour: float = 0.5,
    smoothness: float = 5.0,
    image_column: str | Sequence[str] = "image",
    mask_column: str = "mask",
    label_channel: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> list[Any]:
    """Draw each mask again, as raters differ, to find the features that do not depend on it.

    In the manner of [1]_, each repeat of a mask is moved, turned about the axis of the slices,
    grown or shrunk, and gets another contour, by random amounts up to those given. It all happens
    to the signed distance from each label's contour, so that amounts below a voxel count; where
    labels would overlap, a voxel goes to the one that it is deepest in.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n_cases, n_images + 1), or sequence of pairs
        Images and masks, as :class:`RadiomicsExtractor` takes them.
    path : str or path-like
        Folder for the masks (NRRD), made where it is missing. A mask that is there already is
        not drawn again: its name is made of content, amounts, repeat and `random_state`.
    n_repeats : int, default=4
        How many times each mask is drawn.
    shift : float, default=1.0
        Largest shift along each axis, in mm.
    rotation : float, default=5.0
        Largest angle, in degrees, either way.
    resize : float, default=0.5
        Largest distance, in mm, by which the contour moves out or in.
    contour : float, default=0.5
        Standard deviation, in mm, of a random field that is added to the contour of each label.
    smoothness : float, default=5.0
        Standard deviation, in mm, of the Gaussian that smooths that field: the size of its bumps.
    image_column, mask_column : str (or list of str), default="image" and "mask"
        Columns of `X` where it is a DataFrame.
    label_channel : int or None, default=None
        Which channel of a mask with several to take.
    random_state : int, RandomState instance or None, default=None
        An int makes the same masks in every call, whatever other cases there are.
    n_jobs : int or None, default=None
        Number of cases in work at the same time, through joblib.

    Returns
    -------
    repeats : list of length n_repeats
        `X` with other masks each: a DataFrame where `X` is one, otherwise a list of rows.

    Raises
    ------
    InvalidScanError
        If an image or a mask cannot be used; every such case is listed.

    Warns
    -----
    InvalidInputWarning
        If a label vanishes.

    See Also
    --------
    skcyto.feature_selection.ReproducibilityFilter : Keeps the features that stay the same.

    Notes
    -----
    Pictures have no size in millimetres: amounts are pixels.

    References
    ----------
    .. [1] Zwanenburg A et al. Assessing robustness of radiomic features by image perturbation.
       Scientific Reports 9:614, 2019. doi:10.1038/s41598-018-36938-4.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skcyto.feature_extraction import RadiomicsExtractor, perturb_masks
    >>> image = np.random.default_rng(0).normal(size=(12, 30, 30))
    >>> mask = np.zeros((12, 30, 30), dtype=np.uint8)
    >>> mask[3:9, 8:22, 8:22] = 1
    >>> settings = {"featureClass": {"shape": ["VoxelVolume"]}}
    >>> extractor = RadiomicsExtractor([1], settings)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     extractor = extractor.fit([(image, mask)])
    ...     again = perturb_masks([(image, mask)], folder, n_repeats=2, random_state=0)
    ...     repeats = np.stack([extractor.transform(X) for X in again], axis=1)
    >>> repeats.shape
    (1, 2, 1)
    """
    columns = check_columns(image_column, mask_column, None)
    cases = make_cases(X, columns)
    folder = Path(path).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    amounts = Amounts(*map(float, (shift, rotation, resize, contour, smoothness)))
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    report = Report(len(cases), "raise", "raise")
    done = Parallel(n_jobs=n_jobs)(
        delayed(_perturb_case)(case, amounts, seed, n_repeats, label_channel, folder)
        for case in cases
    )
    vanished = []
    for case, (_, problem, lost) in zip(cases, done, strict=True):
        if problem is not None:
            report.add_problem(case, problem)
        vanished += [f"{case.name}, label {label}, repeat {repeat}" for label, repeat in lost]
    report.finish(what="masks")
    if vanished:
        shown = "; ".join(vanished[:_MAX_NAMED])
        more = f" and {len(vanished) - _MAX_NAMED} more" if len(vanished) > _MAX_NAMED else ""
        warn(
            f"{len(vanished)} labels vanish, for they are smaller than the amounts: {shown}{more}",
            InvalidInputWarning,
        )
    files = [names for names, _, _ in done]
    return [with_masks(X, cases, columns, [its[k] for its in files]) for k in range(n_repeats)]


def _perturb_case(
    case: Case,
    amounts: Amounts,
    seed: int,
    n_repeats: int,
    label_channel: int | None,
    folder: Path,
) -> tuple[list[str], str | None, list[tuple[int, int]]]:
    """Write a case's masks; return their files, what is wrong, and which labels vanish."""
    sitk = import_sitk()
    try:
        _, mask = read_case(case, label_channel, peek(case)[0])
        values = sitk.GetArrayViewFromImage(mask)
        labels = present_labels(values)
        content = source_digest(case.mask)
    except (ScanProblem, OSError, RuntimeError) as error:
        return [], error.reason if isinstance(error, ScanProblem) else str(error), []
    files, lost = [], []
    for repeat in range(n_repeats):
        text = repr((_FORMAT, content, label_channel, amounts, seed, repeat))
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        file = folder / f"{digest.hexdigest()}.nrrd"
        if not file.exists():
            rng = np.random.default_rng(int.from_bytes(digest.digest()))
            drawn = sitk.GetImageFromArray(
                perturb(values, mask.GetSpacing()[::-1], amounts, rng).astype(np.uint32)
            )
            drawn.CopyInformation(mask)
            part = file.with_name(f"{file.stem}.{os.getpid()}.nrrd")
            sitk.WriteImage(drawn, str(part), useCompression=True)
            os.replace(part, file)
        there = np.unique(sitk.GetArrayViewFromImage(sitk.ReadImage(str(file))))
        lost += [(label, repeat) for label in labels if label not in there]
        files.append(str(file))
    return files, None, lost


def perturb(
    values: NDArray[Any],
    spacing: Sequence[float],
    amounts: Amounts,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Draw a mask again, by random amounts.

    Parameters
    ----------
    values : ndarray of int, of 2 or 3 dimensions
    spacing : sequence of float
        In the order of the axes.
    amounts : Amounts
    rng : numpy.random.Generator

    Returns
    -------
    drawn : ndarray of int
    """
    ndim = values.ndim
    move = rng.uniform(-amounts.shift, amounts.shift, ndim)
    angle = np.deg2rad(rng.uniform(-amounts.rotation, amounts.rotation))
    grow = rng.uniform(-amounts.resize, amounts.resize)
    steps = np.asarray(spacing, dtype=float)
    box = _box(values != 0)
    extent = np.array([part.stop - part.start for part in box]) * steps
    reach = amounts.shift + amounts.resize + 4 * amounts.contour
    reach += np.hypot(*extent[-2:]) * abs(np.sin(angle / 2))
    margin = np.ceil(reach / steps).astype(int) + 2
    frame = tuple(
        slice(max(part.start - more, 0), min(part.stop + more, size))
        for part, more, size in zip(box, margin, values.shape, strict=True)
    )
    part = values[frame]
    matrix = np.eye(ndim)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[-2:, -2:] = [[cosine, -sine], [sine, cosine]]
    matrix = matrix * steps / steps[:, None]  # from millimetres to voxels
    centre = np.argwhere(part != 0).mean(axis=0)
    offset = centre - matrix @ (centre + move / steps)
    drawn = np.zeros_like(part)
    deepest = np.zeros(part.shape)
    for label in np.unique(part[part != 0]):
        depth = signed_distance(part == label, steps)
        depth = ndimage.affine_transform(depth, matrix, offset, order=1, mode="nearest") + grow
        if amounts.contour > 0:
            depth += amounts.contour * _smooth_field(part.shape, amounts.smoothness / steps, rng)
        wins = depth > deepest
        drawn[wins], deepest[wins] = label, depth[wins]
    result = np.zeros_like(values)
    result[frame] = drawn
    return result


def signed_distance(inside: NDArray[np.bool_], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure the distance from a region's contour, positive inside.

    The contour lies half way to the nearest voxel's neighbour on the other side: right for faces
    along the axes, and to about a third of a voxel for others.

    Parameters
    ----------
    inside : ndarray of bool
        With voxels inside and outside.
    steps : ndarray of shape (ndim,)
        Spacing, in the order of the axes.

    Returns
    -------
    distance : ndarray of float
    """
    result = np.zeros(inside.shape)
    if inside.all():
        return result + np.linalg.norm(np.array(inside.shape) * steps)
    here = np.indices(inside.shape)
    for side, sign in ((inside, 1.0), (~inside, -1.0)):
        distance, nearest = ndimage.distance_transform_edt(
            side, sampling=steps, return_indices=True
        )
        n_steps = np.maximum(np.abs(nearest - here).max(axis=0), 1)
        result += sign * distance * (1 - 0.5 / n_steps)
    return result


def _smooth_field(
    shape: tuple[int, ...], sigmas: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a Gaussian random field of unit variance, the same everywhere."""
    reach = [int(4 * sigma + 0.5) for sigma in sigmas]
    field = rng.standard_normal([n + 2 * more for n, more in zip(shape, reach, strict=True)])
    for axis, (sigma, more) in enumerate(zip(sigmas, reach, strict=True)):
        kernel = np.exp(-0.5 * (np.arange(-more, more + 1) / sigma) ** 2)
        kernel /= np.linalg.norm(kernel)
        field = ndimage.convolve1d(field, kernel, axis=axis)
        field = np.take(field, range(more, more + shape[axis]), axis=axis)
    return field


def _box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    return ndimage.find_objects(inside.astype(np.uint8))[0]
