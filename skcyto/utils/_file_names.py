"""Names of files as text that any table can hold."""

from __future__ import annotations

from typing import TypeVar

Text = TypeVar("Text", str, str | None)


def as_utf8(name: Text) -> Text:
    r"""Write bytes of a file's name that are no UTF-8 as ``\xfc``, and leave all else.

    Python stands in for such bytes by characters that neither Parquet nor CSV can hold.

    Parameters
    ----------
    name : str or None
        As Python names the file, or a text that names it.

    Returns
    -------
    text : str or None

    Examples
    --------
    >>> from skcyto.utils._file_names import as_utf8
    >>> print(as_utf8("zelle_\udcfc.png"))
    zelle_\xfc.png
    """
    if name is None or name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
