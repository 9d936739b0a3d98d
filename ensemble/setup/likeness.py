"""How likely a table is the target: its name, and how like the test it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ensemble.setup.look import Look

TRAIN_WORDS = frozenset({"train", "training", "target"})
TEST_WORDS = frozenset({"test", "testing"})
_OTHER = frozenset(
    (
        *("extra", "external", "additional", "aux", "auxiliary", "pretrain", "pretraining"),
        *("pseudo", "old", "valid", "validation", "val", "dev", "eval"),
    )
)
_SHAPES = (
    ("whole numbers", r"\d+"),
    ("32 hex digits or more", r"[0-9a-fA-F]{32,}"),
    ("names with a number", r"[A-Za-z_-]+\d+"),
)
_MOST = 0.75
"""Share of the columns of the test that a table like it has."""


def words_of(look: Look) -> set[str]:
    """Give the words of a table's name."""
    return set(re.findall(r"[a-z]+", look.table.stem.lower()))


def likeness(look: Look, labeled: Sequence[Look], test: Look | None) -> tuple[float, list[str]]:
    """Say how likely a table is the target, with reasons."""
    score = 0.0
    reasons: list[str] = []
    words = words_of(look)
    if words & TRAIN_WORDS:
        score, reasons = score + 2, [*reasons, "its name says so"]
    if words & _OTHER:
        score -= 2
    if test is None:
        return score, reasons
    same = len(set(test.columns) & set(look.columns))
    if same >= _MOST * len(test.columns):
        told = f"it has {same} of the {len(test.columns)} columns of {test.table.named}"
        score, reasons = score + 3, [*reasons, told]
    own = words_of(test) - TEST_WORDS
    if own and own <= words:
        score, reasons = score + 2, [*reasons, "its name goes with the test's"]
    if look.read_as == test.read_as:
        score += 1
    shape = _id_shape(look.ids())
    if shape is not None and shape == _id_shape(test.ids()):
        score, reasons = score + 1, [*reasons, f"its ids are like those of the test ({shape})"]
    others = [_distance(one, test) for one in labeled if one is not look]
    if others and _distance(look, test) < min(others):
        score, reasons = score + 1, [*reasons, "its texts are most like those of the test"]
    return score, reasons


def _id_shape(ids: pl.Series) -> str | None:
    """Say of what form all ids are; None where of none that is known."""
    some = ids.head(1_000)
    for name, pattern in _SHAPES:
        if len(some) and some.str.contains(f"^(?:{pattern})$").all():
            return name
    return None


def _distance(look: Look, test: Look) -> float:
    """Say how far apart the lengths, turns and languages of two tables are."""
    one, other = look.facts, test.facts
    if one is None or other is None:
        return 0.0
    lengths = sum(
        abs(a - b) / (a + b + 1) for a, b in zip(one.characters, other.characters, strict=True)
    )
    turns = abs(one.several - other.several)
    names = {*one.languages, *other.languages}
    languages = sum(abs(one.languages.get(n, 0) - other.languages.get(n, 0)) for n in names) / 2
    return lengths / len(one.characters) + turns + languages
