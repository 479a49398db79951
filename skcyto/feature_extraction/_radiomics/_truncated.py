"""Notice truncated files that ITK reads without a word.

It fills the rest of a truncated NIfTI, VTK, MRC or GIPL file with whatever is in memory, and gives
the pages that are left of a TIFF file. Of other formats it raises an error by itself.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skcyto.feature_extraction._radiomics._cases import ScanProblem

_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".nia")
_TIFF_SUFFIXES = (".tif", ".tiff")
_TIFF_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_TYPE_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_TIFF_PIXELS = ((273, 279), (324, 325))  # offsets and byte counts of strips and of tiles
_FIRST_PRIVATE_TAG = 32768


def suffix_of(path: str) -> str:
    """Return a path's suffix in lower case, `.nii.gz` and the like whole."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        return "".join(suffixes[-2:])
    return suffixes[-1] if suffixes else ""


def check_complete(path: str, role: str, *, quick: bool = False) -> None:
    """Compare the size of a NIfTI, Analyze or TIFF file with what it says itself.

    Parameters
    ----------
    path : str
        Of a file of any format.
    role : {"image", "mask"}
    quick : bool, default=False
        Leave out NIfTI and Analyze, whose dimension the header has, and which may be packed.

    Raises
    ------
    ScanProblem
        If it is truncated.
    """
    if suffix_of(path) in _NIFTI_SUFFIXES:
        if not quick:
            _check_nifti(path, role)
    elif suffix_of(path) in _TIFF_SUFFIXES:
        _check_tiff(path, role)


def check_voxels(path: str, role: str, n_bytes: int) -> None:
    """Compare the size of a GIPL, MRC or binary VTK file with that of the voxels read from it.

    Parameters
    ----------
    path : str
        Of a file of any format.
    role : {"image", "mask"}
    n_bytes : int
        Of the voxels in memory.

    Raises
    ------
    ScanProblem
        If it is truncated.
    """
    suffix = suffix_of(path)
    if suffix not in (".gipl", ".gipl.gz", ".mrc", ".rec", ".vtk"):
        return
    opener = gzip.open if suffix == ".gipl.gz" else open
    try:
        with opener(path, "rb") as file:
            head = file.read(1024)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        head = b""  # the size says what is wrong
    if suffix == ".vtk":
        # Where values are binary, they follow this line of the text that describes them.
        last = re.search(rb"\n(LOOKUP_TABLE|VECTORS|COLOR_SCALARS|TENSORS)[^\n]*\n", head)
        if last is None or b"\nBINARY" not in head:
            return
        start = last.end()
    elif suffix in (".mrc", ".rec"):
        start = 1024 + struct.unpack("<i", head[92:96])[0]
    else:
        start = 256
    size = _unpacked_size(path, role)
    if size < start + n_bytes:
        raise _truncated(path, role, size, start + n_bytes)


def _truncated(path: str, role: str, size: int, promised: int) -> ScanProblem:
    return ScanProblem(
        f"the {role} file {path} is truncated: it holds {size} of {promised} bytes; copy or "
        "export it again"
    )


def _check_tiff(path: str, role: str) -> None:
    size = os.path.getsize(path)
    try:
        needed = _needed_tiff_size(path, size)
    except struct.error:
        needed = size + 1  # cut within a number
    if needed > size:
        raise _truncated(path, role, size, needed)


def _needed_tiff_size(path: str, size: int) -> int:
    """Follow a TIFF file's pages to the last byte that one of them needs, or past its end."""
    with open(path, "rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        kind = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
        if kind not in (42, 43):
            return 0
        layout = _Layout(order, "I", "H") if kind == 42 else _Layout(order, "Q", "Q")
        offset = layout.number(head, layout.width)
        needed, seen = 2 * layout.width, set()
        while offset and offset not in seen and needed <= size:
            seen.add(offset)
            page_needs, offset = _follow_page(file, layout, offset, size)
            needed = max(needed, page_needs)
    return needed


@dataclass(frozen=True)
class _Layout:
    """How a TIFF file writes: byte order, and the codes of `struct` for offsets and counts."""

    order: str
    offset: str
    count: str

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return struct.calcsize(f"={self.offset}")

    def number(self, data: bytes, position: int) -> int:
        """Read an offset or a number of values."""
        return int(struct.unpack_from(f"{self.order}{self.offset}", data, position)[0])


def _follow_page(file: BinaryIO, layout: _Layout, offset: int, size: int) -> tuple[int, int]:
    """Return the last byte that a page needs, and the offset of the next page."""
    file.seek(offset)
    n_count = struct.calcsize(f"={layout.count}")
    n_entries = struct.unpack(f"{layout.order}{layout.count}", file.read(n_count))[0]
    entry_size = 4 + 2 * layout.width
    needed = offset + n_count + n_entries * entry_size + layout.width
    if needed > size:
        return needed, 0
    block = file.read(needed - file.tell())
    values: dict[int, tuple[int, ...]] = {}
    for start in range(0, n_entries * entry_size, entry_size):
        tag, code = struct.unpack_from(f"{layout.order}HH", block, start)
        n_values = layout.number(block, start + 4)
        n_bytes = _TIFF_TYPE_SIZES.get(code, 0) * n_values
        place = start + 4 + layout.width
        raw = block[place : place + layout.width]
        if n_bytes > layout.width:
            if tag >= _FIRST_PRIVATE_TAG:
                continue  # nothing that an image needs
            elsewhere = layout.number(block, place)
            if elsewhere + n_bytes > size:
                return elsewhere + n_bytes, 0
            file.seek(elsewhere)
            raw = file.read(n_bytes)
        if code in _TIFF_INTEGERS:
            number = f"{layout.order}{n_values}{_TIFF_INTEGERS[code]}"
            values[tag] = struct.unpack(number, raw[:n_bytes])
    for starts, lengths in _TIFF_PIXELS:
        for where, length in zip(values.get(starts, ()), values.get(lengths, ()), strict=False):
            needed = max(needed, where + length)
    return needed, layout.number(block, n_entries * entry_size)


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
    promised = _promised_nifti_size(header_path, with_header=header_path == data_path)
    if promised is not None and size < promised:
        raise _truncated(data_path, role, size, promised)


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


def _promised_nifti_size(path: str, *, with_header: bool) -> int | None:
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
