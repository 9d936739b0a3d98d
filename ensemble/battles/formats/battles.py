"""Battles as they are: prompt and two responses, or two conversations, and who won."""

from __future__ import annotations

from ensemble.battles.columns import (
    RAW_COLUMNS,
    check_label_columns,
    id_column,
    text_columns,
)
from ensemble.battles.formats.layout import Format, Layout, Sheet
from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.messages import CONVERSATION_COLUMNS
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES


def _battles(sheet: Sheet) -> Layout | None:
    if not sheet.has(*TEXT_COLUMNS) or not _has_labels(sheet):
        return None
    _refuse_third(sheet, "response_c")
    return Layout("battles (prompt, response_a, response_b)", tuple(RAW_COLUMNS), uses=_uses(sheet))


def _conversations(sheet: Sheet) -> Layout | None:
    if not sheet.has(*CONVERSATION_COLUMNS) or sheet.has(*TEXT_COLUMNS) or not _has_labels(sheet):
        return None
    _refuse_third(sheet, "conversation_c")
    return Layout(
        "conversations (conversation_a, conversation_b)", tuple(RAW_COLUMNS), uses=_uses(sheet)
    )


def _refuse_third(sheet: Sheet, name: str) -> None:
    if sheet.has(name):
        raise DataError(
            f"there are more than two answers: {name} is one too",
            hint="leave its rows and the column out; a battle is of two",
        )


def _uses(sheet: Sheet) -> frozenset[str]:
    return frozenset({"winner"} if sheet.has(WINNER_COLUMN) else ())


def _has_labels(sheet: Sheet) -> bool:
    """Say whether labels are there, where every row needs one."""
    there = sheet.among((*CLASSES, WINNER_COLUMN))
    whole = WINNER_COLUMN in there or set(CLASSES[:2]) <= set(there)
    return whole or not (sheet.required or (sheet.labeled and there))


def refuse(sheet: Sheet, where: str) -> None:
    """Say which columns of battles a file lacks.

    Raises
    ------
    DataError
        It lacks some.
    """
    id_column(sheet.present, where)
    text_columns(sheet.present, where)
    check_label_columns(sheet.present, where, required=sheet.required)


BATTLES = Format(
    "battles", "prompt, response_a, response_b and winner or winner_model_a, ...", _battles
)
CONVERSATIONS = Format("conversations", "conversation_a, conversation_b and winner", _conversations)
