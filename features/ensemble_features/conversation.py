"""The shape of the conversation: turns, missing and empty ones, and what the prompt asks for."""

from __future__ import annotations

import polars as pl

from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import PROMPT, share, sided, symmetric
from ensemble_features.text import last, lower, needed, text

_ASKS = {
    "code": r"\b(?:code|python|javascript|java|c\+\+|html|css|sql|function|script|program|regex)\b",
    "writing": r"\b(?:write|compose|draft|story|poem|essay|email|letter|article|song|rewrite)\b",
    "math": r"\b(?:calculate|solve|equation|sum|probability|integral|derivative|how many)\b|[0-9]"
    r" *[-+*/=] *[0-9]",
    "explanation": r"\b(?:explain|why|how does|how do|what is|what are|describe|difference)\b",
    "list": r"\b(?:list|steps|ideas|examples|suggest|recommend|tips|ways)\b",
    "brevity": r"\b(?:short|brief|briefly|concise|summarize|summary|one sentence|in a word)\b",
    "role": r"\b(?:act as|pretend|you are|imagine|role.?play)\b",
}


def _turns() -> pl.Expr:
    return pl.col(PROMPT).list.len()


def _null_turns(column: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().is_null()).list.sum()


def _empty_turns(column: str) -> pl.Expr:
    blank = pl.element().fill_null("").str.strip_chars().str.len_bytes() == 0
    return pl.col(column).list.eval(blank).list.sum()


def _shortest_turn(column: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().str.len_chars()).list.min()


def _last_turn_share(column: str) -> pl.Expr:
    return share(last(column).str.len_chars(), text(column).str.len_chars())


_FEATURES = (
    symmetric("turns", _turns(), "Turns of the conversation", "count"),
    *sided("null_turns", _null_turns, "Turns of {} that are null", "count", prompt=True),
    *sided("empty_turns", _empty_turns, "Turns of {} that are null or blank", "count", prompt=True),
    *sided("shortest_turn", _shortest_turn, "Length of the shortest turn of {}", "characters"),
    *sided("last_turn_share", _last_turn_share, "Share of {} that is its last turn", "share"),
    *(
        symmetric(
            f"asks_{what}",
            lower(PROMPT).str.count_matches(pattern),
            f"Words of the prompt that ask for {what}",
            "count",
        )
        for what, pattern in _ASKS.items()
    ),
)

FEATURE_SET = FeatureSet("conversation", _FEATURES, helpers=needed(_FEATURES))
"""Turns, null and empty turns, and what the prompt asks for."""
