"""Which characters and words the texts are made of: diversity, readability, punctuation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import polars as pl

from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import on, share, sided
from ensemble_features.text import foreign, gram_set, grams, needed, text, word_count, words


class _Characters(NamedTuple):
    name: str
    pattern: str
    description: str
    foreign: str | None = None
    """Its like outside ASCII, where looking for both in all of the text would take longer."""
    prompt: bool = False


_STOPS = r"\x{3002}\x{FF61}\x{964}\x{965}\x{6D4}\x{589}\x{1362}\x{104B}\x{17D4}\x{17D5}"
"""Full stops of Chinese and Japanese, Hindi, Urdu, Armenian, Amharic, Burmese and Khmer."""
_QUESTIONS = r"\x{FF1F}\x{61F}"

_COUNTS = (
    _Characters("digits", "[0-9]", "Digits in {}", r"\p{Nd}", prompt=True),
    _Characters("capitals", r"\p{Lu}", "Capital letters in {}"),
    _Characters("periods", r"\.", "Periods in {}", rf"[{_STOPS}]"),
    _Characters("commas", r"[,\x{60C}\x{3001}\x{FF0C}\x{FF64}]", "Commas in {}"),
    _Characters("question_marks", rf"[?{_QUESTIONS}]", "Question marks in {}", prompt=True),
    _Characters("exclamation_marks", r"[!\x{FF01}]", "Exclamation marks in {}"),
    _Characters("colons", r"[:\x{FF1A}]", "Colons in {}"),
    _Characters("parentheses", r"[(\x{FF08}]", "Opening parentheses in {}"),
)
_CLOSING = r"\x{201D}\x{2019}\x{BB}\x{300D}\x{300F}\x{FF09}\x{3011}"
"""Quotation marks and brackets that stand after the mark that ends a sentence."""
_SENTENCE_END = (
    rf"[.!?]+(?:[\"')\]*_{_CLOSING}]*(?:\s|$)|[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}])"
    rf"|[{_STOPS}{_QUESTIONS}\x{{FF01}}]+"
)
"""A period may stand in a number or an address; the marks of other scripts end sentences only."""
_UNMARKED = r"\p{Thai}\p{Lao}"
_CLAUSE = rf"[{_UNMARKED}&&[^\x{{E46}}]]\s+[{_UNMARKED}&&[^\x{{E46}}]]"
"""Thai and Lao part clauses by a space and end sentences with nothing else; the sign that repeats
a word has spaces around it."""
_SENTENCES_A_CLAUSE = 2 / 3
"""Measured by ``benchmarks/languages.py``."""
_COMPLETE_END = rf"[.!?)\]}}`\"'|{_STOPS}{_QUESTIONS}\x{{FF01}}{_CLOSING}]\s*$"


def _count(spec: _Characters, column: str) -> pl.Expr:
    count = text(column).str.count_matches(spec.pattern)
    return (
        count if spec.foreign is None else count + foreign(column).str.count_matches(spec.foreign)
    )


def _non_ascii(column: str) -> pl.Expr:
    return foreign(column).str.len_chars()


def _word_chars(column: str) -> pl.Expr:
    return words(column).list.eval(pl.element().str.len_chars()).list.sum()


def _sentences(column: str) -> pl.Expr:
    """Sentence ends, and at least one sentence where there is a word."""
    ends = text(column).str.count_matches(_SENTENCE_END)
    gaps = text(column).str.count_matches(_CLAUSE)
    unmarked = pl.when(gaps > 0).then(((gaps + 1) * _SENTENCES_A_CLAUSE).round()).otherwise(0)
    return pl.max_horizontal(ends + unmarked, word_count(column).clip(0, 1))


def _word_length(column: str) -> pl.Expr:
    return share(_word_chars(column), word_count(column))


def _sentence_length(column: str) -> pl.Expr:
    return share(word_count(column), on(column, "sentences"))


def _readability(column: str) -> pl.Expr:
    return 4.71 * on(column, "word_length") + 0.5 * on(column, "sentence_length") - 21.43


def _distinct_share(n: int, column: str) -> pl.Expr:
    return share(gram_set(column, n).list.len(), grams(column, n).list.len())


def _complete(column: str) -> pl.Expr:
    """Undefined where the script has no closing marks."""
    end = text(column).str.strip_chars_end()
    return pl.when(~end.str.contains(rf"[{_UNMARKED}]$")).then(end.str.contains(_COMPLETE_END))


_FEATURES = (
    *(
        feature
        for spec in _COUNTS
        for feature in sided(
            spec.name, partial(_count, spec), spec.description, "count", prompt=spec.prompt
        )
    ),
    *sided("non_ascii", _non_ascii, "Characters of {} outside ASCII", "count", prompt=True),
    *sided(
        "sentences",
        _sentences,
        "Sentences in {}, by their end marks (in Thai and Lao, by spaces)",
        "count",
        prompt=True,
    ),
    *sided("distinct_words", partial(_distinct_share, 1), "Distinct words over words, {}", "share"),
    *sided(
        "distinct_trigrams",
        partial(_distinct_share, 3),
        "Distinct word 3-grams over word 3-grams, {} (low where it repeats itself)",
        "share",
    ),
    *sided("word_length", _word_length, "Mean length of a word, {}", "characters", prompt=True),
    *sided(
        "sentence_length", _sentence_length, "Mean length of a sentence, {}", "words", prompt=True
    ),
    *sided(
        "readability",
        _readability,
        "Automated readability index (Smith and Senter, 1967), {}",
        "US school grade",
        prompt=True,
    ),
    *sided(
        "complete", _complete, "Whether the end of {} is a closing mark, not a cut-off", "0 or 1"
    ),
)

FEATURE_SET = FeatureSet("lexical", _FEATURES, version="2", helpers=needed(_FEATURES))
"""Characters, punctuation, lexical diversity and readability."""
