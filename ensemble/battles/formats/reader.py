"""From raw chunks of any format to chunks of battles, with what is kept beside them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.columns import BASE_IDS, ID_COLUMNS, base_id_column, nearly_id
from ensemble.battles.files.raw import one_by_one
from ensemble.battles.formats.layout import FormatOptions, Sheet
from ensemble.battles.formats.mapping import ColumnNames
from ensemble.battles.formats.registry import recognize
from ensemble.battles.labels import is_missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ensemble.battles.files.raw import Chunk
    from ensemble.battles.formats.layout import Layout

_ANSWERS = re.compile(
    "winner|label|prefer|chosen|reject|score|rating|rank|better|choice|verdict|vote|model|safe|harm"
    "|sever|strength|helpful|reward|quality|correct|outcome|result|elo_|_elo",
    re.I,
)
"""Names of columns that may tell who won: they are kept nowhere where labels are not read."""
_ALSO_KEPT = {"question_id", "turn", *BASE_IDS}
_IDS = frozenset((*ID_COLUMNS, *BASE_IDS))
_ASIDE = {
    **dict.fromkeys(
        ("system", "system_prompt", "system_message", "custom_system_prompt"), "a system prompt"
    ),
    **dict.fromkeys(("input", "inputs"), "an input beside their prompt"),
    **dict.fromkeys(("history", "context"), "what was said before their prompt"),
}
"""Columns of what is said beside the prompt: battles have no place for it, and it is told of."""
_NESTED = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary)


class FormatReader:
    """Reads one source, whose format its first columns tell.

    Parameters
    ----------
    options
        What the config says of its columns.
    where
        The source in errors.
    labeled
        Whether labels are read.
    required
        Whether every row needs one.
    """

    def __init__(
        self, options: FormatOptions, where: str, *, labeled: bool, required: bool
    ) -> None:
        self._names = ColumnNames(options.columns)
        self._sheet = Sheet((), options, labeled, required)
        self._hides_ids = options.make_ids
        self._where = where
        self.layout: Layout | None = None

    @property
    def id_column(self) -> str | None:
        """The file's own name of the column that ids come from, by our names where it is mapped."""
        return base_id_column(self._sheet.present)

    def told_notes(self) -> list[str]:
        """Tell what the format has to say, with counts."""
        return [f"{count:,} {note}" for note, count in self._sheet.notes.items()]

    def wanted(self, present: Mapping[str, pl.DataType | None]) -> Collection[str]:
        """Choose the columns whose cells are needed, by the file's own names."""
        names = tuple(present)
        if not names:
            return ()
        layout = self._layout(names)
        read = [name for name in layout.columns if name in self._names.named(names)]
        flat = (
            name
            for name, kind in present.items()
            if name in _ASIDE or not isinstance(kind, _NESTED)
        )
        return self._names.theirs(read, names) | set(flat)

    def battles(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Give chunks whose columns are those of battles.

        Raises
        ------
        DataError
            The columns fit no format, or several.
        """
        named = one_by_one(chunks, lambda chunk: self._with_metadata(self._names.apply(chunk)))
        ahead = self._chained(self._until_columns(named), named)
        layout = self.layout
        yield from ahead if layout is None or layout.turning is None else layout.turning(ahead)

    @staticmethod
    def _until_columns(chunks: Iterator[Chunk]) -> list[Chunk]:
        first = []
        for chunk in chunks:
            first.append(chunk)
            if chunk.present:
                break
        return first

    @staticmethod
    def _chained(first: list[Chunk], rest: Iterator[Chunk]) -> Iterator[Chunk]:
        while first:
            yield first.pop(0)
        yield from rest

    def _layout(self, names: tuple[str, ...]) -> Layout:
        if self.layout is None:
            self._names.check(names, self._where)
            present = self._present(self._names.named(names))
            self._sheet = replace(self._sheet, present=present)
            self.layout = recognize(self._sheet, self._where)
        return self.layout

    def _with_metadata(self, chunk: Chunk) -> Chunk:
        """Part the cells of battles from those that are kept beside them."""
        if not chunk.present:
            return chunk
        layout = self._layout(chunk.present)
        self._count_aside(chunk, layout)
        hidden = set(layout.columns) - _ALSO_KEPT
        kept: dict[str, list[Any]] = {
            name: cells
            for name, cells in chunk.columns.items()
            if name not in hidden and (self._sheet.labeled or not _ANSWERS.search(name))
        }
        present = self._present(chunk.present)
        shown = set(present)
        read = {name: cells for name, cells in chunk.columns.items() if name in shown}
        return replace(chunk, present=present, columns=read, metadata=kept)

    def _present(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give the columns that formats see: those of ids only where none are made."""
        if not self._hides_ids:
            return names
        return tuple(name for name in names if name not in _IDS and not nearly_id(name))

    def _count_aside(self, chunk: Chunk, layout: Layout) -> None:
        """Count the rows that say something beside the prompt in a column that is not read."""
        for name, what in _ASIDE.items():
            cells = chunk.columns.get(name, ()) if name not in layout.columns else ()
            if count := sum(not is_missing(cell) and cell not in ([], "[]") for cell in cells):
                told = f"rows have {what}, and the column {name} is not read"
                self._sheet.notes[told] += count
