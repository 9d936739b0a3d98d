"""Raw rows before anything is known about battles: chunks of cells, bad rows, lines of text."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from ensemble.battles.files.sizes import LONGEST_LINE
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import polars as pl

    Record = TypeVar("Record")
    Wanted = Callable[[Mapping[str, pl.DataType | None]], Collection[str]] | None

CHUNK_ROWS = 20_000
"""Rows held as Python objects at one time."""
JSON = json.JSONDecoder(strict=False)
"""Allows raw newlines and NULs inside strings, which real files have."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN = 5
_CELL = re.compile(r"(?<=\bis) .*,(?= not a JSON)|(?<=^the id) .*(?= is neither)", re.DOTALL)
"""A cell in a reason: some 40 characters of whatever it holds."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Parameters
    ----------
    file
        Where it was read from.
    line
        Line on which the row begins (CSV, JSON Lines) or its row number (Parquet, loaders), from 1.
    reason
        Why it cannot be read.
    label
        Its label, where that can be read.
    """

    file: str
    line: int | None
    reason: str
    label: tuple[float, float, float] | None = None

    @property
    def kind(self) -> str:
        """The reason without what is of this row alone."""
        return _CELL.sub("", self.reason).partition(": ")[0]

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows of a file.

    Parameters
    ----------
    present
        Names of all columns of the file, wanted or not.
    lines
        Where each readable row begins.
    columns
        Cells by column; each as long as ``lines``; only columns that are wanted and present.
    bad_rows
        The rows in between that the format makes unreadable.
    file
        Where they are read from.
    metadata
        Cells by column of what is kept of the rows and is no part of the battles.
    """

    present: tuple[str, ...]
    lines: Sequence[int]
    columns: dict[str, list[Any]]
    bad_rows: tuple[BadRow, ...] = ()
    file: str = ""
    metadata: dict[str, list[Any]] = field(default_factory=dict)


def one_by_one(chunks: Iterable[Chunk], change: Callable[[Chunk], Chunk]) -> Iterator[Chunk]:
    """Change chunk by chunk, and hold none of them while the next is read."""
    for chunk in chunks:
        changed = [change(chunk)]
        del chunk
        yield changed.pop()


def kinds_of(bad_rows: Sequence[BadRow]) -> dict[str, int]:
    """Count the rows by the kind of reason, the most frequent first."""
    return dict(Counter(row.kind for row in bad_rows).most_common())


def refuse_bad_rows(
    bad_rows: Sequence[BadRow], n_rows: int, *, where: str, hint: str, all_bad: bool = False
) -> DataError:
    """Build the error that shows the first bad rows and counts them all.

    Parameters
    ----------
    bad_rows
        At least one row.
    n_rows
        All rows of the file, bad ones included.
    where, hint
        As in ``EnsembleError``.
    all_bad
        True where no readable row is left.
    """
    shown = [f"  {row}" for row in bad_rows[:_SHOWN]]
    more = len(bad_rows) - len(shown)
    if more:
        shown.append(f"  … and {more:,} more")
        kinds = kinds_of(bad_rows)
        if len(kinds) > 1:
            counted = [f"{kind} ({count:,})" for kind, count in list(kinds.items())[:_SHOWN]]
            shown.append(f"  in all: {'; '.join(counted)}")
    count = "no row" if all_bad else f"{len(bad_rows):,} of {n_rows:,} rows"
    verb = "can" if all_bad else "cannot"
    return DataError("\n".join([f"{count} {verb} be read:", *shown]), where=where, hint=hint)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the collection of cycles: rows are millions of small objects, and have none.

    It takes a third of the time that reading conversations does.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of which file it is that the operating system complains.

    Raises
    ------
    DataError
        The file is missing or cannot be opened.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), hint="fix the path") from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            where=str(path),
            hint="give the path of a file that you may read",
        ) from error


def text_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """Decode UTF-8 line by line, so that an error can name its line.

    Lines end at a line feed alone, as editors and ``sed`` count them.

    Raises
    ------
    DataError
        The file is not UTF-8, or a line has no end.
    """
    lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
    first = next(lines, b"").removeprefix(_BYTE_ORDER_MARK)
    if b"\0" in first[:4]:
        raise DataError(
            "the file is not UTF-8: it has NUL bytes, as UTF-16 has",
            where=f"{path}:1",
            hint="save the file as UTF-8",
        )
    for number, line in enumerate(chain([first] if first else [], lines), 1):
        if len(line) > LONGEST_LINE:
            raise too_long(f"{path}:{number}")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"the file is not UTF-8: byte 0x{line[error.start]:02x}",
                where=f"{path}:{number}",
                hint="save the file as UTF-8",
            ) from error


def too_long(where: str) -> DataError:
    """Build the error for a line, a cell or a row that does not end."""
    return DataError(
        f"there is no end within {LONGEST_LINE:,} bytes",
        where=where,
        hint="see that each row is on a line of its own, and that each quote is closed",
    )


def batches(
    items: Iterator[tuple[int, Record] | BadRow],
) -> Iterator[tuple[list[int], list[Record], tuple[BadRow, ...]]]:
    """Collect rows, up to ``CHUNK_ROWS`` at a time: their lines, their records, the bad rows."""
    while batch := list(islice(items, CHUNK_ROWS)):
        good = [item for item in batch if not isinstance(item, BadRow)]
        bad = tuple(item for item in batch if isinstance(item, BadRow))
        del batch
        yield [line for line, _ in good], [record for _, record in good], bad
        del good  # before the next batch is read
