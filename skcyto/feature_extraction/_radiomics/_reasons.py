"""What ITK and pyradiomics say of an error, in one line."""

from __future__ import annotations

import re

# Lines of ITK that say nothing of the reason, and what it puts before those that do.
_IDLE_LINE = re.compile(r"^Exception thrown|^Reason: No such file|trouble|:$")
_ITK_PREFIX = re.compile(r"^(?:ITK ERROR|sitk::ERROR): (?:\w+\(0x[0-9a-f]+\): )?")
_SPOKEN_BY_ITK = re.compile(r"^Exception thrown in SimpleITK|^\S*(?:ITK ERROR|sitk::ERROR)", re.M)


def itk_reason(error: Exception) -> str:
    """Take the first line that tells anything."""
    lines = _lines(error)
    telling = [line for line in lines if not _IDLE_LINE.search(line)]
    return _ITK_PREFIX.sub("", [*telling, *reversed(lines), "unknown reason"][0])


def one_sentence(error: Exception) -> str:
    """Put pyradiomics' lines, which continue each other, into one; take what ITK tells of its."""
    if _SPOKEN_BY_ITK.search(str(error)):
        return itk_reason(error)
    return " ".join(_lines(error)) or type(error).__name__


def _lines(error: Exception) -> list[str]:
    return [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
