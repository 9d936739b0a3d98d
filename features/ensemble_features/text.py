"""Texts and token lists that several families share: each is computed once a batch.

A helper is named ``<kind>:<column>``; the functions here give the column that holds it, and
``needed`` collects what a family's features rest on.

A text is null, and what is measured on it undefined, where a conversation has no turn or only
``null`` turns; among others, a ``null`` turn adds nothing.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.language import head, identify
from ensemble_features.sides import PROMPT, RESPONSE_A, RESPONSE_B

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ensemble.plugin.feature import Feature

_COLUMNS = (PROMPT, RESPONSE_A, RESPONSE_B)
_KATAKANA = r"\p{Katakana}\x{30FC}\x{FF70}"
"""With the mark of a long vowel. Words of foreign origin: a run of them counts as one."""
_IDEOGRAPHS = r"\p{Han}\p{Hiragana}"
_ABUGIDAS = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts of South-East Asia. Vowels and tones are marks on the letter before them."""
_LETTER = rf"[[{_ABUGIDAS}]&&[\w--[\p{{M}}\p{{Nd}}]]]"
_WORD = (
    rf"[\w--[{_KATAKANA}{_IDEOGRAPHS}{_ABUGIDAS}]]+|[{_KATAKANA}]+|[{_IDEOGRAPHS}]"
    rf"|{_LETTER}\p{{M}}*|[[{_ABUGIDAS}]&&\p{{Nd}}]+"
)
_IDEOGRAPHS_A_WORD, _LETTERS_A_WORD = 1.5, 3.0
"""Where no spaces part words: ``benchmarks/languages.py`` measures them against hand counts."""
_MIX = 0x9E3779B97F4A7C15
"""Odd 64-bit multiplier (the golden ratio's) that makes the hash of an n-gram depend on order."""


def text(column: str) -> pl.Expr:
    """Give all turns, one after another with a newline between."""
    return pl.col(f"text:{column}")


def last(column: str) -> pl.Expr:
    """Give the last turn; null where it is ``null`` or there is none."""
    return pl.col(f"last:{column}")


def lower(column: str) -> pl.Expr:
    """Give the text in lower case, typographic apostrophes made plain."""
    return pl.col(f"lower:{column}")


def words(column: str) -> pl.Expr:
    r"""Give the words of the text in lower case, in order, List(String).

    Runs of ``\w``; in scripts without spaces between words, single characters.
    """
    return pl.col(f"words:{column}")


def word_count(column: str) -> pl.Expr:
    """Count the words of the text, Float64; estimated in scripts without spaces between words."""
    return pl.col(f"word-count:{column}")


def grams(column: str, n: int) -> pl.Expr:
    """Give the hashes of the word n-grams in order, List(UInt64); ``n`` is 1, 2 or 3."""
    return pl.col(f"{n}-grams:{column}")


def gram_set(column: str, n: int) -> pl.Expr:
    """Give the distinct hashes of the word n-grams, List(UInt64)."""
    return pl.col(f"{n}-gram-set:{column}")


def common(one: str, other: str, n: int) -> pl.Expr:
    """Count the distinct word n-grams that two texts have in common, Float64."""
    return pl.col(f"common-{n}-grams:{one}:{other}")


def foreign(column: str) -> pl.Expr:
    """Give the characters of the text that are not ASCII."""
    return pl.col(f"foreign:{column}")


def language(column: str) -> pl.Expr:
    """Give the language of the text, a code of ``LANGUAGES``; null where undecided."""
    return pl.col(f"language:{column}")


def needed(features: Iterable[Feature]) -> Mapping[str, pl.Expr]:
    """Collect the helpers that features rest on, with those that these rest on in turn."""
    found: dict[str, pl.Expr] = {}
    open_names = {name for feature in features for name in feature.expression.meta.root_names()}
    while open_names := {n for n in open_names if n in _HELPERS and n not in found}:
        found |= {name: _HELPERS[name] for name in sorted(open_names)}
        open_names = {root for n in open_names for root in _HELPERS[n].meta.root_names()}
    return found


def _helpers(column: str) -> dict[str, pl.Expr]:
    turns = pl.col(column)
    one, two = grams(column, 1), grams(column, 2)
    tokens = {
        "text": pl.when(turns.list.drop_nulls().list.len() > 0).then(
            turns.list.join("\n", ignore_nulls=True)
        ),
        "last": turns.list.last(),
        "lower": text(column).str.to_lowercase().str.replace_all("\u2019", "'", literal=True),
        "foreign": text(column).str.replace_all(r"[\x00-\x7F]+", ""),
        "language": head(text(column)).map_batches(identify, return_dtype=pl.String),
        "words": lower(column).str.extract_all(_WORD),
        "word-count": _word_count(column),
        "1-grams": words(column).list.eval(pl.element().hash()),
        # Multiplication wraps around, which is what a hash wants.
        "2-grams": _but_last(one, 1) * _MIX + one.list.slice(1),
        "3-grams": _but_last(two, 1) * _MIX + one.list.slice(2),
    }
    sets = {f"{n}-gram-set": grams(column, n).list.unique() for n in (1, 2, 3)}
    return {f"{kind}:{column}": expression for kind, expression in (tokens | sets).items()}


def _word_count(column: str) -> pl.Expr:
    """Take as many of the single characters for a word as a word has on average."""
    single = (
        (f"[{_IDEOGRAPHS}]", 1 - 1 / _IDEOGRAPHS_A_WORD),
        (_LETTER, 1 - 1 / _LETTERS_A_WORD),
    )
    too_many = [foreign(column).str.count_matches(pattern) * excess for pattern, excess in single]
    count = words(column).list.len()
    return pl.max_horizontal((count - pl.sum_horizontal(too_many)).round(), count.clip(0, 1))


def _common(one: str, other: str, n: int) -> pl.Expr:
    both = gram_set(one, n).list.set_intersection(gram_set(other, n))
    return both.list.len().cast(pl.Float64)


def _but_last(tokens: pl.Expr, count: int) -> pl.Expr:
    """Drop items from the end; a shorter list becomes empty."""
    return tokens.list.head((tokens.list.len().cast(pl.Int64) - count).clip(lower_bound=0))


_HELPERS = {name: helper for column in _COLUMNS for name, helper in _helpers(column).items()} | {
    f"common-{n}-grams:{one}:{other}": _common(one, other, n)
    for n in (1, 2, 3)
    for one, other in combinations(_COLUMNS, 2)
}
