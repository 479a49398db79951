"""What a bug report needs to know about the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

# Extras whose packages are tools for development: no behaviour of skcyto depends on them.
_TOOLS = ("benchmark", "dev", "docs")


def show_versions() -> None:
    """Print the versions of Python and of the packages, the kernels and the devices.

    This is what a bug report should hold: results may differ in the last digits from one kernel of
    BLAS or torch to another.

    Examples
    --------
    >>> import skcyto
    >>> skcyto.show_versions()  # doctest: +SKIP
    System:
        python: 3.11.7
    executable: /home/me/.venv/bin/python
       machine: Linux-6.8-x86_64, 8 cores
    ...
    """
    for title, entries in (
        ("System", _system()),
        ("Packages", _packages()),
        ("Kernels", _kernels()),
        ("Devices", _devices()),
    ):
        found = list(entries)
        width = max(len(name) for name, _ in found)
        print(f"{title}:")
        for name, value in found:
            print(f"{name:>{width}}: {value}")
        print()


def _system() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "executable", sys.executable
    yield "machine", f"{platform.platform()}, {os.cpu_count()} cores"


def _packages() -> Iterator[tuple[str, str]]:
    """List what skcyto's own metadata names: there is no second list to keep up to date."""
    from skcyto import __version__

    yield "skcyto", __version__
    try:
        requirements = requires("skcyto") or []
    except PackageNotFoundError:
        requirements = []
        yield "dependencies", "unknown: skcyto runs from a folder and is not installed"
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", requirement)
        if extra is None or extra[1] not in _TOOLS:
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            try:
                yield name, version(name)
            except PackageNotFoundError:
                yield name, "not installed" + (f" (extra {extra[1]})" if extra else "")


def _kernels() -> Iterator[tuple[str, str]]:
    import scipy.linalg  # noqa: F401  # loads its own copy of BLAS
    import torch
    from threadpoolctl import threadpool_info

    yield "torch", f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    for library in threadpool_info():
        kind = " ".join(
            str(library[key])
            for key in ("internal_api", "version", "architecture")
            if library.get(key)
        )
        yield os.path.basename(library["filepath"]), f"{kind}, {library['num_threads']} threads"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, CUDA {torch.version.cuda}"
    if torch.backends.mps.is_available():
        yield "mps", "available"
    yield "cpu", platform.processor() or platform.machine()
