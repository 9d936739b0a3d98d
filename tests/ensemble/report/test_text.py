from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from ensemble.report.svg import INK, Drawing
from ensemble.report.text import (
    NOT_MEASURED,
    compact,
    count,
    decimal,
    duration,
    file_name,
    finalize,
    percent,
    shorten,
    signed,
    visible,
    without_folder,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

pytestmark = pytest.mark.figures


@given(st.text())
def test_nothing_unseen_is_left(text: str) -> None:
    shown = visible(text)
    shown.encode()
    allowed = "\n\t\u200c\u200d"
    unseen = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert all(c in allowed or unicodedata.category(c) not in unseen for c in shown)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M"])))
def test_ordinary_text_is_untouched(text: str) -> None:
    assert visible(text) == text


def test_joiners_stay_and_overrides_do_not() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467\n"
    assert visible(family + "\u202e") == family + "[U+202E]"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_what_is_missing_is_said_so(value: float | None) -> None:
    assert finalize(value) is NOT_MEASURED
    assert decimal(value) is None
    assert signed(value) is None
    assert percent(value) is None
    assert duration(value) is None


def test_markup_passes_and_numbers_stay_numbers() -> None:
    assert finalize(Markup("<b>\x07</b>")) == "<b>\x07</b>"
    assert finalize(0) == 0
    assert finalize("\x07") == "[U+0007]"


def test_numbers_are_written_for_readers() -> None:
    minus = "\N{MINUS SIGN}"
    assert decimal(-0.12345) == f"{minus}0.1235"
    assert signed(0.5, 2) == "+0.50"
    assert signed(-0.5, 2) == f"{minus}0.50"
    assert decimal(-0.00004) == "0.0000"
    assert signed(-0.00004) == signed(0.0) == signed(0.00004) == "0.0000"
    assert count(1234567) == "1,234,567"
    assert count(None) is None
    assert percent(0.1234) == "12.3%"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations_have_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_parameters_are_json() -> None:
    assert compact({"a": [True, None, "\u00e9"]}) == '{"a": [true, null, "\u00e9"]}'


def test_a_folder_is_left_out_only_where_a_path_begins_with_it() -> None:
    assert without_folder('"/a/b/c" "/a/b"', "/a/b") == '"./c" "."'
    assert without_folder('"/a/bc" "/x/a/b/c"', "/a/b") == '"/a/bc" "/x/a/b/c"'
    assert without_folder("/a", "/") == "/a"
    assert without_folder("/a", "") == "/a"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/b.csv", "b.csv"), ("C:\\a\\b.csv", "b.csv"), ("b.csv", "b.csv"), ("/a/b/", "b")],
)
def test_a_file_is_named_without_its_folder(path: str, name: str) -> None:
    assert file_name(path) == name
    assert file_name(None) is None


def test_long_names_are_shortened() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde\N{HORIZONTAL ELLIPSIS}"


def _paint(figure: Figure) -> None:
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 4], "o", color=INK)
    axes.text(1, 3, "<b> & $x$ \u6f22")


def test_a_figure_is_an_element_of_the_page() -> None:
    svg = Drawing(_paint, 200, 100, "one", 'say "hi" <now>').__html__()
    assert svg.startswith("<svg viewBox=")
    assert 'aria-label="say &quot;hi&quot; &lt;now&gt;"' in svg
    assert "&lt;b&gt; &amp; $x$ \u6f22</text>" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"xmlns|http|font-family|<style|<metadata|#0\d0\d0\d", svg)


def test_ids_of_two_figures_differ_and_resolve() -> None:
    figures = [Drawing(_paint, 200, 100, n, "").__html__() for n in ("one", "two")]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in figures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip(figures, ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used == known
