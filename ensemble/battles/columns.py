"""Which columns a file of battles has to have, and what to say where they are not there."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.messages import CONVERSATION_COLUMNS
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_COLUMNS = ("id", "question_id")
"""The id's column: the first of these that is present."""
_NOT_A_LETTER = re.compile(r"[\W_]+")
_ID_LETTERS = frozenset(_NOT_A_LETTER.sub("", name) for name in ID_COLUMNS)
BASE_IDS = ("prompt_id", "comparison_id", "battle_id", "uid", "uuid")
"""Columns that name a row or its prompt, where there is no id: each battle gets one from it."""
MODEL_COLUMNS = ("model_a", "model_b")
TURN_COLUMN = "turn"
"""Which of a conversation's turns was judged, from 1, where a file says so."""
RAW_COLUMNS = frozenset(
    (
        *ID_COLUMNS,
        *BASE_IDS,
        *TEXT_COLUMNS,
        *CONVERSATION_COLUMNS,
        *CLASSES,
        WINNER_COLUMN,
        *MODEL_COLUMNS,
        TURN_COLUMN,
    )
)
"""Every column that loading looks at; others are left unread."""


def base_id_column(present: Sequence[str]) -> str | None:
    """Choose the column that ids are made from: the id's own, else one that names the prompt."""
    return next((name for name in (*ID_COLUMNS, *BASE_IDS) if name in present), None)


def id_column(present: Sequence[str], where: str) -> str | None:
    """Choose the id's column; None where none is there, nor one that is spelled nearly so.

    Raises
    ------
    DataError
        One is there but for its case, or for signs, some of which nobody sees.
    """
    if (found := base_id_column(present)) is not None:
        return found
    if any(map(nearly_id, present)):
        raise _missing([ID_COLUMNS[0]], present, where)
    return None


def nearly_id(name: str) -> bool:
    """Say whether a name is that of the id's column but for case, and signs of which some hide."""
    return _NOT_A_LETTER.sub("", name.lower()) in _ID_LETTERS


def text_columns(present: Sequence[str], where: str) -> tuple[str, ...]:
    """Choose the text columns: ``TEXT_COLUMNS`` and conversations, whichever are whole.

    Raises
    ------
    DataError
        Neither set is whole.
    """
    there = [names for names in (TEXT_COLUMNS, CONVERSATION_COLUMNS) if set(names) <= set(present)]
    if there:
        return tuple(name for names in there for name in names)  # they must agree
    hub_style = set(CONVERSATION_COLUMNS) & set(present) and TEXT_COLUMNS[0] not in present
    due = CONVERSATION_COLUMNS if hub_style else TEXT_COLUMNS
    raise _missing([name for name in due if name not in present], present, where)


def check_label_columns(present: Sequence[str], where: str, *, required: bool) -> None:
    """Check that labels are there if they must be, and never in part.

    Raises
    ------
    DataError
        That of A or of B is missing beside others of the label, or all label columns are where
        ``required``. A file without ties may lack their column.
    """
    absent = [name for name in CLASSES if name not in present]
    if WINNER_COLUMN in present or not {*absent} - {CLASSES[2]}:
        return
    if required or len(absent) < len(CLASSES):
        raise _missing(absent, present, where)


_PAIRS = (
    ("response_a", "response_b"),
    ("conversation_a", "conversation_b"),
    ("winner_model_a", "winner_model_b"),
)
"""Columns of side A and side B, which only a pair of other columns can be."""
_SIDES = (
    ("a", "b"),
    ("0", "1"),
    ("1", "2"),
    ("left", "right"),
    ("first", "second"),
    ("one", "two"),
    ("chosen", "rejected"),
)
_MANY = 500
"""Columns from which on none is thought to be a misspelled one: they are features, or no header."""
_LISTED = 20
"""Columns of a file that an error names."""


def _missing(names: Sequence[str], present: Sequence[str], where: str) -> DataError:
    """Build the error that names missing columns, the nearest present ones, and all of these."""
    noun = "a column is missing" if len(names) == 1 else "columns are missing"
    hints = _nearest(names, present)
    described = ", ".join(
        f'{name} (nearest present: "{hints[name]}")' if name in hints else name for name in names
    )
    listing = ", ".join(f"{name:.60}" for name in present[:_LISTED]) or "none"
    if len(present) > _LISTED:
        listing += f", … and {len(present) - _LISTED:,} more"
    return DataError(
        f"{noun}: {described}",
        where=where,
        hint=f"rename or add columns; the file has: {listing}. docs/data.md lists what is read",
    )


def _nearest(names: Sequence[str], present: Sequence[str]) -> dict[str, str]:
    """Find which present column each missing one may be: no column for two, and sides as pairs."""
    # Columns that are read under their own name are no misspelling of another.
    free = [name for name in present if name not in RAW_COLUMNS]
    if len(free) > _MANY:
        return {}
    found: dict[str, str] = {}
    for pair in _PAIRS:
        if set(pair) <= set(names):
            found |= _nearest_pair(pair, free)
    paired = {name for pair in _PAIRS if set(pair) <= set(names) for name in pair}
    for name in names:
        if name not in paired:
            by_letters = {other.lower(): other for other in free if other not in found.values()}
            close = difflib.get_close_matches(name, by_letters, n=1, cutoff=0.6)
            found |= {name: by_letters[close[0]]} if close else {}
    return found


def _nearest_pair(pair: tuple[str, str], free: Sequence[str]) -> dict[str, str]:
    """Find two columns that differ in nothing but the side."""
    by_letters = {name.lower(): name for name in free}
    stem = pair[0].removesuffix("a")
    best, likest = {}, 0.6
    for name in by_letters:
        for one, other in _SIDES:
            partner = name.removesuffix(one) + other
            if name.endswith(one) and partner in by_letters:
                like = difflib.SequenceMatcher(None, stem, name.removesuffix(one)).ratio()
                if like > likest:
                    likest = like
                    best = dict(zip(pair, (by_letters[name], by_letters[partner]), strict=True))
    return best
