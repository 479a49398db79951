"""What becomes of files that are damaged or were left half-written."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

# No write takes that long; whoever began the file was killed.
_OLD_SECONDS = 3600.0


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that nothing is lost and nobody takes it for a whole one.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    aside : Path
        Its new name, in the same folder.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    os.replace(path, aside)
    return aside


def remove_old_parts(folder: Path, pattern: str = "*.part") -> None:
    """Remove files that a killed process left half-written.

    Those of the last hour stay: another process, perhaps on another machine, may be at them.

    Parameters
    ----------
    folder : Path
        Where they are; it need not exist.
    pattern : str, default="*.part"
        Their names.
    """
    for part in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _OLD_SECONDS:
                part.unlink()
