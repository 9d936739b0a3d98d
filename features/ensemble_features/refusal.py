"""Phrases by which a response refuses, apologizes, hedges, or falls out of its role.

Phrases are looked for in the text in lower case with plain apostrophes. Those of ``phrases`` are in
many languages, the others in English.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ensemble.plugin.feature import FeatureSet
from ensemble_features.phrases import PHRASES, Phrases
from ensemble_features.sides import sided
from ensemble_features.text import lower, needed

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

_BEGIN = r"(?:^|[^\p{L}\p{M}\p{N}_])"
_ASCII_BOUNDARY = r"(?-u:\b)"
"""Unicode's word boundaries take many times as long."""


def _in_all_languages(pattern_of: Callable[[Phrases], str]) -> str:
    """Join the patterns of all languages."""
    spaced = "|".join(pattern_of(one) for one in PHRASES.values() if one.spaced)
    others = "|".join(pattern_of(one) for one in PHRASES.values() if not one.spaced)
    return f"{_BEGIN}(?:{spaced})|{others}"


_PHRASES = {
    "ai_mentions": (
        _in_all_languages(lambda phrases: phrases.identity),
        'Times {} calls itself an AI ("as an AI language model"), in any of 19 languages',
    ),
    "refusals": (
        _in_all_languages(Phrases.refusal),
        'Phrases of refusal in {} ("I cannot help", "I\'m unable to"), in any of 19 languages',
    ),
    "apologies": (
        _in_all_languages(lambda phrases: phrases.apology),
        'Words of apology in {} ("sorry", "I apologize"), in any of 19 languages',
    ),
    "ignorance": (
        r"\bi (?:do not|don't) (?:have|know|understand)\b|\b(?:not enough|need more|more)"
        r" (?:information|context)\b|\bnot sure\b",
        'Phrases in {} that say something is not known ("I don\'t have")',
    ),
    "hedges": (
        r"\b(?:may|might|perhaps|possibly|probably|it depends|it seems|likely|generally)\b",
        'Hedging words in {} ("may", "perhaps", "it depends")',
    ),
    "warnings": (
        r"\b(?:it(?:'s| is) important to|please note|keep in mind|be aware|consult)\b",
        'Phrases of caution in {} ("it is important to", "please note")',
    ),
    "courtesies": (
        r"\b(?:sure[,!]|certainly|of course|great question|happy to help|glad to"
        r"|i hope this helps|let me know)",
        'Courtesies in {} ("certainly", "I hope this helps")',
    ),
    "role_leaks": (
        r"(?m)^[ \t]*(?:#{2,} *)?(?:human|user|assistant|system|instruction|response|input|output)"
        r" *:|<\|?/?(?:user|assistant|system|im_start|im_end|endoftext|s|p)\|?>|\[/?inst\]",
        'Chat markup in {} that a model should not write ("### Human:", "<|user|>")',
    ),
}


def _count(pattern: str, column: str) -> pl.Expr:
    return lower(column).str.count_matches(pattern.replace(r"\b", _ASCII_BOUNDARY))


_FEATURES = tuple(
    feature
    for name, (pattern, description) in _PHRASES.items()
    for feature in sided(name, partial(_count, pattern), description, "count")
)

FEATURE_SET = FeatureSet("refusal", _FEATURES, version="2", helpers=needed(_FEATURES))
"""Refusals, apologies, hedges, courtesies, and leaked chat markup."""
