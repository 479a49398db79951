"""Look at every image before long work begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from skcyto.exceptions import InvalidImageError
from skcyto.utils._images._inputs import ImageInputs, explain, list_bad_images
from skcyto.utils._images._notes import ImageNotes
from skcyto.utils._prefetch import map_ahead

_AHEAD = 32
_MAX_WAITING_BYTES = 2**27


def check_images(
    inputs: ImageInputs,
    rows: Iterable[int],
    *,
    n_threads: int,
    advance: Callable[[int], Any],
) -> list[bytes]:
    """Read and decode images once, and say which cannot be.

    Parameters
    ----------
    inputs : ImageInputs
        All images.
    rows : iterable of int
        Positions of those that matter.
    n_threads : int
        Threads that read and decode.
    advance : callable
        Told how many images were looked at.

    Returns
    -------
    digests : list of bytes
        Hash of the content of each of `rows`.

    Raises
    ------
    InvalidImageError
        If one or more cannot be read; it lists all of them.
    """
    rows = list(rows)
    # The quick look first: most bad images are paths that name nothing.
    missing = inputs.find_missing_files()
    bad = {row: missing[row] for row in rows if row in missing}

    def check(row: int) -> tuple[int, bytes | str]:
        try:
            note = notes.of(inputs.name(row))
            image = inputs.load(row, note)
            image.decode_for(lambda picture: None, note)
            return row, image.digest
        except MemoryError:
            raise
        except Exception as error:  # Each of Pillow's decoders fails in its own way.
            return row, explain(error)

    digests: list[bytes] = []
    notes = ImageNotes()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="skcyto-check")
    try:
        for row, found in map_ahead(
            pool, check, rows, ahead=_AHEAD, weigh=inputs.weigh, max_weight=_MAX_WAITING_BYTES
        ):
            advance(1)
            if isinstance(found, bytes):
                digests.append(found)
            else:
                bad[row] = found
    finally:
        pool.shutdown(cancel_futures=True)
    if bad:
        raise InvalidImageError(
            f"{list_bad_images(inputs, bad)}\nMend or leave out these: nothing was trained.", bad
        )
    notes.warn()
    return digests
