r"""What the responses look like: lists, headings, code, tables, formulas, links.

Patterns are regular expressions of Rust's ``regex`` crate unless ``literal`` says otherwise:
``count_matches(".")`` would count every character.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ensemble.plugin.feature import FeatureSet
from ensemble_features.sides import sided
from ensemble_features.text import last, needed, text

if TYPE_CHECKING:
    import polars as pl


class _Mark(NamedTuple):
    name: str
    pattern: str
    description: str
    literal: bool = False
    prompt: bool = False


_MARKS = (
    _Mark("bold", r"\*\*[^*\n]+\*\*", "Bold spans, `**so**`, in {}"),
    _Mark("bullets", r"(?m)^[ \t]*[-*+\x{2022}] ", "Lines of {} that begin with a bullet"),
    _Mark("numbered", r"(?m)^[ \t]*[0-9]+[.)] ", "Lines of {} that begin with a number and a dot"),
    _Mark("headings", r"(?m)^#{1,6} ", "Markdown headings in {}"),
    _Mark("newlines", "\n", "Line breaks in {}", literal=True, prompt=True),
    _Mark("paragraphs", r"\n[ \t]*\n", "Blank lines between paragraphs of {}"),
    _Mark("code_fences", "```", "Code fences in {}", literal=True, prompt=True),
    _Mark("inline_code", r"`[^`\n]+`", "Inline code spans in {}"),
    _Mark("table_rows", r"(?m)^[ \t]*\|.*\|[ \t]*$", "Table rows in {}"),
    _Mark(
        "latex",
        r"\$\$|\\[(\[]|\\(?:begin|frac|sqrt|sum|int|times|cdot|left|text|math[a-z]+)\b",
        "LaTeX delimiters and common commands in {}",
    ),
    _Mark("urls", r"https?://|\bwww\.", "Web addresses in {}"),
    _Mark("quotes", r'["\x{201C}\x{201D}]', "Double quotation marks, straight or curly, in {}"),
)
_LAST_TURN = ("newlines", "bullets", "numbered", "code_fences")
"""Layout whose counts in the last turn differ most from those of the whole conversation."""


def _count(source: str, mark: _Mark, column: str) -> pl.Expr:
    value = text(column) if source == "text" else last(column)
    return value.str.count_matches(mark.pattern, literal=mark.literal)


_FEATURES = (
    *(
        feature
        for mark in _MARKS
        for feature in sided(
            mark.name, partial(_count, "text", mark), mark.description, "count", prompt=mark.prompt
        )
    ),
    *(
        feature
        for mark in _MARKS
        if mark.name in _LAST_TURN
        for feature in sided(
            f"last_{mark.name}",
            partial(_count, "last", mark),
            mark.description.format("the last turn of {}"),
            "count",
        )
    ),
)

FEATURE_SET = FeatureSet("markdown", _FEATURES, helpers=needed(_FEATURES))
"""Counts of layout and markup per response, and their differences."""
