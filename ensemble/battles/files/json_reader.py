"""JSON to raw rows: one object a line, or one array of objects, which is read piece by piece."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ensemble.battles.files.raw import BadRow, Chunk, batches, text_lines, too_long
from ensemble.battles.files.sizes import LONGEST_LINE
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ensemble.battles.files.raw import Wanted

    Items = Iterator[tuple[int, dict[str, Any]] | BadRow]

_BLOCK = 1 << 22
_SPACE = " \t\r\n"
_COMPLETE = "}"
_OF_ROWS = (
    *("train", "test", "validation", "valid", "val", "dev", "eval"),
    *("data", "rows", "records", "examples", "instances", "items", "dataset"),
)
"""Under what a file may hold its rows, split by split or as a whole."""


def line_chunks(file: BinaryIO, path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read one JSON object a line; an array of objects under this name is read as one.

    Parameters
    ----------
    file
        Its bytes, in UTF-8.
    path
        Names it in errors.
    wanted
        Chooses the columns whose cells are needed; None means all.

    Raises
    ------
    DataError
        Not UTF-8, or one object that holds a whole table.
    """
    lines = text_lines(file, path)
    begins = []
    for line in lines:
        begins.append(line)
        if line.strip():
            break
    first = begins[-1].lstrip() if begins else ""
    if first.startswith("["):
        yield from _chunks(_elements(chain([first], lines), path), path, wanted)
    else:
        yield from _chunks(_rows(chain(begins, lines), path), path, wanted)


def json_chunks(file: BinaryIO, path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read an array of objects, or one object a line; parameters as ``line_chunks``.

    Raises
    ------
    DataError
        Not UTF-8, or no sound JSON.
    """
    text = _decoded(file, path)
    begins = ""
    while not begins.strip(_SPACE + "\ufeff"):
        block = next(text, None)
        if block is None:
            return
        begins += block
    begins = begins.lstrip(_SPACE + "\ufeff")
    text = chain([begins], text)
    if begins.startswith("["):
        yield from _chunks(_elements(text, path), path, wanted)
        return
    lines = _lines(text, path)
    first = next(lines)
    if not first.rstrip().endswith(_COMPLETE):
        _refuse_table_in_object(_object(chain([first], lines)), path)
        raise DataError(
            "the file is no list of rows, nor one object a line",
            where=str(path),
            hint="write it as [{...}, {...}] or as JSON Lines",
        )
    yield from _chunks(_rows(chain([first], lines), path), path, wanted)


def _object(lines: Iterable[str]) -> dict[str, Any]:
    """Decode what may be one object on several lines; an empty one where it is none."""
    whole: list[str] = []
    size = 0
    for line in lines:
        whole.append(line)
        size += len(line)
        if size > LONGEST_LINE:
            return {}
    try:
        found = _LAX.decode("\n".join(whole))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(lines: Iterable[str], path: Path) -> Items:
    """Give the rows of lines, of which one alone may be no row, but a whole table.

    Raises
    ------
    DataError
        It is.
    """
    records = _records(lines, path)
    first = list(islice(records, 2))
    if len(first) == 1 and not isinstance(first[0], BadRow):
        _refuse_table_in_object(first[0][1], path)
    yield from chain(first, records)


def _refuse_table_in_object(found: dict[str, Any], path: Path) -> None:
    """Refuse an object that is no row: it has columns, or lists of rows, or rows by name.

    Raises
    ------
    DataError
        It is one of them.
    """
    lists = [name for name, cells in found.items() if name in _OF_ROWS and _is_rows(cells)]
    if _are_columns(found):
        what = "the file is one object of columns, and not a list of rows"
    elif lists:
        what = f"the file has lists of rows within one object: {', '.join(lists)}"
    elif len(found) > 1 and all(isinstance(value, dict) for value in found.values()):
        what = "the file is one object of rows by name, and not a list of rows"
    else:
        return
    raise DataError(what, where=str(path), hint="write it as [{...}, {...}] or as JSON Lines")


def _is_rows(cells: object) -> bool:
    return isinstance(cells, list) and bool(cells) and all(isinstance(one, dict) for one in cells)


def _are_columns(found: dict[str, Any]) -> bool:
    """Say whether an object holds columns: lists of one length, or records by row number."""
    if {"columns", "data"} <= set(found):
        return True
    values = list(found.values())
    if len(values) < 2:
        return False
    if all(isinstance(cells, dict) and cells for cells in values):
        return all(name.isdecimal() for cells in values for name in cells)
    if not all(isinstance(cells, list) and len(cells) > 1 for cells in values):
        return False
    # A single row of messages has lists as well, whose items are records.
    return len(set(map(len, values))) == 1 and not any(map(_is_rows, values))


def _chunks(items: Items, path: Path, wanted: Wanted) -> Iterator[Chunk]:
    for lines, rows, bad_rows in batches(items):
        present = tuple(dict.fromkeys(name for row in rows for name in row))
        chosen = set(present if wanted is None else wanted(dict.fromkeys(present)))
        columns = {n: [row.get(n) for row in rows] for n in present if n in chosen}
        del rows
        yield Chunk(present, lines, columns, bad_rows, str(path))
        del columns  # before the next rows are read


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f'"{twice:.40}" is there twice')
    return found


_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_unique_keys)
"""Allows raw newlines and NULs inside strings, which real files have, and no key twice."""


_LAX = json.JSONDecoder(strict=False)
_LOOKED_THROUGH = 2_000
"""Rows in which keys are counted: who writes one twice does so from the first row on."""


def _records(lines: Iterable[str], path: Path) -> Items:
    for number, line in enumerate(lines, 1):
        if not line or line.isspace():
            continue
        try:
            record = _row(line, _JSON if number <= _LOOKED_THROUGH else _LAX)
        except (ValueError, RecursionError) as error:
            yield BadRow(str(path), number, f"not JSON: {error}")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            yield BadRow(str(path), number, "not a JSON object")


def _row(line: str, decoder: json.JSONDecoder) -> Any:
    """Decode one line, which most often is an object and nothing else."""
    if line[0] == "{":
        record, end = decoder.raw_decode(line)
        if end == len(line) or line[end:] == "\n":
            return record
    return decoder.decode(line.strip())


def _elements(text: Iterator[str], path: Path) -> Items:
    """Decode an array element by element, with no more of it in memory than one needs."""
    buffer, place, number = next(text), 1, 0
    while True:
        buffer, place = _skip(buffer, place, text, "," if number else "")
        if place == len(buffer):
            raise _unsound(path, number, "the list has no end")
        if buffer[place] == "]":
            return _check_end(buffer[place + 1 :], text, path)
        number += 1
        while True:
            try:
                decoder = _JSON if number <= _LOOKED_THROUGH else _LAX
                element, place = decoder.raw_decode(buffer, place)
                break
            except RecursionError as error:
                raise _unsound(path, number, "it is nested too deep") from error
            except ValueError as error:
                more = "".join(islice(text, max(1, (len(buffer) - place) // _BLOCK)))
                if not more or len(buffer) - place > LONGEST_LINE:
                    raise _unsound(path, number, str(error)) from error
                buffer, place = buffer[place:] + more, 0
        if isinstance(element, dict):
            yield number, element
        else:
            yield BadRow(str(path), number, "not a JSON object")


def _skip(buffer: str, place: int, text: Iterator[str], mark: str) -> tuple[str, int]:
    """Pass over space, and over one mark, which must be there or the end of the list."""
    due = mark
    while True:
        while place < len(buffer) and (buffer[place] in _SPACE or buffer[place] == due):
            due = "" if buffer[place] == due else due
            place += 1
        if place < len(buffer):
            if due and buffer[place] != "]":
                return buffer[:place], place  # no comma: as if the list ended without its bracket
            return buffer, place
        more = next(text, None)
        if more is None:
            return buffer, place
        buffer, place = more, 0


def _check_end(rest: str, text: Iterator[str], path: Path) -> None:
    if rest.strip(_SPACE) or any(block.strip(_SPACE) for block in text):
        raise DataError(
            "more follows after the list of rows",
            where=str(path),
            hint="write one list, or one object a line",
        )


def _decoded(file: BinaryIO, path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := file.read(_BLOCK):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            f"the file is not UTF-8: byte 0x{error.object[error.start]:02x}",
            where=str(path),
            hint="save the file as UTF-8",
        ) from error


def _lines(text: Iterable[str], path: Path) -> Iterator[str]:
    parts: list[str] = []
    size = 0
    for block in text:
        first, *others = block.split("\n")
        parts.append(first)
        size += len(first)
        if size > LONGEST_LINE:
            raise too_long(str(path))
        if others:
            yield "".join(parts)
            yield from others[:-1]
            parts, size = [others[-1]], len(others[-1])
    yield "".join(parts)


def _unsound(path: Path, number: int, reason: str) -> DataError:
    return DataError(
        f"the file is not sound JSON: row {number:,}: {reason}",
        where=str(path),
        hint="fetch the file again, or write it as JSON Lines",
    )
