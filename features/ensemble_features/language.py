"""Which languages and scripts the texts are in.

Languages are identified on the beginning of a text (``ensemble.battles.language``); scripts are
counted in all of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.language import LANGUAGES, code_identity
from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import PROMPT, on, share, sided, symmetric
from ensemble_features.text import foreign, language, needed, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.plugin.feature import Feature

_PROMPTS = (
    *("en", "zh", "ru", "es", "fr", "de", "pt", "it", "ja", "ko"),
    *("vi", "pl", "tr", "ar", "id", "fa", "uk", "th", "hi", "nl"),
)
"""Languages that prompts are most often in, each with a column of its own."""
_SCRIPTS = {
    "cyrillic": r"\p{Cyrillic}",
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "hangul": r"\p{Hangul}",
    "arabic": r"\p{Arabic}",
    "devanagari": r"\p{Devanagari}",
    "thai": r"\p{Thai}",
}


def _is_in(code: str, column: str) -> pl.Expr:
    return language(column) == code


def _is_known(column: str) -> pl.Expr:
    """Whether a language was told; undefined where there is no text."""
    return pl.when(text(column).is_not_null()).then(language(column).is_not_null())


def _same_language(column: str) -> pl.Expr:
    return language(column) == language(PROMPT)


def _script_share(script: str, column: str) -> pl.Expr:
    hits = foreign(column).str.count_matches(_SCRIPTS[script])
    return share(hits, text(column).str.len_chars())


def _script_change(column: str) -> pl.Expr:
    """Sum the differences from the prompt over all shares; large where the script changes."""
    names = [f"script_{script}" for script in _SCRIPTS]
    return pl.sum_horizontal(
        [(on(column, name) - on(PROMPT, name)).abs() for name in names], ignore_nulls=False
    )


def _all() -> Iterator[Feature]:
    for code in _PROMPTS:
        yield symmetric(
            f"prompt_in_{code}",
            _is_in(code, PROMPT),
            f"Whether the prompt is in {LANGUAGES[code]}, undefined where undecided",
            "0 or 1",
        )
    yield from sided(
        "language_known",
        _is_known,
        "Whether the language of {} could be identified (code and single words are in none)",
        "0 or 1",
        prompt=True,
    )
    yield from sided(
        "same_language",
        _same_language,
        "Whether {} is in the prompt's language, undefined where either is undecided",
        "0 or 1",
    )
    yield from sided(
        "in_english",
        partial(_is_in, "en"),
        "Whether {} is in English, undefined where undecided",
        "0 or 1",
    )
    for script in _SCRIPTS:
        yield from sided(
            f"script_{script}",
            partial(_script_share, script),
            f"Share of the characters of {{}} in {script.title()} script",
            "share",
            prompt=True,
        )
    yield from sided(
        "script_change",
        _script_change,
        "Sum of absolute differences of all script shares between the prompt and {}",
        "share",
    )


_FEATURES = tuple(_all())

FEATURE_SET = FeatureSet(
    "language", _FEATURES, version="2", helpers=needed(_FEATURES), code=code_identity()
)
"""The prompt's language, whether the responses are in it, and shares of seven scripts."""
