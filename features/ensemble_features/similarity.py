"""How alike the two responses are, and how much of the prompt each takes up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import PROMPT, RESPONSE_A, RESPONSE_B, share, sided, symmetric
from ensemble_features.text import common, gram_set, lower, needed

if TYPE_CHECKING:
    from ensemble.plugin.feature import Feature

_WORDS = {1: "words", 2: "word 2-grams", 3: "word 3-grams"}


def _size(column: str, n: int) -> pl.Expr:
    return gram_set(column, n).list.len().cast(pl.Float64)


def _jaccard(one: str, other: str, n: int) -> pl.Expr:
    both = common(one, other, n)
    # The sizes are added first: the result is the same, bit by bit, with the texts exchanged.
    return share(both, _size(one, n) + _size(other, n) - both)


def _cosine(one: str, other: str) -> pl.Expr:
    return share(common(one, other, 1), (_size(one, 1) * _size(other, 1)).sqrt())


def _from_prompt(n: int, column: str) -> pl.Expr:
    return share(common(PROMPT, column, n), _size(column, n))


def _prompt_covered(column: str) -> pl.Expr:
    return share(common(PROMPT, column, 1), _size(PROMPT, 1))


def _prompt_jaccard(n: int, column: str) -> pl.Expr:
    return _jaccard(PROMPT, column, n)


def _begins_alike() -> pl.Expr:
    a, b = (lower(column).str.strip_chars().str.head(20) for column in (RESPONSE_A, RESPONSE_B))
    return a == b


def _between_responses(n: int) -> tuple[Feature, ...]:
    kind = _WORDS[n]
    return (
        symmetric(
            f"common_{n}grams",
            common(RESPONSE_A, RESPONSE_B, n),
            f"Distinct {kind} that both responses have",
            "count",
        ),
        symmetric(
            f"jaccard_{n}grams",
            _jaccard(RESPONSE_A, RESPONSE_B, n),
            f"Jaccard similarity of the responses' distinct {kind}",
            "0 to 1",
        ),
    )


_FEATURES = (
    *(feature for n in _WORDS for feature in _between_responses(n)),
    symmetric(
        "cosine_words",
        _cosine(RESPONSE_A, RESPONSE_B),
        "Cosine of the responses' distinct words (each counted once)",
        "0 to 1",
    ),
    symmetric(
        "identical_responses",
        pl.col(RESPONSE_A) == pl.col(RESPONSE_B),
        "Whether the responses are equal, turn by turn and character by character",
        "0 or 1",
    ),
    symmetric(
        "begins_alike",
        _begins_alike(),
        "Whether the responses' first 20 characters are equal, but for case",
        "0 or 1",
    ),
    *sided(
        "prompt_covered", _prompt_covered, "Share of the prompt's distinct words in {}", "share"
    ),
    *(
        feature
        for n, kind in _WORDS.items()
        for feature in (
            *sided(
                f"from_prompt_{n}grams",
                partial(_from_prompt, n),
                f"Share of the distinct {kind} of {{}} that the prompt has too",
                "share",
            ),
            *sided(
                f"prompt_jaccard_{n}grams",
                partial(_prompt_jaccard, n),
                f"Jaccard similarity of the distinct {kind} of the prompt and {{}}",
                "0 to 1",
            ),
        )
    ),
)

FEATURE_SET = FeatureSet("similarity", _FEATURES, helpers=needed(_FEATURES))
"""Overlap of 1-, 2- and 3-grams between the responses and with the prompt."""
