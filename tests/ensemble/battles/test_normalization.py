from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.normalization import normalized


def normal(text: str | None) -> str | None:
    found: str | None = pl.select(normalized(pl.lit(text, dtype=pl.String))).item()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("USER: how  are you?", "how are you"),
        ("### Instruction:\nSum it up.\n\n### Response:", "sum it up"),
        ("<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant", "hi there"),
        ("<s>[INST] Hi there [/INST]</s>", "hi there"),
        ("<start_of_turn>user\nhi<end_of_turn>", "hi"),
        ("<BOS_TOKEN><|USER_TOKEN|>Hi there<|END_OF_TURN_TOKEN|><EOS_TOKEN>", "hi there"),
        ("**Human:** Question: why?", "why"),
        ("one<br/>two<p>three</p>", "one two three"),
        ("a &lt; b &amp;amp; &#39;c&#39;", "a < b & 'c'"),
        ("\\u201cquoted\\u201d and \\n more", '"quoted" and more'),
        ("snake\\_case", "snake_case"),
        ("\u201ccurly\u201d \u2018quotes\u2019 \u2013 dash\u2026", "\"curly\" 'quotes' - dash"),
        ("heart \u2764\ufe0f and \u3164 filler", "heart \u2764 and filler"),
        ("lone \\ud83d here", "lone ? here"),
        ("???", "???"),
        ("User", "user"),
        ("What is C++?", "what is c++"),
        ("ratio a: b", "ratio a: b"),
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
        ('"What is a bee?"', "what is a bee"),
        ("**`('What is a bee')`**.", "what is a bee"),
        ('["What is a bee?"]', "what is a bee"),
        ("```\nx = [1]\n```", "x = [1]"),
        ("\u300c\u4f60\u597d\u300d", "\u4f60\u597d"),
        ("\u00bfQui\u00e9n eres?", "qui\u00e9n eres"),
        ("> - \u00a1Hola!", "hola"),
        ("## What is a bee?", "what is a bee"),
        ("\u0645\u0627 \u0647\u0648\u061f", "\u0645\u0627 \u0647\u0648"),
        ("f(x) + (y)", "f(x) + (y)"),
        ("(a)(b)", "a)(b"),
        ('"one" and two', '"one" and two'),
        ("#include <map>", "#include <map>"),
        ("-5", "-5"),
        ("**", "**"),
        ("()", "()"),
        ("caf\\xe9 \\xe4\\xbd\\xa0 \\U0001F600", "caf\u00e9 \u4f60 \U0001f600"),
        ("caf\u00c3\u00a9 don\u00e2\u20ac\u2122t", "caf\u00e9 don't"),
        ("caf\u00c3\u00a9 \u4f60", "caf\u00e3\u00a9 \u4f60"),
        ("what+is+2%2B2%3F", "what is 2+2"),
        ("%E4%BD%A0%E5%A5%BD", "\u4f60\u597d"),
        ("100% of 2+2", "100% of 2+2"),
        ("h\u034fi", "hi"),
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
