"""Columns beside battles that may join them into groups: sessions, judges, conversations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.battles.group_columns import group_values
from ensemble.config.toml_lines import toml_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

_GROUPS = frozenset(
    (
        *("session", "sessions", "conversation", "conv", "thread", "dialogue", "dialog"),
        *("judge", "user", "annotator", "worker", "rater", "labeler", "labeller", "evaluator"),
        *("participant", "reviewer", "person", "voter", "author"),
    )
)
_OTHERS = frozenset(
    (
        *("language", "lang", "locale", "country", "type", "kind", "age", "gender", "model"),
        *("turns", "turn", "length", "tokens", "count", "num", "n", "order", "score", "time"),
    )
)
"""Words that make a column one of a property, such as the language of a user."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class GroupColumn:
    """A column whose values some rows share.

    Parameters
    ----------
    name
        Of the column.
    values
        How many different ones it has.
    rows
        Rows that have a value.
    largest
        Rows of the most frequent value.
    """

    name: str
    values: int
    rows: int
    largest: int


def find_group_columns(metadata: pl.DataFrame) -> list[GroupColumn]:
    """Find columns that may be of sessions, people or conversations, by name and values.

    Parameters
    ----------
    metadata
        What a file says of its battles beside them.

    Returns
    -------
    list of GroupColumn
        Those with two values or more, of which one at least is in several rows.
    """
    found = []
    for name in metadata.columns:
        words = {word.lower() for word in _WORD.findall(name)}
        if not words & _GROUPS or words & _OTHERS:
            continue
        values = group_values(metadata[name]).drop_nulls()
        counts = values.value_counts()["count"]
        if 2 <= len(counts) < len(values):
            found.append(GroupColumn(name, len(counts), len(values), int(counts.to_numpy().max())))
    return found


def group_lines(columns: Sequence[GroupColumn], *, rows: int, n_splits: int) -> list[str]:
    """Write comments below ``[folds]``: the line that joins groups, and what each column has.

    Parameters
    ----------
    columns
        Of the target.
    rows
        Rows of the target.
    n_splits
        Number of folds; a group that is larger than a fold cannot be kept together evenly.
    """
    usable = [one for one in columns if one.largest * n_splits <= rows]
    lines = []
    if usable:
        line = toml_lines({"group_columns": [one.name for one in usable]})[0]
        lines = ["# Keeps the rows of a session, or of a person, in one fold (docs/folds.md):"]
        lines.append(f"# {line}")
    return lines + [f"# {_told(one, one in usable)}" for one in columns]


def _told(one: GroupColumn, is_usable: bool) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in one.name)
    told = f"{shown}: {one.values:,} values in {one.rows:,} rows, the largest in {one.largest:,}"
    return told if is_usable else f"{told}, more than a fold"
