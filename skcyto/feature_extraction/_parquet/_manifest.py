"""What a data set of embeddings was begun with, so that nothing else is ever mixed into it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skcyto.utils._atomic import write_once
from skcyto.utils._damage import report_damage, seal_json, unseal_json
from skcyto.utils._devices._device import resolve_device, resolve_precision
from skcyto.utils._images._decoding import describe_reader

if TYPE_CHECKING:
    from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder

# Raised whenever a part would be written otherwise than before.
_FORMAT = 2
# Readers of Parquet take no notice of files that begin with an underscore.
MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class Part:
    """A run of images that become one file.

    Attributes
    ----------
    index : int
        Number of the part, from 0.
    start : int
        Row of its first image.
    paths : list of str
        Its images.
    """

    index: int
    start: int
    paths: list[str]

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return name_part(self.index)


class PathList:
    """Paths that are handed out part by part, whatever holds them.

    Parameters
    ----------
    paths : sequence of str or path-like
        List, tuple, one-dimensional array, Series, or data frame of one column.
    part_size : int
        Images of a part; the last one may have fewer.
    """

    def __init__(self, paths: Any, part_size: int) -> None:
        if hasattr(paths, "columns"):
            if len(paths.columns) != 1:
                raise ValueError(
                    f"paths is a data frame with {len(paths.columns)} columns; select the one "
                    "that holds the paths, as in paths=frame['path']"
                )
            paths = paths[paths.columns[0]]
        # Slices of a pandas Series may go by its labels, those of its array never do.
        paths = getattr(paths, "array", paths)
        if isinstance(paths, (str, bytes, os.PathLike, dict)) or not (
            hasattr(paths, "__len__") and hasattr(paths, "__getitem__")
        ):
            raise TypeError(
                f"paths is a {type(paths).__name__}: give a list, a one-dimensional array or a "
                "Series of paths"
            )
        if getattr(paths, "ndim", 1) != 1:
            raise ValueError(f"paths is an array of shape {paths.shape}; it must have 1 dimension")
        if len(paths) == 0:
            raise ValueError("paths is empty: there is no image to embed")
        self._paths: Sequence[Any] = paths
        self._part_size = part_size

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return -(-len(self) // self._part_size)

    def __getitem__(self, row: int) -> str:
        return self._as_text(self._paths[row], row)

    def n_rows(self, index: int) -> int:
        """Count the images of a part.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        n_rows : int
        """
        return min(self._part_size, len(self) - index * self._part_size)

    def part(self, index: int) -> Part:
        """Return a part.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        part : Part
        """
        start = index * self._part_size
        items = self._paths[start : start + self._part_size]
        return Part(index, start, [self._as_text(p, start + i) for i, p in enumerate(items)])

    def parts(self) -> Iterator[Part]:
        """Yield all parts, one at a time."""
        return (self.part(index) for index in range(self.n_parts))

    def digest(self) -> str:
        """Hash all paths in their order."""
        total = hashlib.blake2b(digest_size=20)
        for part in self.parts():
            for path in part.paths:
                total.update(os.fsencode(path) + b"\0")
        return total.hexdigest()

    @staticmethod
    def _as_text(path: Any, row: int) -> str:
        if isinstance(path, (str, os.PathLike)):
            text = os.fspath(path)
            if isinstance(text, str):
                return str(text)
        raise TypeError(f"paths holds a {type(path).__name__} in row {row} ({path!r}), not a path")


def name_part(index: int) -> str:
    """Name the file of a part; the names sort as the parts do.

    Parameters
    ----------
    index : int
        Its number, from 0.

    Returns
    -------
    name : str
    """
    return f"part-{index:08d}.parquet"


def describe_embedder(embedder: EVA02TokenEmbedder) -> dict[str, Any]:
    """Say everything that determines the features, beside the images.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Fitted.

    Returns
    -------
    description : dict
        Fit for JSON.
    """
    info = embedder._source.describe()
    precision = resolve_precision(embedder.precision, resolve_device(embedder.device))
    return json.loads(
        json.dumps(
            {
                "model_name": info.model_name,
                "weights": embedder._weights_identity,
                "tokens": embedder._token_names,
                "final_norm": embedder.final_norm,
                "views": embedder.views,
                "image_size": info.image_size,
                "preprocessing": dict(info.data_config),
                "reader": describe_reader(),
                "precision": str(precision).removeprefix("torch."),
            },
            default=str,
        )
    )


def make_manifest(embedder: dict[str, Any], paths: PathList, part_size: int) -> dict[str, Any]:
    """Put together what determines a data set.

    Parameters
    ----------
    embedder : dict
        What `describe_embedder` said.
    paths : PathList
        All images.
    part_size : int
        Images of a part.

    Returns
    -------
    manifest : dict
    """
    return {
        "format": _FORMAT,
        **{f"embedder.{key}": value for key, value in embedder.items()},
        "n_images": len(paths),
        "paths": paths.digest(),
        "part_size": part_size,
    }


def fingerprint(manifest: dict[str, Any]) -> str:
    """Hash a manifest; every part carries this.

    Parameters
    ----------
    manifest : dict
        What `make_manifest` returned.

    Returns
    -------
    digest : str
    """
    text = json.dumps(manifest, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def begin(directory: Path, manifest: dict[str, Any]) -> bool:
    """Begin a data set in a directory, or see that it was begun with the same manifest.

    A damaged manifest is named in a warning, set aside and written anew.

    Parameters
    ----------
    directory : Path
        Made where it does not exist.
    manifest : dict
        What determines the data set.

    Returns
    -------
    is_known : bool
        Whether the parts in the directory are known to be of this data set, if they are any.

    Raises
    ------
    FileExistsError
        If the directory holds something else.
    ValueError
        If it was begun with another embedder, other paths or parts of another size.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MANIFEST
    known = None
    was_there = path.exists()
    if was_there:
        try:
            known = unseal_json(path.read_bytes())
        except ValueError as error:
            report_damage(path, error, "it is written anew")
    is_known = known is not None or not was_there
    if known is None:
        strangers = sorted(p.name for p in directory.iterdir() if not p.name.startswith((".", "_")))
        if strangers and not was_there:
            raise FileExistsError(
                f"{str(directory)!r} holds other files already ({', '.join(strangers[:5])}) and "
                f"no {MANIFEST}: choose an empty or a new directory"
            )
        write_once(path, seal_json(manifest))
        known = unseal_json(path.read_bytes())  # perhaps of a process that was faster
    differing = [
        f"{key}: then {known.get(key)!r}, now {manifest.get(key)!r}"
        for key in {**known, **manifest}
        if known.get(key) != manifest.get(key)
    ]
    if differing:
        raise ValueError(
            f"{str(directory)!r} was begun otherwise:\n  "
            + "\n  ".join(differing)
            + "\nCall it as then to go on, or choose another directory."
        )
    return is_known
