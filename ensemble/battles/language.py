"""Which language a text is in, by py3langid.

A text that the library is not sure of is in no language: code, numbers, a word or two. It is never
taken for English.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.language_scores import load_model

if TYPE_CHECKING:
    from ensemble.plugin.base import IntArray

UNDECIDED = "undecided"
"""How ``languages`` names what is in no language, or in one that the library is not sure of."""

LANGUAGES = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "az": "Azerbaijani",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "gu": "Gujarati",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian or Malay",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "lo": "Lao",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "ml": "Malayalam",
    "mn": "Mongolian",
    "mr": "Marathi",
    "my": "Burmese",
    "ne": "Nepali",
    "nl": "Dutch",
    "no": "Norwegian",
    "pa": "Punjabi",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "si": "Sinhala",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sq": "Albanian",
    "sr": "Serbian, Croatian or Bosnian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""Names by ISO 639-1 code. Fewer languages than the library knows: short texts are otherwise taken
for small relatives of theirs."""

_VARIETIES = {
    "ary": "ar",
    "arz": "ar",
    "bs": "sr",
    "hr": "sr",
    "ms": "id",
    "nn": "no",
    "wuu": "zh",
    "yue": "zh",
}
"""What the library tells apart, and few words do not."""
_NO_LANGUAGE = "zxx"
"""The library's class of code, numbers and markup."""
_LEAST = 0.3
"""Probability from which a language is named."""
_READ, _CHARACTERS = 1_000, 80
"""Characters of a text that are cleaned, and of these those that are identified."""
_CODE = r"(?s)```.*?(?:```|\z)|`[^`\n]*`|https?://\S+"

RULES = "1"
"""Raise it when a text may come to be in another language than before."""


def code_identity() -> str:
    """Name the rules of this module and the version of the library."""
    return f"py3langid {version('py3langid')}, rules {RULES}"


def head(text: pl.Expr) -> pl.Expr:
    """Take the beginning of a text, without code and web addresses: enough to identify it."""
    prose = text.str.slice(0, _READ).str.replace_all(_CODE, " ")
    return prose.str.strip_chars().str.slice(0, _CHARACTERS)


def identify(texts: pl.Series) -> pl.Series:
    """Identify the languages of some texts, each by itself.

    Parameters
    ----------
    texts
        String, ``(n,)``; short ones, such as ``head`` gives.

    Returns
    -------
    pl.Series
        String, ``(n,)``: a code of ``LANGUAGES``; null where undecided.
    """
    distinct = texts.unique().drop_nulls()
    codes = _codes(distinct.to_list())
    known = dict(zip(distinct, codes, strict=True))
    return pl.Series(texts.name, [known.get(text) for text in texts], dtype=pl.String)


def languages(battles: pl.DataFrame) -> pl.Series:
    """Name the language of each battle: that of the prompt, where undecided that of response A.

    Parameters
    ----------
    battles
        With ``prompt`` and ``response_a``, lists of turns.

    Returns
    -------
    pl.Series
        String, ``(n,)``: a name of ``LANGUAGES``, or ``UNDECIDED``.
    """
    codes = _of_turns(battles["prompt"])
    # Most prompts decide: responses are longer, and cost more to look at.
    open_rows = codes.is_null().arg_true()
    codes = codes.scatter(open_rows, _of_turns(battles["response_a"].gather(open_rows)))
    return codes.replace_strict(LANGUAGES, default=UNDECIDED).alias("language")


def _of_turns(turns: pl.Series) -> pl.Series:
    joined = pl.col("turns").list.join("\n", ignore_nulls=True)
    return identify(turns.alias("turns").to_frame().select(head(joined)).to_series())


def _codes(texts: list[str]) -> list[str | None]:
    """Give the code of each text; None where the likeliest language is not likely enough."""
    if not texts:
        return []
    codes, column = _columns()
    model = load_model((*LANGUAGES, *_VARIETIES, _NO_LANGUAGE))
    shares = np.zeros((len(texts), len(codes)), dtype=np.float32)
    np.add.at(shares.T, column, model.probabilities(texts).T)
    best = shares.argmax(axis=1)
    sure = shares.max(axis=1) >= _LEAST
    return [
        codes[index] if certain and codes[index] in LANGUAGES else None
        for index, certain in zip(best.tolist(), sure.tolist(), strict=True)
    ]


@lru_cache(maxsize=1)
def _columns() -> tuple[tuple[str, ...], IntArray]:
    """Join the columns of one language: codes, and for each label the index of its code."""
    labels = load_model((*LANGUAGES, *_VARIETIES, _NO_LANGUAGE)).labels
    codes = (*LANGUAGES, _NO_LANGUAGE)
    own = [codes.index(_VARIETIES.get(label, label)) for label in labels]
    return codes, np.array(own, dtype=np.int64)
