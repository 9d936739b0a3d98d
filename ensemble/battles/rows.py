"""Raw rows to normalized rows, or to bad rows with their reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.columns import (
    MODEL_COLUMNS,
    TURN_COLUMN,
    check_label_columns,
    id_column,
    text_columns,
)
from ensemble.battles.encoded import Encoded
from ensemble.battles.files.raw import BadRow
from ensemble.battles.labels import WINNER_COLUMN, exact_label, is_missing, label_of
from ensemble.battles.schema import (
    BATTLE_SCHEMA,
    LABEL_COLUMNS,
    PSEUDO_ROLE,
    TEST_ROLE,
    TEXT_COLUMNS,
)
from ensemble.battles.texts import TurnNumbers, texts_of, told_text_format
from ensemble.battles.turns import BadCell, id_of, to_utf8, turns_column
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ensemble.battles.files.raw import Chunk
    from ensemble.battles.labels import Label
    from ensemble.battles.turns import TextFormat

UNLABELED_ROLES = frozenset({PSEUDO_ROLE, "ignore", TEST_ROLE})
"""Roles whose rows need no label."""
_ROW_COLUMNS = ("id", *TEXT_COLUMNS, *LABEL_COLUMNS, *MODEL_COLUMNS)
_ROW_SCHEMA = {name: BATTLE_SCHEMA[name] for name in _ROW_COLUMNS}


@dataclass
class Rows:
    """What has been read of a file.

    Parameters
    ----------
    frames
        Normalized rows, chunk after chunk, without what the file does not say (source, role).
    lines
        Where each of these rows begins.
    files
        Each file and how many of these rows are from it, chunk after chunk.
    bad
        The unreadable rows, in the order of the file.
    metadata
        What is kept beside these rows, by column, chunk after chunk.
    text_format
        What a string in a text column was taken for; ``"auto"`` where there was none.
    is_said
        Whether the config says that.
    turns
        What a column of turns has said.
    encoded
        What texts have said that may be encoded once too often.
    lacks_ties
        Whether a file has shares of both sides and no column of ties.
    """

    frames: list[pl.DataFrame] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    metadata: list[dict[str, list[Any]]] = field(default_factory=list)
    text_format: TextFormat = "auto"
    is_said: bool = False
    turns: TurnNumbers = field(default_factory=TurnNumbers)
    encoded: Encoded = field(default_factory=Encoded)
    lacks_ties: bool = False

    @property
    def seen(self) -> int:
        """Count all rows, readable or not."""
        return len(self.lines) + len(self.bad)


def read_rows(
    chunks: Iterable[Chunk],
    *,
    role: str,
    text_format: TextFormat,
    file: str,
    winners: Mapping[str, str] | None = None,
) -> Rows:
    """Normalize chunk by chunk, so that only one chunk at a time is held as Python objects.

    Parameters
    ----------
    chunks
        The raw rows.
    role
        Decides whether labels must be there; rows of ``TEST_ROLE`` keep no label and no model,
        those of ``PSEUDO_ROLE`` no label.
    text_format
        What a string in a text column is.
    file
        Name of the file in errors, where a chunk has none.
    winners
        What the values of ``winner`` mean, as ``label_of`` has it.

    Raises
    ------
    DataError
        Columns are missing, or texts are encoded once too often.
    """
    rows = Rows(text_format=text_format, is_said=text_format != "auto")
    order: dict[str, int] = {}
    for chunk in chunks:
        order.setdefault(chunk.file, len(order))
        rows.bad.extend(chunk.bad_rows)
        if chunk.present:  # JSON Lines without a single object name no column
            if rows.text_format == "auto":
                rows.text_format = told_text_format(chunk.columns)
            _add(rows, chunk, role, chunk.file or file, winners)
        del chunk  # before the next is read
    rows.encoded.refuse(file, rows.text_format, is_said=rows.is_said)
    rows.bad.sort(key=lambda row: (order.get(row.file, 0), row.line or 0))
    return rows


def _add(rows: Rows, chunk: Chunk, role: str, file: str, winners: Mapping[str, str] | None) -> None:
    text_format = rows.text_format
    names = _cell_columns(chunk.present, role, file)
    rows.turns.add(chunk.columns, text_format, file)
    rows.lacks_ties |= CLASSES[0] in names and CLASSES[2] not in names
    cells = [chunk.columns[raw] for raw in names.values()]
    good, at = [], []
    made = tuple(names) if "id" in names else ("id", *names)
    is_made = made == (*_ROW_COLUMNS[:4], *CLASSES, *MODEL_COLUMNS)
    for place, values in enumerate(zip(*cells, strict=True)):
        if is_made and _is_whole(values):
            good.append(values if "id" in names else (None, *values))
            at.append(place)
            continue
        row = dict(zip(names, values, strict=True))
        try:
            good.append(_battle(row, role, text_format, winners))
            at.append(place)
        except BadCell as error:
            label = _label_if_any(row, winners)
            rows.bad.append(BadRow(file, chunk.lines[place], str(error), label))
    rows.lines += [chunk.lines[place] for place in at]
    rows.files.append((file, len(at)))
    rows.metadata.append({n: [c[place] for place in at] for n, c in chunk.metadata.items()})
    named = {name: [row[at] for row in good] for at, name in enumerate(_ROW_COLUMNS)}
    turns = {name: named[name] for name in TEXT_COLUMNS}
    rows.encoded.add(turns, file, text_format)
    texts = {name: turns_column(cells) for name, cells in turns.items()}
    rows.frames.append(pl.DataFrame(named | texts, schema=_ROW_SCHEMA))


def _is_whole(values: tuple[Any, ...]) -> bool:
    """Say whether a row is one already, as formats make most: lists of texts, exact shares."""
    *names, prompt, a, b = values[:-5]
    lists = type(prompt) is type(a) is type(b) is list and 0 < len(prompt) == len(a) == len(b)
    if not lists or set(map(type, [*prompt, *a, *b])) != {str}:
        return False
    if None in names or exact_label(values[-5:-2]) is None:
        return False
    return all(map(_is_plain_name, (*names, *values[-2:])))


def _is_plain_name(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.isascii() and cell.strip() != "")


def _label_if_any(row: Mapping[str, Any], winners: Mapping[str, str] | None) -> Label | None:
    try:
        return label_of(row, winners)
    except BadCell:
        return None


def _cell_columns(present: Sequence[str], role: str, file: str) -> dict[str, str]:
    """Map the names that ``_battle`` reads to the file's own.

    A test file keeps no answer, and a file of pseudo-labels to come keeps no label: it is not even
    read, so that it can be whatever it likes.
    """
    identifier = id_column(present, file)
    names = {} if identifier is None else {"id": identifier}
    names |= {name: name for name in (*text_columns(present, file), TURN_COLUMN) if name in present}
    if role == TEST_ROLE:
        return names
    optional: tuple[str, ...] = MODEL_COLUMNS
    if role != PSEUDO_ROLE:
        check_label_columns(present, file, required=role not in UNLABELED_ROLES)
        optional = (*CLASSES, WINNER_COLUMN, *MODEL_COLUMNS)
    return names | {name: name for name in optional if name in present}


def _battle(
    cells: Mapping[str, Any],
    role: str,
    text_format: TextFormat,
    winners: Mapping[str, str] | None,
) -> tuple[Any, ...]:
    """Normalize one row into ``_ROW_COLUMNS``."""
    identifier = id_of(cells["id"]) if "id" in cells else None
    texts = texts_of(cells, text_format)
    label = label_of(cells, winners)
    if label is None and role not in UNLABELED_ROLES:
        raise BadCell("no label")
    first, second = MODEL_COLUMNS
    models = _model_name(cells.get(first)), _model_name(cells.get(second))
    return (identifier, *texts, *(label or (None, None, None)), *models)


def _model_name(cell: object) -> str | None:
    return None if is_missing(cell) else to_utf8(str(cell))
