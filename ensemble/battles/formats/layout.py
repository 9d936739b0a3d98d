"""What a format is: columns that it needs, and how they become battles."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ensemble.battles.columns import MODEL_COLUMNS
from ensemble.battles.files.raw import BadRow, Chunk, one_by_one
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import BadCell, id_of
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ensemble.battles.labels import Label
    from ensemble.battles.turns import Turns

    Row = Mapping[str, Any]
    Turning = Callable[[Iterable[Chunk]], Iterator[Chunk]]

Sides = Literal["auto", "file", "hash"]
"""Whose answer is A: as the format has it, as in the file, or drawn by a hash of the id."""
Ranking = Literal["ranks", "order"]
"""Numbers beside answers: the rank of each, or the answers in their order."""
Pairs = Literal["all", "best_worst"] | int
"""Which pairs are made of several answers to one prompt."""
STANDARD = ("id", *TEXT_COLUMNS, *CLASSES, *MODEL_COLUMNS)
"""Columns of the battles that a format makes."""


@dataclass(frozen=True)
class FormatOptions:
    """What a config says of a file's columns.

    Parameters
    ----------
    format
        Name of the format; None recognizes it by the columns.
    columns
        Our names of columns to the file's own.
    winner
        ``"a"``, ``"b"`` or ``"tie"`` by the value of the label's column.
    pairs
        Which pairs of several answers: all, the best with the worst, or that many by hash.
    tie_below
        Two scores that differ by less are a tie; equal ones always are.
    temperature
        Two scores give the shares ``sigmoid(difference / temperature)`` in place of a winner.
    score
        Name of the score where answers have several.
    ranking
        What a list of numbers beside answers says: their ``"ranks"``, or which answer is the best,
        the second, ... (``"order"``).
    make_ids
        Make ids from content even where the file has some.
    sides
        Whose answer is A.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    winner: Mapping[str, str] = field(default_factory=dict)
    pairs: Pairs = "all"
    tie_below: float | None = None
    temperature: float | None = None
    score: str | None = None
    ranking: Ranking | None = None
    make_ids: bool = False
    sides: Sides = "auto"


RECOGNIZED = FormatOptions()
"""Nothing is said: the columns tell the format."""


@dataclass(frozen=True)
class Sheet:
    """What is known of a file before its rows are.

    Parameters
    ----------
    present
        Names of its columns, ours where the config maps them.
    options
        What the config says.
    labeled
        Whether labels are read.
    required
        Whether every row needs one.
    notes
        Takes what a reader has to say, with counts.
    """

    present: tuple[str, ...]
    options: FormatOptions = RECOGNIZED
    labeled: bool = True
    required: bool = True
    notes: Counter[str] = field(default_factory=Counter)

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns, to look one up."""
        return frozenset(self.present)

    def has(self, *names: str) -> bool:
        """Say whether all of these columns are there."""
        return self.names.issuperset(names)

    def among(self, names: Iterable[str]) -> list[str]:
        """Give those of the names that are columns of the file, in the order of the names."""
        return [name for name in names if name in self.names]


@dataclass(frozen=True)
class Layout:
    """How the columns of one file make battles.

    Parameters
    ----------
    told
        What the file is read as, in words.
    columns
        Names of the columns that are read; of the others, short values are kept as metadata.
    turning
        Chunks of the file to chunks with columns of ``STANDARD``; None where they are that.
    one_sided
        Whether the better answer always stands first, so that sides are drawn by a hash.
    uses
        Names of the options that have something to do.
    """

    told: str
    columns: tuple[str, ...]
    turning: Turning | None = None
    one_sided: bool = False
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Format:
    """A format of files.

    Parameters
    ----------
    name
        As in ``format = "..."``.
    needs
        The columns that it needs, in words.
    recognize
        Gives the layout of a file that has these columns; None for others. It raises ``DataError``
        where they are there and cannot be read in one way alone.
    """

    name: str
    needs: str
    recognize: Callable[[Sheet], Layout | None]


class Battle(NamedTuple):
    """One battle that a format has made of a row.

    Parameters
    ----------
    prompt, response_a, response_b
        Turns; or three texts, which are plain or lists of turns as the file has them.
    label
        Shares in ``CLASSES`` order.
    models
        Names of A and B.
    id
        As the file spells it; None where it has none.
    """

    prompt: Turns | str
    response_a: Turns | str
    response_b: Turns | str
    label: Label | None = None
    models: tuple[Any, Any] = (None, None)
    id: Any = None

    def cells(self) -> tuple[Any, ...]:
        """Give the cells of ``STANDARD``."""
        shares = self.label or (None, None, None)
        return (self.id, self.prompt, self.response_a, self.response_b, *shares, *self.models)


def named(row: Row, column: str | None) -> str | None:
    """Give what the file calls a row or its prompt; None where it has no column for it.

    Raises
    ------
    BadCell
        The column is there, and the cell is empty or no id.
    """
    return None if column is None else id_of(row[column])


def by_row(
    make: Callable[[Row], Sequence[Battle]],
    columns: Sequence[str],
    look: Callable[[Chunk], None] | None = None,
) -> Turning:
    """Turn rows one by one.

    Parameters
    ----------
    make
        Gives the battles of a row; ``BadCell`` makes it a bad row.
    columns
        Names of the cells that it reads; those that are not there are null.
    look
        Sees each chunk before its rows are made.
    """

    def change(chunk: Chunk) -> Chunk:
        if look is not None:
            look(chunk)
        return turned(chunk, rows_of(chunk, columns), make)

    return partial(one_by_one, change=change)


def rows_of(chunk: Chunk, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Give the rows of a chunk as dictionaries."""
    empty = [None] * len(chunk.lines)
    cells = [chunk.columns.get(name, empty) for name in columns]
    return [dict(zip(columns, values, strict=True)) for values in zip(*cells, strict=True)]


def turned(chunk: Chunk, rows: Iterable[Row], make: Callable[[Row], Sequence[Battle]]) -> Chunk:
    """Turn the rows of a chunk into battles, and those that cannot be read into bad rows."""
    made: list[tuple[Any, ...]] = []
    origins: list[int] = []
    bad = list(chunk.bad_rows)
    for at, row in enumerate(rows):
        try:
            battles = make(row)
        except BadCell as error:
            bad.append(BadRow(chunk.file, chunk.lines[at], str(error)))
            continue
        made += [battle.cells() for battle in battles]
        origins += [at] * len(battles)
    return standard_chunk(chunk, made, origins, bad)


def standard_chunk(
    chunk: Chunk, made: Sequence[tuple[Any, ...]], origins: Sequence[int], bad: Sequence[BadRow]
) -> Chunk:
    """Put the cells of battles into a chunk, with the metadata of the rows that they come from."""
    cells = list(map(list, zip(*made, strict=True))) or [[] for _ in STANDARD]
    columns = dict(zip(STANDARD, cells, strict=True))
    if all(one is None for one in columns["id"]):
        del columns["id"]  # a file with a column for it has one in each row: see named()
    return Chunk(
        tuple(columns),
        [chunk.lines[at] for at in origins],
        columns,
        tuple(bad),
        chunk.file,
        {name: [cells[at] for at in origins] for name, cells in chunk.metadata.items()},
    )
