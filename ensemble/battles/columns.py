"""Which columns a file of battles has to have, and what to say where they are not there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import CONVERSATION_COLUMNS
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_COLUMNS = ("id", "question_id")
"""The id's column: the first of these that is present."""
MODEL_COLUMNS = ("model_a", "model_b")
RAW_COLUMNS = frozenset(
    (
        *ID_COLUMNS,
        *TEXT_COLUMNS,
        *CONVERSATION_COLUMNS,
        *CLASSES,
        WINNER_COLUMN,
        *MODEL_COLUMNS,
    )
)
"""Every column that loading looks at; others are left unread."""


def id_column(present: Sequence[str], where: str) -> str:
    """Choose the id's column.

    Raises
    ------
    DataError
        There is none.
    """
    for name in ID_COLUMNS:
        if name in present:
            return name
    raise _missing([ID_COLUMNS[0]], present, where)


def text_columns(present: Sequence[str], where: str) -> tuple[str, ...]:
    """Choose the text columns: ``TEXT_COLUMNS`` where all are present, else conversations.

    Raises
    ------
    DataError
        Neither set is whole.
    """
    for names in (TEXT_COLUMNS, CONVERSATION_COLUMNS):
        if set(names) <= set(present):
            return names
    hub_style = set(CONVERSATION_COLUMNS) & set(present) and TEXT_COLUMNS[0] not in present
    due = CONVERSATION_COLUMNS if hub_style else TEXT_COLUMNS
    raise _missing([name for name in due if name not in present], present, where)


def check_label_columns(present: Sequence[str], where: str, *, required: bool) -> None:
    """Check that labels are there if they must be, and never in part.

    Raises
    ------
    DataError
        Some of the three label columns are missing, or all label columns where ``required``.
    """
    absent = [name for name in CLASSES if name not in present]
    if WINNER_COLUMN in present or not absent:
        return
    if required or len(absent) < len(CLASSES):
        raise _missing(absent, present, where)


def _missing(names: Sequence[str], present: Sequence[str], where: str) -> DataError:
    """Build the error that names missing columns, the nearest present ones, and all of these."""
    noun = "a column is missing" if len(names) == 1 else "columns are missing"
    described = ", ".join(_with_nearest(name, present) for name in names)
    listing = ", ".join(present) if present else "none"
    return DataError(
        f"{noun}: {described}",
        where=where,
        mend=f"rename or add columns; the file has: {listing}. docs/data.md lists what is read",
    )


def _with_nearest(name: str, present: Sequence[str]) -> str:
    # Columns that are read under their own name are no misspelling of another.
    candidates = {other.lower(): other for other in present if other not in RAW_COLUMNS}
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f'{name} (nearest present: "{candidates[close[0]]}")' if close else name
