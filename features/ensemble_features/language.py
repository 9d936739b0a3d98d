"""Which languages and scripts the texts are in.

A language shows in its commonest words. The lists are short and made of words that few of the
other languages have; Chinese, Japanese, Korean and Arabic show in their scripts.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ensemble.plugin.base import FeatureSet
from ensemble_features.sides import PROMPT, on, share, sided
from ensemble_features.text import foreign, needed, text, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.plugin.base import Feature

_STOP_WORDS = {
    "english": "the of and to is in that it for with are this be you can on as not from have",
    "spanish": "el los las y en que del una por con para es como m\u00e1s su pero lo al",
    "french": "le les des et est une du dans pour qui pas sur avec sont au ce vous nous plus",
    "german": "der das und ist nicht ein eine zu den mit von auf f\u00fcr sich dem auch",
    "portuguese": "os em que da uma para com n\u00e3o \u00e9 como mais ao dos na s\u00e3o seu",
    "italian": "il di che la e un per sono non con una del della nel gli anche pi\u00f9 si",
    "russian": "\u0438 \u0432 \u043d\u0435 \u043d\u0430 \u0447\u0442\u043e \u0441 "
    "\u043f\u043e \u044d\u0442\u043e \u043a\u0430\u043a \u0434\u043b\u044f \u0438\u0437 "
    "\u0438\u043b\u0438 \u043a \u043e\u0442 \u0442\u043e",
}
_SCRIPTS = {
    "cyrillic": r"\p{Cyrillic}",
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "hangul": r"\p{Hangul}",
    "arabic": r"\p{Arabic}",
}


def _stop_word_share(language: str, column: str) -> pl.Expr:
    known = _STOP_WORDS[language].split()
    hits = words(column).list.eval(pl.element().is_in(known)).list.sum()
    return share(hits, words(column).list.len())


def _script_share(script: str, column: str) -> pl.Expr:
    hits = foreign(column).str.count_matches(_SCRIPTS[script])
    return share(hits, text(column).str.len_chars())


def _change(column: str) -> pl.Expr:
    """Sum the differences from the prompt over all shares; large where the language changes."""
    names = [f"stop_words_{language}" for language in _STOP_WORDS]
    names += [f"script_{script}" for script in _SCRIPTS]
    return pl.sum_horizontal(
        [(on(column, name) - on(PROMPT, name)).abs() for name in names], ignore_nulls=False
    )


def _all() -> Iterator[Feature]:
    for language in _STOP_WORDS:
        yield from sided(
            f"stop_words_{language}",
            partial(_stop_word_share, language),
            f"Share of the words of {{}} that are common {language.title()} words",
            "share",
            prompt=True,
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
        "language_change",
        _change,
        "Sum of absolute differences of all stop-word and script shares between the prompt and {}",
        "share",
    )


_FEATURES = tuple(_all())

FEATURE_SET = FeatureSet("language", _FEATURES, helpers=needed(_FEATURES))
"""Stop-word shares of seven languages, shares of five scripts, and changes of language."""
