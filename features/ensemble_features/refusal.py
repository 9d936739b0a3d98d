"""Phrases by which a response refuses, apologizes, hedges, or falls out of its role.

Phrases are looked for in the text in lower case with plain apostrophes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ensemble.plugin.base import FeatureSet
from ensemble_features.sides import sided
from ensemble_features.text import lower, needed

if TYPE_CHECKING:
    import polars as pl

_PHRASES = {
    "ai_mentions": (
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|assistant)\b"
        r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|(?:large )?language model)\b",
        'Times {} calls itself an AI ("as an AI language model")',
    ),
    "refusals": (
        r"\bi (?:cannot|can't|can not|won't|will not|am unable to|am not able to|don't feel"
        r" comfortable)\b|\bi'm (?:unable|not able|not comfortable)\b|\bagainst my (?:guidelines"
        r"|programming)\b|\bnot (?:appropriate|ethical) to\b",
        'Phrases of refusal in {} ("I cannot", "I\'m unable")',
    ),
    "apologies": (
        r"\b(?:sorry|apologize|apologies|apologise)\b",
        'Words of apology in {} ("sorry", "I apologize")',
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
    return lower(column).str.count_matches(pattern)


_FEATURES = tuple(
    feature
    for name, (pattern, description) in _PHRASES.items()
    for feature in sided(name, partial(_count, pattern), description, "count")
)

FEATURE_SET = FeatureSet("refusal", _FEATURES, helpers=needed(_FEATURES))
"""Refusals, apologies, hedges, courtesies, and leaked chat markup."""
