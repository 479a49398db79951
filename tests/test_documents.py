"""What is written for users: no page is left half done."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guide").glob("*.md")]
)


def outside_code(text):
    """The lines of a page that are no code."""
    return re.sub(r"^(```|~~~).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_placeholder_stands_for_what_is_missing(page):
    """A line of capitals alone, such as FIGURES, waits for somebody to fill it in."""
    left = [
        line
        for line in outside_code(page.read_text(encoding="utf-8"))
        if re.fullmatch("[A-Z_]{4,}", line)
    ]
    assert left == []
