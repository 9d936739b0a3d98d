from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.normalization import joined, normalized


def normal(text: str | None) -> str | None:
    found: str | None = pl.select(normalized(pl.lit(text, dtype=pl.String))).item()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Two\t\n words ", "two words"),
        ("no-break\u00a0space and\u2003wide", "no-break space and wide"),
        ("\uff26\uff35\uff2c\uff2c width \ufb01", "full width fi"),
        ("Cafe\u0301", "café"),
        ("a\x00b\x01\x02c", "a b c"),
        ("C++ and C", "c++ and c"),
        ("ΑΒΓ ЯБЛОКО", "αβγ яблоко"),
        ("漢字かな 👩\u200d💻", "漢字かな 👩💻"),
        ("hel\u00adlo\u200b", "hello"),
        ("\ufeff\u202bhello\u202c", "hello"),
        ("e\u200b\u0301", "é"),
        ("two\u200b \u200bwords", "two words"),
        ("\u200b\u2060", ""),
        ("\r\n", ""),
        ("", ""),
        (None, None),
    ],
)
def test_golden_cases(text: str | None, expected: str | None) -> None:
    assert normal(text) == expected


@given(st.text())
def test_blanks_are_single_spaces_inside_only(text: str) -> None:
    found = normal(text.encode("utf-8", "replace").decode())
    assert found is not None
    assert found == " ".join(found.split())
    assert not any(unicodedata.category(character) in ("Cc", "Cf") for character in found)


@given(st.lists(st.sampled_from(["One", "zwei", "Три", "四"]), min_size=1), st.data())
def test_case_and_blanks_make_no_difference(words: list[str], data: st.DataObject) -> None:
    blanks = st.sampled_from([" ", "\n", "\t ", "\u00a0", "  "])
    spaced = "".join(data.draw(blanks) + word.upper() for word in words)
    assert normal(spaced) == normal(" ".join(words))


def test_joined_skips_nulls() -> None:
    turns = pl.Series([["a", None, "b"], [None], [], None], dtype=pl.List(pl.String))
    assert pl.select(joined(pl.lit(turns))).to_series().to_list() == ["a\nb", "", "", ""]
