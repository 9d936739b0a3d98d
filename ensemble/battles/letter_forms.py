"""Letters that are one to a reader: with and without accents, in other digits, of look-alikes.

People leave accents out, write capitals without them, and have keyboards with other letters for the
same sound; programs and pranks exchange letters for those of another script that look the same.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from ensemble.battles.masked import each, replaced, where

if TYPE_CHECKING:
    import polars as pl

_MARKS = (
    *((0x300, 0x36F), (0x483, 0x487), (0x591, 0x5BD), (0x5BF, 0x5BF), (0x5C1, 0x5C2)),
    *((0x5C4, 0x5C5), (0x5C7, 0x5C7), (0x610, 0x61A), (0x640, 0x640), (0x64B, 0x65F)),
    *((0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E4), (0x6E7, 0x6E8), (0x6EA, 0x6ED)),
    *((0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF)),
)
"""Accents and strokes over letters, points of Hebrew and Arabic, and the line that stretches Arabic
words. The vowels of scripts of India and of Thai are no such marks."""
_MARK = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _MARKS) + "]"
_ACCENTED = ((0xC0, 0x24F), (0x370, 0x52F), (0x620, 0x6D3), (0x1E00, 0x1FFF))
"""Where letters stand that are one with their accent: Latin, Greek, Cyrillic, Arabic."""
_PLAIN = {
    **dict(zip("đħłøŧıȷςſɑɡєىیکہةۃھ", "dhlotijσsageييكهههه", strict=True)),
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
    **{chr(start + n): chr(97 + n) for start in (0x1F150, 0x1F170) for n in range(26)},
}
"""Letters without a mark to take away; the last are white on black."""
_CYRILLIC = "АВЕЅІЈКМНОРСТУХҮаеѕіјорсухһԁԛԝӏ"
_LATIN = "ABESIJKMHOPCTYXYaesijopcyxhdqwl"
_GREEK = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"
_LATIN_OF_GREEK = "ABEZHIKMNOPTYXo"
_TO_LATIN = str.maketrans(_CYRILLIC + _GREEK, _LATIN + _LATIN_OF_GREEK)
_TO_CYRILLIC = str.maketrans("ABEKMHOPCTYXaeopcyx", "АВЕКМНОРСТУХаеорсух")
_LETTER = "[A-Za-z]"
_MIXED = rf"{_LETTER}\p{{Cyrillic}}|\p{{Cyrillic}}{_LETTER}"
_WORD = re.compile(r"\b(?=\w*[A-Za-z])(?=\w*[\u0400-\u052f])\w+")
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"


def of_one_script(texts: pl.Series) -> pl.Series:
    """Give letters of another script their look-alikes of the text's or the word's own.

    Parameters
    ----------
    texts
        ``n`` texts, not yet in lower case: more capitals than small letters look alike.
    """
    latin = texts.str.contains(_LETTER)
    for script, alike in ((r"\p{Cyrillic}", _CYRILLIC), (r"\p{Greek}", _GREEK)):
        there, others = (
            texts.str.contains(f"[{alike}]"),
            texts.str.contains(f"[{script}--[{alike}]]"),
        )
        texts = where(texts, latin & there & ~others, each(_in_latin))
    return where(texts, texts.str.contains(_MIXED), each(lambda text: _WORD.sub(_in_one, text)))


def _in_latin(text: str) -> str:
    return text.translate(_TO_LATIN)


def _in_one(word: re.Match[str]) -> str:
    """Write a word of Latin and Cyrillic letters in one of the two, where all are look-alikes."""
    for table, foreign in ((_TO_LATIN, "\u0400"), (_TO_CYRILLIC, "")):
        found = word[0].translate(table)
        if not any(_is_foreign(letter, foreign) for letter in found):
            return found
    return word[0]


def _is_foreign(letter: str, first: str) -> bool:
    return letter >= first if first else letter.isascii() and letter.isalpha()


def bare_letters(texts: pl.Series) -> pl.Series:
    """Write letters without accents, and digits as 0 to 9.

    Parameters
    ----------
    texts
        ``n`` texts in lower case, as NFKC composes them.
    """
    table = _bare()
    otherwise = texts.str.contains("[" + "".join(table) + "]")
    plain = where(texts, otherwise, lambda t: t.str.replace_many(list(table), list(table.values())))
    return plain.str.replace_all(_MARK, "")


def unspaced(texts: pl.Series) -> pl.Series:
    """Leave out spaces between letters of scripts that write none between words."""
    wide = texts.str.len_bytes() != texts.str.len_chars()
    return where(texts, wide, lambda t: _joined(_joined(t)))


def _joined(texts: pl.Series) -> pl.Series:
    """Do so once: of three letters the one in the middle is at an end each time."""
    found = f"({_UNSPACED}) ({_UNSPACED})"
    return replaced(texts, found, "$1$2", only=found)


@cache
def _bare() -> dict[str, str]:
    """Give the letters and digits that are written otherwise."""
    marks = {chr(code) for first, last in _MARKS for code in range(first, last + 1)}
    found = {}
    for code in chain.from_iterable(range(first, last + 1) for first, last in _ACCENTED):
        first, *rest = list(unicodedata.normalize("NFD", chr(code)))
        if rest and marks.issuperset(rest):
            found[chr(code)] = _PLAIN.get(first, first)
    digits = {
        chr(c): str(unicodedata.digit(chr(c))) for c in range(0x80, 0x20000) if chr(c).isdecimal()
    }
    return found | digits | _PLAIN
