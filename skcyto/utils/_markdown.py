"""Names of classes, models and features in Markdown, whatever characters they have."""

from __future__ import annotations

import html
import re

_MARKUP = re.compile(r"([\\`*\[\]~|$])")
# Within words it is no markup, and names of classes have many.
_OUTER_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")


def escape_markdown(text: object) -> str:
    """Write text so that Markdown shows it as it is, on one line.

    Parameters
    ----------
    text : object
        A name; what is no string is shown by ``str``.

    Returns
    -------
    escaped : str
        Fit for the running text and the cells of pipe tables.
    """
    line = html.escape(" ".join(str(text).split()), quote=False)
    return _OUTER_UNDERSCORE.sub(r"\\_", _MARKUP.sub(r"\\\1", line))


def code(text: object) -> str:
    """Write text as code, on one line, also in a cell of a pipe table.

    Parameters
    ----------
    text : object
        A name or a value; what is no string is shown by ``str``.

    Returns
    -------
    code : str
        Between as many backticks as it needs.
    """
    line = " ".join(str(text).split()).replace("|", "\\|")
    runs = [len(run) for run in re.findall("`+", line)]
    fence = "`" * (max(runs, default=0) + 1)
    return f"{fence} {line} {fence}" if runs else f"{fence}{line}{fence}"
