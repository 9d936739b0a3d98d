"""Our names for a file's own columns, as a config gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.messages import CONVERSATION_COLUMNS
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError, nearest
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ensemble.battles.files.raw import Chunk


_SAYS = frozenset(
    (
        *TEXT_COLUMNS,
        *CONVERSATION_COLUMNS,
        *CLASSES,
        WINNER_COLUMN,
        *("chosen", "rejected", "answers", "response", "rank", "score"),
    )
)
"""Our names of columns that say what no other does: texts and labels."""


class ColumnNames:
    """Columns of a file under our names.

    Parameters
    ----------
    ours
        Our names to the file's; a dot leads into a column of records: ``question.text``.
    """

    def __init__(self, ours: Mapping[str, str]) -> None:
        self.ours = dict(ours)

    def check(self, present: Sequence[str], where: str) -> None:
        """Refuse names that the file has not, and a column that is to say two things.

        Raises
        ------
        DataError
            The first such name, and the nearest that is there.
        """
        said: dict[str, str] = {}
        for ours, theirs in self.ours.items():
            if ours in _SAYS and said.setdefault(theirs, ours) != ours:
                raise DataError(
                    f'columns.{said[theirs]} and columns.{ours} both name "{theirs}"',
                    where=where,
                    hint="give each a column of its own",
                )
            if self._root(theirs, present) not in present:
                raise DataError(
                    f'columns.{ours} names "{theirs}", and the file has no such column',
                    where=where,
                    hint=nearest(theirs, present),
                )

    def named(self, present: Sequence[str]) -> tuple[str, ...]:
        """Give the columns of a file by our names; a column of our name is hidden by another's."""
        if not self.ours:
            return tuple(present)
        taken = {theirs for theirs in self.ours.values() if theirs in present}
        others = [name for name in present if name not in taken and name not in self.ours]
        return (*self.ours, *others)

    def theirs(self, names: Collection[str], present: Sequence[str]) -> set[str]:
        """Give the file's own names of some columns."""
        return {self._root(self.ours.get(name, name), present) for name in names}

    def apply(self, chunk: Chunk) -> Chunk:
        """Give a chunk under our names; errors as ``check``, since files of a source may differ."""
        if not self.ours or not chunk.present:
            return chunk
        self.check(chunk.present, chunk.file)
        names = self.named(chunk.present)
        columns = {name: self._cells(chunk, name) for name in names}
        kept = {name: cells for name, cells in columns.items() if cells is not None}
        return replace(chunk, present=names, columns=kept)

    def _cells(self, chunk: Chunk, name: str) -> list[Any] | None:
        theirs = self.ours.get(name, name)
        root = self._root(theirs, chunk.present)
        cells = chunk.columns.get(root)
        if cells is None or root == theirs:
            return cells
        path = theirs[len(root) + 1 :].split(".")
        return [_within(cell, path) for cell in cells]

    @staticmethod
    def _root(name: str, present: Sequence[str]) -> str:
        """Give the column that a name is of: itself, or what stands before its first dot."""
        return name if name in present or "." not in name else name.partition(".")[0]


def _within(cell: Any, path: Sequence[str]) -> Any:
    for key in path:
        cell = cell.get(key) if isinstance(cell, Mapping) else None
    return cell
