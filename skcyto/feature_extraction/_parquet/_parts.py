"""Embed one part of a large collection and put it into one Parquet file."""

from __future__ import annotations

import copy
import io
import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction._parquet._manifest import Part, describe_embedder
from skcyto.utils._atomic import write_atomically
from skcyto.utils._damage import SEAL_SIZE, find_damage, make_seal
from skcyto.utils._file_names import as_utf8
from skcyto.utils._images._inputs import ImageInputs, explain
from skcyto.utils._optional import import_optional

if TYPE_CHECKING:
    from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder

_FINGERPRINT = b"skcyto.fingerprint"
_UNREADABLE = b"skcyto.n_unreadable"


@dataclass(frozen=True)
class PartResult:
    """What came of a part.

    Attributes
    ----------
    n_images : int
        Its images.
    bad : dict of int to str
        Row among all images and reason of each that could not be read.
    """

    n_images: int
    bad: dict[int, str]


def find_missing(part: Part) -> dict[int, str]:
    """Look for paths of a part that name no file, without reading any.

    Parameters
    ----------
    part : Part
        The images.

    Returns
    -------
    missing : dict of int to str
        Row among all images, and reason.
    """
    missing = ImageInputs(part.paths).find_missing_files()
    return {part.start + index: reason for index, reason in missing.items()}


def embed_part(
    embedder: EVA02TokenEmbedder,
    part: Part,
    directory: Path,
    fingerprint: str,
    precision: str,
) -> PartResult:
    """Embed a part and write its file, which appears whole or not at all.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Fitted. Where its `on_error` is "raise" and an image is bad, nothing is written.
    part : Part
        The images.
    directory : Path
        The data set.
    fingerprint : str
        Of the data set.
    precision : str
        What the data set is computed in.

    Returns
    -------
    result : PartResult

    Raises
    ------
    ValueError
        If this process would compute in another precision.
    """
    here = describe_embedder(embedder)["precision"]
    if here != precision:
        raise ValueError(
            f"the data set is computed in {precision}, but this process would compute in {here}: "
            f"give the embedder precision={precision!r}, or workers of one kind"
        )
    # A copy, as threads of a worker may share the embedder. Bad rows are named further on, by
    # their place among all images.
    own = copy.copy(embedder).set_params(on_error="nan", verbose=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*Their rows are NaN", InvalidInputWarning)
        features = np.asarray(own.transform(part.paths), dtype=np.float32)
    reasons = {
        int(index): _find_reason(part.paths, int(index))
        for index in np.flatnonzero(np.isnan(features).any(axis=1))
    }
    if not reasons or embedder.on_error == "nan":
        content = _to_parquet(
            part.paths, features, own.get_feature_names_out(), reasons, fingerprint
        )
        write_atomically(directory / part.file_name, _with_seal(content, part.file_name))
    bad = {part.start + index: reason for index, reason in reasons.items()}
    return PartResult(len(part.paths), bad)


class PartProblem(Exception):
    """A part is not what it should be; the message says why."""


class ForeignPart(PartProblem):
    """A part is whole and of another data set."""


def count_unreadable(path: Path, n_rows: int, fingerprint: str) -> int | None:
    """Look whether a part is done.

    Parameters
    ----------
    path : Path
        Its file.
    n_rows : int
        Rows it must have.
    fingerprint : str
        Of the data set it must belong to.

    Returns
    -------
    n_unreadable : int or None
        Images of it that could not be read; None where the file is absent.

    Raises
    ------
    PartProblem
        If it is damaged or of another data set.
    """
    import_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        damage = find_damage(path, path.name, n_after=_footer_size(path))
        if damage is not None:
            raise PartProblem(damage)
        metadata = pq.read_metadata(path)
    except FileNotFoundError:
        return None
    except pa.ArrowException as error:
        raise PartProblem(str(error)) from error
    facts = metadata.metadata or {}
    if metadata.num_rows != n_rows or facts.get(_FINGERPRINT) != fingerprint.encode():
        raise ForeignPart("it is of another data set")
    return int(facts[_UNREADABLE])


def _with_seal(content: bytes, name: str) -> bytes:
    """Put the checksum of a Parquet file before its footer, where no reader looks."""
    (size,) = struct.unpack("<I", content[-8:-4])
    place = len(content) - size - 8
    return content[:place] + make_seal(content, name) + content[place:]


def _footer_size(path: Path) -> int:
    """Return the length of what follows the checksum, as far as the end of the file tells."""
    end = path.stat().st_size
    if end < SEAL_SIZE + 8:
        return 0
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        (size,) = struct.unpack("<I", file.read(8)[:4])
    return min(size + 8, end - SEAL_SIZE)


def import_parquet() -> None:
    """Raise an ImportError that says what to install where Parquet cannot be written."""
    import_optional("pyarrow.parquet", extra="parquet", purpose="embed_to_parquet")


def _find_reason(paths: list[str], index: int) -> str:
    """Read an image again that gave no features, to say why."""
    try:
        ImageInputs(paths).load(index).decode()
    except Exception as error:  # Each of Pillow's decoders fails in its own way.
        return explain(error)
    return "the network gave NaN, or the image could not be read at that time"


def _to_parquet(
    paths: list[str],
    features: np.ndarray,
    names: Any,
    reasons: dict[int, str],
    fingerprint: str,
) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"path": pa.array([as_utf8(path) for path in paths], pa.string())}
    # One column a feature, so that readers may take those that they need.
    by_column = np.ascontiguousarray(features.T)
    columns |= {str(name): pa.array(by_column[i]) for i, name in enumerate(names)}
    columns["error"] = pa.array([as_utf8(reasons.get(i)) for i in range(len(paths))], pa.string())
    table = pa.table(columns).replace_schema_metadata(
        {_FINGERPRINT: fingerprint.encode(), _UNREADABLE: str(len(reasons)).encode()}
    )
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=len(paths),
        compression="zstd",
        # Floats whose bytes stand in streams of their own compress; a dictionary would not.
        use_dictionary=["error"],
        use_byte_stream_split=[str(name) for name in names],
        write_statistics=["path", "error"],
    )
    return buffer.getvalue()
