"""Names with special characters leave cards and tables whole."""

import re
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import skcyto
from skcyto.model_selection import compare_models
from skcyto.utils._markdown import code, escape_markdown

HOSTILE = "<script>alert(1)</script>\n\n| a*b* `c` [x](http://y) _z_ $m$ \\n & #1 %"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bare_cell", "bare_cell"),
        ("_cell_", r"\_cell\_"),
        ("<b>", "&lt;b&gt;"),
        ("a|b", r"a\|b"),
        ("a\n\nb\r\nc", "a b c"),
        ("`x` *y* [z](u)", r"\`x\` \*y\* \[z\](u)"),
        ("a & b", "a &amp; b"),
        ("back\\slash", r"back\\slash"),
        (3, "3"),
        ("Zelle 1 ↓", "Zelle 1 ↓"),
    ],
)
def test_text_is_shown_as_it_is(text, expected):
    assert escape_markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a_b", "`a_b`"), ("a|b\nc", r"`a\|b c`"), ("x`y", "`` x`y ``"), ("``", "``` `` ```")],
)
def test_code_has_fences_of_its_own(text, expected):
    assert code(text) == expected


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    y = np.array(["healthy", HOSTILE])[np.arange(60) % 2]
    models = {HOSTILE: LogisticRegression(), "[plain]": LogisticRegression(C=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compare_models(models, rng.normal(size=(60, 3)), y, cv=3, random_state=0)


def check_tables(text, n_tables):
    """Every table has as many cells in each row, and no markup of a name is left."""
    outside = re.sub(r"(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<script" not in outside
    assert "[x](" not in outside.replace(r"\[x\](", "")
    blocks = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    assert len(blocks) == n_tables
    for block in blocks:
        lines = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert re.fullmatch(r"\|( -+:? \|)+", lines[1])


def test_markdown_stays_whole(comparison):
    text = comparison.to_markdown()
    check_tables(text, 1)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 4
    model = LogisticRegression().fit(np.eye(2), ["healthy", HOSTILE])
    check_tables(skcyto.model_card(model, comparison, candidate=HOSTILE), 5)


def test_latex_stays_whole(comparison):
    text = comparison.to_latex()
    assert "\n\n" not in text.strip()
    assert "<" not in text
    lines = text.splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == 2
    plain = [re.sub(r"\\[a-z]+|\\[&%$#_{}]", "", line) for line in body]
    assert plain[0].count("&") == plain[1].count("&")
    for line in plain:
        assert line.count("{") == line.count("}")
        assert not set(re.sub(r"\$[-\\a-z ]*\$", "", line)) & set("#%_^~$|")
        # "\\" before a bracket would take it for an argument.
        assert not line.startswith("[")
