"""Embed collections of images that are too large for memory."""

from __future__ import annotations

import os
from contextlib import closing
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from skcyto.exceptions import DamagedFileWarning, InvalidImageError, InvalidInputWarning
from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder
from skcyto.feature_extraction._parquet._manifest import (
    MANIFEST,
    SUCCESS,
    PathList,
    begin,
    fingerprint,
    make_manifest,
    name_part,
)
from skcyto.feature_extraction._parquet._parts import (
    ForeignPart,
    PartProblem,
    count_unreadable,
    import_parquet,
)
from skcyto.feature_extraction._parquet._runners import ClusterRunner, LocalRunner, Runner
from skcyto.utils._atomic import clear_parts, write_atomically
from skcyto.utils._damage import set_aside
from skcyto.utils._images._inputs import ImageInputs, list_bad_images
from skcyto.utils._progress import progress_bar
from skcyto.utils._warnings import warn
from skcyto.utils._wording import list_some

if TYPE_CHECKING:
    from distributed import Client

_MAX_LISTED = 20


class ParquetEmbeddingInfo(NamedTuple):
    """What :func:`embed_to_parquet` made.

    Parameters
    ----------
    path : pathlib.Path
        The data set.
    n_images : int
        Its rows.
    n_parts : int
        Its files.
    n_new_parts : int
        Files that the call wrote; the others were there.
    n_unreadable : int
        Rows whose image could not be read, in all parts.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skcyto.feature_extraction import ParquetEmbeddingInfo
    >>> info = ParquetEmbeddingInfo(Path("tiles"), 10_000_000, 2442, 2442, 3)
    >>> info.n_unreadable
    3
    """

    path: Path
    n_images: int
    n_parts: int
    n_new_parts: int
    n_unreadable: int


@validate_params(
    {
        "embedder": [EVA02TokenEmbedder],
        "X": "no_validation",
        "path": [str, os.PathLike],
        "client": "no_validation",
        "part_size": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def embed_to_parquet(
    embedder: EVA02TokenEmbedder,
    X: Any,
    path: str | os.PathLike[str],
    *,
    client: Client | None = None,
    part_size: int = 4096,
    verbose: int | bool = 0,
) -> ParquetEmbeddingInfo:
    """Embed any number of image files into a Parquet data set, part by part.

    Each part of `part_size` images becomes one file that appears whole or not at all. A call that
    was interrupted, in whatever way, is made again and goes on with the parts that are missing.
    Memory does not grow with the number of images.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        What embeds the images. One that is not fitted is cloned and fitted, unless it has to be
        fine-tuned first. Its `on_error` says what becomes of images that cannot be read: "raise"
        stops with their names, "nan" gives them rows of NaN with the reason beside them.

    X : sequence of str or path-like of length n_images
        Image files: a list, a one-dimensional array, a Series, or a data frame of one column.

    path : str or path-like
        Folder of the data set; made where it does not exist.

    client : distributed.Client or None, default=None
        Dask cluster whose workers embed the parts. They must see the same files under the same
        paths, and write to the same `path`. A worker that dies loses the part it was at,
        which another one does again. None embeds in this process.

    part_size : int, default=4096
        Images of one file.

    verbose : int or bool, default=0
        Whether a progress bar is shown.

    Returns
    -------
    info : ParquetEmbeddingInfo
        Named tuple of path, number of images, parts, parts new in this call, and images that
        could not be read.

    Raises
    ------
    InvalidImageError
        If images cannot be read and the embedder's `on_error` is "raise". Missing files are found
        before anything is embedded. Parts that are done stay.
    ValueError, FileExistsError
        If the directory was begun with another embedder, other paths or another `part_size`, or
        holds something else.
    NotFittedError
        If the embedder has to be fine-tuned and is not fitted.
    ImportError
        If pyarrow is not installed.

    See Also
    --------
    EmbeddingCache : Embeddings of images that are used again and again under cross-validation.

    Notes
    -----
    Files are named ``part-00000000.parquet`` and so on, so that readers that sort by name give the
    rows in the order of `X`. The columns are ``path``; one float32 column a feature, named as
    by ``get_feature_names_out``; and ``error``, the reason where an image could not be read, else
    null. ``_manifest.json`` holds what the data set was begun with. ``_SUCCESS`` is written when
    all parts are there, and removed by a call that finds some missing, damaged or to be done again.

    An image is known by its path: a part that is done is not done again where files have changed
    since. Remove its file, and the next call makes it anew. Parts that were written with rows of
    NaN are done again by a call with ``on_error="raise"``.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from skcyto.feature_extraction import EVA02TokenEmbedder, embed_to_parquet
    >>> embedder = EVA02TokenEmbedder(
    ...     "eva02_tiny_patch14_224", weights=None, image_size=28, random_state=0
    ... )
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # random weights are good for trials only
    ...     paths = [Path(folder, f"tile{i}.png") for i in range(5)]
    ...     for i, path in enumerate(paths):
    ...         Image.new("RGB", (28, 28), (40 * i, 0, 0)).save(path)
    ...     info = embed_to_parquet(embedder, paths, Path(folder, "tiles"), part_size=2)
    ...     frame = pd.read_parquet(info.path)
    >>> info.n_parts, frame.shape
    (3, (5, 194))
    """
    import_parquet()
    images = PathList(X, int(part_size))
    embedder = _fit_if_needed(embedder, images)
    folder = Path(path).expanduser().absolute()
    runner: Runner = LocalRunner(embedder) if client is None else ClusterRunner(embedder, client)
    description = runner.describe()
    manifest = make_manifest(description, images, int(part_size))
    is_known = begin(folder, manifest)
    mark = fingerprint(manifest)

    strict = embedder.on_error == "raise"
    remaining, n_unreadable = _find_remaining(images, folder, mark, strict, is_known)
    if remaining:  # Whatever becomes of this call, the data set is not whole now.
        (folder / SUCCESS).unlink(missing_ok=True)
    if strict:
        missing: dict[int, str] = {}
        for found in runner.find_missing(images.part(index) for index in remaining):
            missing |= found
        _raise_for(missing, images)
    bad: dict[int, str] = {}
    n_open = sum(images.n_rows(index) for index in remaining)
    with (
        progress_bar(total=len(images), desc="Embedding", unit="image", verbose=verbose) as bar,
        closing(
            runner.embed(
                (images.part(index) for index in remaining),
                folder,
                mark,
                description["precision"],
            )
        ) as results,
    ):
        bar.update(len(images) - n_open)
        for result in results:
            if strict:
                _raise_for(result.bad, images)
            n_unreadable += len(result.bad)
            bad = dict(sorted((bad | result.bad).items())[:_MAX_LISTED])
            bar.update(result.n_images)
    clear_parts(folder)
    write_atomically(folder / SUCCESS, b"")
    if bad:
        listed = "\n".join(f"  {images[row]} (row {row}): {why}" for row, why in bad.items())
        warn(
            f"{n_unreadable} of {len(images)} images could not be read; their features are NaN "
            f"and the column 'error' says why. Among them:\n{listed}",
            InvalidInputWarning,
        )
    return ParquetEmbeddingInfo(folder, len(images), images.n_parts, len(remaining), n_unreadable)


def _fit_if_needed(embedder: EVA02TokenEmbedder, images: PathList) -> EVA02TokenEmbedder:
    try:
        check_is_fitted(embedder)
    except NotFittedError:
        if getattr(embedder, "finetune", None) is not None:
            raise NotFittedError(
                "the embedder has to be fine-tuned: fit it on labelled images first, then embed "
                "with it"
            ) from None
        return clone(embedder).fit([images[0]])
    return embedder


def _find_remaining(
    images: PathList, folder: Path, mark: str, strict: bool, is_known: bool
) -> tuple[list[int], int]:
    """Find the parts that are not done, and count unreadable images in those that are.

    Where every image must be readable, a part that has others is not done. Damaged parts are set
    aside, and so are those of another data set, unless only they can tell what the folder is.
    """
    remaining, damaged, n_unreadable = [], {}, 0
    for index in range(images.n_parts):
        path = folder / name_part(index)
        try:
            found = count_unreadable(path, images.n_rows(index), mark)
        except ForeignPart as problem:
            if not is_known:
                raise ValueError(
                    f"{path} is of another data set, and {MANIFEST}, which says of which, was "
                    "damaged: call as the first time to go on, or choose another directory"
                ) from None
            found, damaged[path] = None, str(problem)
        except PartProblem as problem:
            found, damaged[path] = None, str(problem)
        if found is not None and not (strict and found):
            n_unreadable += found
            continue
        remaining.append(index)
    if damaged:
        # Readers of Parquet take no notice of files that begin with an underscore.
        asides = [
            f"{path.name} ({why}) as {set_aside(path, prefix='_').name}"
            for path, why in damaged.items()
        ]
        warn(
            f"{len(damaged)} parts in {str(folder)!r} are damaged and are embedded again; they "
            f"were set aside: {list_some(asides)}",
            DamagedFileWarning,
        )
    return remaining, n_unreadable


def _raise_for(bad: dict[int, str], images: PathList) -> None:
    if bad:
        raise InvalidImageError(
            f"{list_bad_images(ImageInputs(cast(Any, images)), bad)}\n"
            "Parts that are done stay. Mend these and call again to go on, or give the embedder "
            "on_error='nan' for rows of NaN with the reason beside them."
        )
