from __future__ import annotations

import time
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
        ("Cafe\u0301", "cafe"),
        ("a\x00b\x01\x02c", "a b c"),
        ("C++ and C", "c++ and c"),
        ("ΑΒΓ ЯБЛОКО", "αβγ яблоко"),
        ("漢字かな 👩\u200d💻", "漢字かな 👩💻"),
        ("hel\u00adlo\u200b", "hello"),
        ("\ufeff\u202bhello\u202c", "hello"),
        ("e\u200b\u0301", "e"),
        ("two\u200b \u200bwords", "two words"),
        ("\u200b\u2060", ""),
        ('"What is a bee?"', "what is a bee"),
        ("**`('What is a bee')`**.", "what is a bee"),
        ('["What is a bee?"]', "what is a bee"),
        ("```\nx = [1]\n```", "x = [1]"),
        ("\u300c\u4f60\u597d\u300d", "\u4f60\u597d"),
        ("\u00bfQui\u00e9n eres?", "quien eres"),
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
        ("caf\\xe9 \\xe4\\xbd\\xa0 \\U0001F600", "cafe \u4f60 \U0001f600"),
        ("caf\u00c3\u00a9 don\u00e2\u20ac\u2122t", "cafe don't"),
        ("caf\u00c3\u00a9 \u4f60", "cafa\u00a9 \u4f60"),
        ("what+is+2%2B2%3F", "what is 2+2"),
        ("%E4%BD%A0%E5%A5%BD", "\u4f60\u597d"),
        ("100% of 2+2", "100% of 2+2"),
        ("h\u034fi", "hi"),
        ("STRASSE, Straße", "strasse, strasse"),
        ("Ёлка, Que\u0301?", "елка, que"),
        ("ΟΔΟΣ, οδός", "οδοσ, οδοσ"),
        ("İstanbul KIZ kız", "istanbul kiz kiz"),
        ("Đặng Łódź", "dang lodz"),
        ("مُحَمَّد أحمد ی ـــ ٣", "محمد احمد ي 3"),
        ("שָׁלוֹם", "שלום"),
        ("नमस्ते १२", "नमस्ते 12"),
        ("Whаt is а bее?", "what is a bee"),
        ("Kто это? API", "кто это? api"),
        ("что такое API", "что такое api"),
        ("h\u0337i", "hi"),
        ("写 一\n首 诗", "写一首诗"),
        ("ส วั ส ดี", "สวัสดี"),
        ("한 글", "한 글"),
        ("cafÃƒÂ©", "cafe"),
        ("a%2520b", "a b"),
        ("USER: hi there ASSISTANT:", "hi there"),
        ("### Human: hi### Assistant:", "hi"),
        ("How to train the model:", "how to train the model"),
        ("用户：你好\n助手：", "你好"),
        ("Вопрос: кто ты?", "кто ты"),
        ("[user] hi", "hi"),
        ("<prompt>\nhi\n</prompt>", "hi"),
        ("[quote=me]hi[/quote]", "hi"),
        ('{"from": "human", "value": "hi"}', "hi"),
        ('{"a": "hi"}', 'a": "hi'),
        ("<p>" * 3 + "hi" + "</p>" * 3, "hi"),
        ("<b>one</b> and <td>two</td>", "one and <td>two</td>"),
        ("What is <td>?", "what is <td>"),
        ("What is <p>?<br>And <b>?", "what is <p>? and <b>"),
        ("<p class='x'>one</p><p>two</p>", "one two"),
        ("```python\nx = [1]\n```", "x = [1]"),
        ("(1) hi\n(2) you", "hi you"),
        ("① hi", "hi"),
        ("a) hi", "hi"),
        ("f(x) = (2) (3)", "f(x) = (2) (3)"),
        ("1, 2, 3, and next?", "1, 2, 3, and next"),
        ("• one\n• two", "one two"),
        ("// hi", "hi"),
        ("You are a helpful assistant.\n\nWho are you?", "who are you"),
        ("Who are you?\nWho are you?", "who are you"),
        ("7 7", "7 7"),
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


@pytest.mark.parametrize(
    "text",
    [
        "<a>" * 40_000 + "</a>" * 40_000,
        "<a>" + "</a> " * 40_000 + ">",
        "{'text': 'a'}" + " " * 100_000 + "]>",
        "{'text': '" + "' " * 50_000 + "}",
        "[a]" * 40_000 + "[/a]" * 40_000,
        "aа" * 100_000,
        "写 " * 100_000,
        "é\u0301" * 100_000,
        "%25" * 50_000,
        "Ã\u0192" * 50_000,
        "### " * 50_000 + "assistant :",
        "user: " * 50_000,
    ],
    ids=range(12),
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.perf_counter()
    normal(text)
    assert time.perf_counter() - began < 5
