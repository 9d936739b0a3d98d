"""CSV to raw rows, with the line on which each record begins."""

from __future__ import annotations

import csv
import re
import string
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from ensemble.battles.files.raw import BadRow, Chunk, batches, text_lines
from ensemble.battles.files.sizes import LONGEST_LINE
from ensemble.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ensemble.battles.files.raw import Wanted

_SHOWN = 5
_UNSEEN = string.whitespace + "\u00a0\u200b\u2060\ufeff"
"""What may stand around a name unseen, such as a second byte order mark."""
_TABS = re.compile(r"\.(tsv|tab)\b", re.IGNORECASE)
_SEPARATORS = {";": '";"', "|": '"|"'}


def csv_chunks(path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read a CSV file that is not packed; parameters, rows and errors as ``delimited_chunks``."""
    with path.open("rb") as file:
        yield from delimited_chunks(file, path, wanted)


def delimited_chunks(file: BinaryIO, path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read text whose columns commas or tabs separate.

    Parameters
    ----------
    file
        Its bytes, in UTF-8.
    path
        Names it in errors.
    wanted
        Chooses the columns whose cells are needed; None means all.

    Yields
    ------
    Chunk
        First an empty one, so that a file without rows shows its header too.

    Raises
    ------
    DataError
        Not UTF-8, or no sound header.
    """
    # The limit is global to the process; raising it only lifts a guard against large cells.
    csv.field_size_limit(LONGEST_LINE)
    lines = text_lines(file, path)
    first = next(lines, "")
    _refuse_other_separators(first, path)
    mark = _mark(first, path)
    # Strict: a stray quote is an error on its own line, in place of cells that run together.
    reader = csv.reader(
        chain([first] if first else [], lines),
        strict=True,
        delimiter=mark,
        skipinitialspace=_is_spaced(first, mark),
    )
    header = _header(reader, path)
    chosen = set(header if wanted is None else wanted(dict.fromkeys(header)))
    places = {name: place for place, name in enumerate(header) if name in chosen}
    records = _csv_records(reader, header, str(path))
    yield Chunk(header, (), {name: [] for name in places}, file=str(path))
    for lines_, rows, bad_rows in batches(records):
        columns = {name: [row[place] for row in rows] for name, place in places.items()}
        del rows
        yield Chunk(header, lines_, columns, bad_rows, str(path))
        del columns  # before the next rows are read


def _mark(header: str, path: Path) -> str:
    """Say what separates the columns: tabs where the header has some, and no comma or a name."""
    is_named = _TABS.search(path.name) is not None
    return "\t" if "\t" in header and (is_named or "," not in header) else ","


def _is_spaced(header: str, mark: str) -> bool:
    """Say whether a program puts a space behind every separator, which is part of no cell."""
    names = header.split(mark)[1:]
    return bool(names) and all(name.startswith(" ") for name in names)


def _header(reader: Reader, path: Path) -> tuple[str, ...]:
    try:
        header = tuple(map(_name, next(reader)))
    except StopIteration as error:
        raise DataError("the file is empty", where=str(path), hint="fetch it again") from error
    except csv.Error as error:
        raise _no_header(error, path) from error
    if not header:
        raise DataError(
            "the first line is empty, and the header is to be there",
            where=f"{path}:1",
            hint="take out the empty lines before the header",
        )
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        shown = ", ".join(f"{name:.60}" or '""' for name in repeated[:_SHOWN])
        more = f" and {len(repeated) - _SHOWN:,} more" if len(repeated) > _SHOWN else ""
        raise DataError(
            f"the header repeats {shown}{more}",
            where=f"{path}:1",
            hint="give each column a name of its own",
        )
    return header


def _name(cell: str) -> str:
    """Take a column's name without space and marks at its ends, which nobody sees."""
    return cell.strip(_UNSEEN)


def _no_header(error: csv.Error, path: Path) -> DataError:
    if str(error).startswith("new-line"):
        return DataError(
            "the lines end in carriage returns alone",
            where=f"{path}:1",
            hint="save the file with line feeds at the end of lines: tr '\\r' '\\n'",
        )
    return DataError(
        f"the header cannot be read: {error}",
        where=f"{path}:1",
        hint="write the names of the columns into the first line, separated by commas",
    )


def _refuse_other_separators(header: str, path: Path) -> None:
    """Refuse a header without comma and tab that holds what other programs put between columns."""
    used = [name for mark, name in _SEPARATORS.items() if mark in header]
    if used and not {",", "\t"} & set(header):
        raise DataError(
            f"the columns are separated by {used[0]}",
            where=f"{path}:1",
            hint="save the file with commas between columns, or as Parquet or JSON Lines",
        )


def _csv_records(
    reader: Reader, header: tuple[str, ...], file: str
) -> Iterator[tuple[int, list[str]] | BadRow]:
    width = len(header)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(file, line, _quoting_reason(error, line, reader.line_num))
            continue
        if len(record) == width:
            if _name(record[0]) == header[0] and tuple(map(_name, record)) == header:
                yield BadRow(file, line, "the header once more, as in files put behind each other")
                continue
            yield line, record
        elif record:  # a blank line is no record
            yield BadRow(file, line, f"{len(record)} fields where the header has {width}")


def _quoting_reason(error: csv.Error, first: int, last: int) -> str:
    """Say what the CSV parser tripped over, and which lines went with it."""
    what = str(error)
    if what.startswith("unexpected end"):
        what = "a quote is opened and never closed"
    elif what.startswith("new-line"):
        what = "a carriage return outside quotes"
    elif what.startswith("field larger"):
        what = f"a quote is not closed within {LONGEST_LINE:,} characters"
    return what if last <= first else f"{what} (lines {first} to {last} are lost with it)"
