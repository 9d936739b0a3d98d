"""Which characters and words the texts are made of: diversity, readability, punctuation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import polars as pl

from ensemble.plugin.base import FeatureSet
from ensemble_features.sides import on, share, sided
from ensemble_features.text import foreign, gram_set, grams, needed, text, words


class _Characters(NamedTuple):
    name: str
    pattern: str
    description: str
    literal: bool = False
    prompt: bool = False


_COUNTS = (
    _Characters("digits", "[0-9]", "Digits 0 to 9 in {}", prompt=True),
    _Characters("capitals", "[A-Z]", "Capital letters A to Z in {}"),
    _Characters("periods", ".", "Periods in {}", literal=True),
    _Characters("commas", ",", "Commas in {}", literal=True),
    _Characters("question_marks", "?", "Question marks in {}", literal=True, prompt=True),
    _Characters("exclamation_marks", "!", "Exclamation marks in {}", literal=True),
    _Characters("colons", ":", "Colons in {}", literal=True),
    _Characters("parentheses", "(", "Opening parentheses in {}", literal=True),
)
_SENTENCE_END = r"[.!?\x{3002}\x{FF01}\x{FF1F}]+(?:\s|$)"
_COMPLETE_END = r"[.!?\x{3002}\x{FF01}\x{FF1F})\]}`\"'|]\s*$"


def _count(spec: _Characters, column: str) -> pl.Expr:
    return text(column).str.count_matches(spec.pattern, literal=spec.literal)


def _non_ascii(column: str) -> pl.Expr:
    return foreign(column).str.len_chars()


def _word_count(column: str) -> pl.Expr:
    return words(column).list.len()


def _word_chars(column: str) -> pl.Expr:
    return words(column).list.eval(pl.element().str.len_chars()).list.sum()


def _sentences(column: str) -> pl.Expr:
    """Sentence ends, and at least one sentence where there is a word."""
    ends = text(column).str.count_matches(_SENTENCE_END)
    return pl.max_horizontal(ends, (_word_count(column) > 0).cast(pl.UInt32))


def _word_length(column: str) -> pl.Expr:
    return share(_word_chars(column), _word_count(column))


def _sentence_length(column: str) -> pl.Expr:
    return share(_word_count(column), on(column, "sentences"))


def _readability(column: str) -> pl.Expr:
    return 4.71 * on(column, "word_length") + 0.5 * on(column, "sentence_length") - 21.43


def _distinct_share(n: int, column: str) -> pl.Expr:
    return share(gram_set(column, n).list.len(), grams(column, n).list.len())


def _complete(column: str) -> pl.Expr:
    return text(column).str.contains(_COMPLETE_END)


_FEATURES = (
    *(
        feature
        for spec in _COUNTS
        for feature in sided(
            spec.name, partial(_count, spec), spec.description, "count", prompt=spec.prompt
        )
    ),
    *sided("non_ascii", _non_ascii, "Characters of {} outside ASCII", "count", prompt=True),
    *sided("sentences", _sentences, "Sentences in {}, by their end marks", "count", prompt=True),
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

FEATURE_SET = FeatureSet("lexical", _FEATURES, helpers=needed(_FEATURES))
"""Characters, punctuation, lexical diversity and readability."""
