"""How long the prompt and the responses are."""

from __future__ import annotations

import polars as pl

from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import (
    antisymmetric,
    log_ratio,
    share,
    sided,
    symmetric,
)
from ensemble_features.text import last, needed, text, word_count


def _chars(column: str) -> pl.Expr:
    return text(column).str.len_chars()


def _last_chars(column: str) -> pl.Expr:
    return last(column).str.len_chars()


_FEATURES = (
    *sided("chars", _chars, "Characters in all turns of {}", "count", prompt=True),
    *sided(
        "words",
        word_count,
        "Words in all turns of {}, estimated where no spaces part them",
        "count",
        prompt=True,
    ),
    *sided("last_chars", _last_chars, "Characters in the last turn of {}", "count", prompt=True),
    antisymmetric(
        "chars_log_ratio", log_ratio("chars"), "ln((1 + chars_a) / (1 + chars_b))", "natural log"
    ),
    antisymmetric(
        "words_log_ratio", log_ratio("words"), "ln((1 + words_a) / (1 + words_b))", "natural log"
    ),
    antisymmetric(
        "last_chars_log_ratio",
        log_ratio("last_chars"),
        "ln((1 + last_chars_a) / (1 + last_chars_b))",
        "natural log",
    ),
    symmetric(
        "chars_log_gap",
        pl.col("chars_log_ratio").abs(),
        "How unequal the lengths are: absolute value of chars_log_ratio",
        "natural log",
    ),
    antisymmetric(
        "chars_diff_per_prompt",
        share(pl.col("chars_diff"), pl.col("chars_prompt")),
        "chars_a minus chars_b, over the characters of the prompt",
        "ratio",
    ),
)

FEATURE_SET = FeatureSet("length", _FEATURES, version="2", helpers=needed(_FEATURES))
"""Characters and words of prompt and responses, differences and ratios."""
