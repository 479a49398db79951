"""What skcyto's displays share: axes, colours that everyone can tell apart, room for names."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart under the common colour-vision deficiencies and in grey print.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)


def get_figure_and_axes(ax: Axes | None = None, **figure_kwargs: Any) -> tuple[Figure, Axes]:
    """Return the figure and axes to draw on, making them where `ax` is None.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        Axes to draw on.
    **figure_kwargs : dict
        Given to :func:`matplotlib.pyplot.subplots` where `ax` is None.

    Returns
    -------
    figure : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    if ax is None:
        figure_kwargs.setdefault("layout", "constrained")
        figure, ax = plt.subplots(**figure_kwargs)
        return figure, ax
    return ax.figure, ax  # type: ignore[return-value]


# Fonts with the characters of China, Japan and Korea, as systems and their packages bring them.
_FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "SimHei",
    "Arial Unicode MS",
)
_LAST_OF_LATIN = 0x2AF  # matplotlib's own font has these and many more


def n_cells(text: str) -> int:
    """Count the columns of a text: characters of China, Japan and Korea are twice as wide.

    Parameters
    ----------
    text : str

    Returns
    -------
    n : int
    """
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, width: int) -> str:
    """Break a name into lines of a width, within words too.

    Parameters
    ----------
    text : str
        The name.
    width : int
        Columns of a line.

    Returns
    -------
    text : str
    """
    n_wide = n_cells(text) - len(text)
    # textwrap counts characters: with wide ones among them fewer fit into a line.
    share = len(text) / (len(text) + n_wide) if text else 1.0
    return textwrap.fill(text, max(1, int(width * share)), break_long_words=True)


def text_width(texts: Iterable[str], size: float) -> float:
    """Estimate the width of the longest line of some texts in inches.

    Parameters
    ----------
    texts : iterable of str
    size : float
        Of the font, in points.

    Returns
    -------
    width : float
    """
    lines = [line for text in texts for line in text.splitlines()]
    return 0.62 * size / 72 * max(map(n_cells, lines), default=0)


def choose_fonts(figure: Figure) -> None:
    """Give texts that matplotlib's font cannot show one that can; say so where none is installed.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure with all its texts.

    Warns
    -----
    UserWarning
        If no installed font has the characters, which would be drawn as boxes.
    """
    from matplotlib.text import Text

    for ax in figure.axes:
        # Ticks make their labels when they are asked for.
        ax.get_xticklabels()
        ax.get_yticklabels()
    texts = [text for text in figure.findobj(Text) if _beyond_latin(text.get_text())]
    missing: set[str] = set()
    for text in texts:
        missing |= _without_glyph(_beyond_latin(text.get_text()), text.get_fontfamily())
    if not missing:
        return
    family = _find_family(missing)
    if family is None:
        warn(
            f"no installed font has the characters {''.join(sorted(missing)[:8])} of the names in "
            "this figure, which are drawn as boxes: install one, such as Noto Sans CJK "
            "(fonts-noto-cjk on Debian and Ubuntu), and empty matplotlib's cache of fonts "
            "(matplotlib.get_cachedir())"
        )
        return
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), family])


def _beyond_latin(text: str) -> set[str]:
    return {char for char in text if ord(char) > _LAST_OF_LATIN and not char.isspace()}


def _without_glyph(characters: set[str], families: Iterable[str]) -> set[str]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    for family in families:
        font = get_font(findfont(FontProperties(family=[family])))
        characters = {char for char in characters if not font.get_char_index(ord(char))}
    return characters


def _find_family(characters: set[str]) -> str | None:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    for family in _FALLBACK_FONTS:
        if family in installed and not _without_glyph(characters, [family]):
            return family
    return None
