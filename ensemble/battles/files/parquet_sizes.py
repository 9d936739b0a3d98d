"""What a Parquet file says of its sizes, looked at before Polars believes it.

Polars takes as much memory as a file asks for. So the end of the file, which says what lies where,
is read first, then the head of every page of the columns that are wanted: what they hold has to lie
in the file, numbers of rows and values have to agree, and what is unpacked has to be of a size that
a file like that can hold.

Notes
-----
The fields are those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/
parquet.thrift.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.battles.files.arrow_sizes import DEEPEST, MOST_COLUMNS, check_schema
from ensemble.battles.files.sizes import check_rows, check_unpacked, check_values
from ensemble.battles.files.thrift import Fields, Thrift
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path
    from typing import BinaryIO

_MARK, _ENCRYPTED = b"PAR1", b"PARE"
_LONGEST_END = 1 << 26
_MOST_PAGES = 1_000_000
_HEAD, _LONGEST_HEAD = 1 << 10, 1 << 24
"""Bytes that the head of a page takes as a rule, and at most: texts of statistics are in it."""
_ARROW = b"ARROW:schema"
_FIXED = 7
_PREFIXED = 7
"""The encoding by which a text is said to begin as the one before it."""
_COLUMN: Fields = {
    1: int,
    2: [int],
    3: [bytes],
    5: int,
    6: int,
    7: int,
    9: int,
    11: int,
}
_END: Fields = {
    2: [{1: int, 2: int, 4: bytes, 5: int}],
    3: int,
    4: [{1: [{1: bytes, 3: _COLUMN, 8: {}, 9: bytes}], 3: int}],
    5: [{1: bytes, 2: bytes}],
    8: {},
}
_PAGE: Fields = {2: int, 3: int, 5: {1: int}, 7: {1: int}, 8: {1: int}}
_TYPE, _ENCODINGS, _PATH, _VALUES, _UNPACKED, _PACKED, _DATA, _DICTIONARY = 1, 2, 3, 5, 6, 7, 9, 11


@dataclass(frozen=True)
class ParquetEnd:
    """What the end of a file says.

    Parameters
    ----------
    size, rows
        Bytes of the file, and its rows.
    columns
        Of each row group, what is said of each column.
    widths
        Bytes of a value of columns whose values have all the same.
    """

    size: int
    rows: int
    columns: list[dict[int, Any]]
    widths: dict[bytes, int]

    def values(self, name: str) -> int:
        """Say how many values a column has, or the part of it that has the most."""
        parts: dict[bytes, int] = {}
        for column in self.columns:
            if column[_PATH][0] == name.encode():
                path = b"\0".join(column[_PATH])
                parts[path] = parts.get(path, 0) + int(column[_VALUES])
        return max(parts.values(), default=0)

    @property
    def has_prefixes(self) -> bool:
        """Whether texts are said to begin as others: how long they are, no number tells."""
        return any(_PREFIXED in column.get(_ENCODINGS, ()) for column in self.columns)


def read_end(file: BinaryIO, path: Path) -> ParquetEnd:
    """Read the end of a file, and see that it can be meant.

    Parameters
    ----------
    file
        The file, at any place.
    path
        Names it in errors.

    Raises
    ------
    ValueError
        It is no Parquet, or not sound.
    DataError
        It is encrypted, has columns in other files, or says to hold more than a file of its size.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        end = Thrift(_end_bytes(file, size, path)).struct(_END)
        groups = end.get(4, [])
        chunks = [column for group in groups for column in group[1]]
        if 8 in end or any(8 in chunk or 9 in chunk for chunk in chunks):
            raise _encrypted(path)
        if any(1 in chunk for chunk in chunks):
            raise DataError(
                "its columns lie in other files",
                where=str(path),
                hint="give the files with the rows, not the `_metadata` beside them",
            )
        widths = _widths(end[2], path)
        _check_arrow(end.get(5, []))
        found = ParquetEnd(size, end[3], [chunk[3] for chunk in chunks], widths)
        _check_rows(found, groups, path)
    except (IndexError, KeyError) as error:
        raise ValueError(f"its end lacks something: {error}") from error
    return found


def check_pages(
    file: BinaryIO, path: Path, end: ParquetEnd, wanted: Collection[str] | None = None
) -> None:
    """See that the pages of some columns are where they should, and hold what they can.

    Parameters
    ----------
    file, path, end
        The file, its name, and what ``read_end`` gave.
    wanted
        Names of columns; None means all.

    Raises
    ------
    ValueError
        A page leads out of the file, or another number of values is in it than there should.
    DataError
        More is unpacked, or more values are said to be there, than a file of that size holds.
    """
    unpacked = pages = 0
    names = None if wanted is None else {name.encode() for name in wanted}
    for column in end.columns:
        if names is not None and column[_PATH][0] not in names:
            continue
        values = 0
        for size, count in _pages(file, end.size, column):
            unpacked, values, pages = unpacked + size, values + count, pages + 1
            check_unpacked(path, unpacked, end.size)
            if pages > _MOST_PAGES:
                raise ValueError(f"it has more than {_MOST_PAGES:,} pages")
        if values != column[_VALUES]:
            raise ValueError(f"a column has {values:,} values, and says {column[_VALUES]:,}")
        unpacked += values * end.widths.get(b"\0".join(column[_PATH]), 0)
        check_unpacked(path, unpacked, end.size)


def _end_bytes(file: BinaryIO, size: int, path: Path) -> bytes:
    if size < 12:
        raise ValueError("it has no end")
    file.seek(0)
    begins = file.read(4)
    file.seek(size - 8)
    length, mark = int.from_bytes(file.read(4), "little"), file.read(4)
    if _ENCRYPTED in (begins, mark):
        raise _encrypted(path)
    if begins != _MARK or mark != _MARK:
        raise ValueError("it is cut off, or none: it does not begin and end as Parquet does")
    if not 0 < length <= size - 12:
        raise ValueError("its end says to be longer than the file")
    if length > _LONGEST_END:
        raise DataError(
            f"what it says of its columns takes {length >> 20:,} MiB",
            where=str(path),
            hint="write it anew, with fewer columns and larger row groups",
        )
    file.seek(size - 8 - length)
    return file.read(length)


def _encrypted(path: Path) -> DataError:
    return DataError("the file is encrypted", where=str(path), hint="decrypt it, and write it anew")


def _widths(schema: list[dict[int, Any]], path: Path) -> dict[bytes, int]:
    """See that the columns form a tree of bounded depth; gives the widths of those that have one.

    The tree stands as a list: each node says how many of the following are below it.
    """
    if len(schema) > MOST_COLUMNS:
        raise DataError(
            f"it has {len(schema) - 1:,} columns",
            where=str(path),
            hint="write the columns of the battles alone into a file",
        )
    widths: dict[bytes, int] = {}
    above: list[list[Any]] = [["", 1]]
    for node in schema:
        while above and above[-1][1] == 0:
            above.pop()
        if not above or node.get(5, 0) < 0 or node.get(2, 0) < 0:
            raise ValueError("its columns form no tree")
        if len(above) > DEEPEST:
            raise ValueError(f"columns lie in each other more than {DEEPEST} deep")
        above[-1][1] -= 1
        if node.get(1) == _FIXED:
            names = [name for name, _ in above[2:]]
            widths[b"\0".join([*names, node[4]])] = node.get(2, 0)
        above.append([node[4], node.get(5, 0)])
    if any(left for _, left in above):
        raise ValueError("its columns form no tree")
    return widths


def _check_arrow(notes: list[dict[int, Any]]) -> None:
    """See to the columns as Arrow has them, which stand among the notes, and are believed first."""
    for note in notes:
        if note.get(1) == _ARROW:
            try:
                check_schema(base64.b64decode(note.get(2, b""), validate=True))
            except binascii.Error as error:
                raise ValueError("what it says to Arrow cannot be read") from error


def _check_rows(end: ParquetEnd, groups: list[dict[int, Any]], path: Path) -> None:
    """See that numbers of rows agree, and that the columns' bytes lie in the file, each once."""
    if end.rows < 0 or any(group[3] < 0 for group in groups):
        raise ValueError("it says to have fewer rows than none")
    if sum(group[3] for group in groups) != end.rows:
        raise ValueError(f"it says to have {end.rows:,} rows, and its parts have another number")
    check_rows(path, end.rows, end.size)
    packed = values = 0
    for group in groups:
        for chunk in group[1]:
            column = chunk[3]
            if min(column[_VALUES], column[_UNPACKED], column[_PACKED]) < 0:
                raise ValueError("a column says to be smaller than nothing")
            if column[_VALUES] < group[3]:
                raise ValueError("a column has fewer values than rows")
            if not column.get(_PATH):
                raise ValueError("a column has no name")
            _place(column, end.size)
            packed, values = packed + column[_PACKED], max(values, column[_VALUES])
    if packed > end.size:
        raise ValueError("its columns take more bytes than the file has")
    check_values(path, values, end.size)


def _pages(file: BinaryIO, size: int, column: dict[int, Any]) -> Iterator[tuple[int, int]]:
    """Give, of each page, the bytes that it is unpacked to, and its values."""
    begins, ends = _place(column, size)
    while begins < ends:
        head, length = _page_head(file, begins, ends)
        packed, unpacked = head.get(3, -1), head.get(2, -1)
        begins += length + packed
        if packed < 0 or unpacked < 0 or begins > ends:
            raise ValueError("a page leads out of its column")
        entries = head.get(7, {}).get(1, 0)
        if not 0 <= entries <= max(unpacked, 1):
            raise ValueError("a dictionary says to have more entries than it has bytes")
        counts = [head[kind].get(1, -1) for kind in (5, 8) if kind in head]
        if any(count < 0 for count in counts):
            raise ValueError("a page says to have fewer values than none")
        yield unpacked, sum(counts)


def _place(column: dict[int, Any], size: int) -> tuple[int, int]:
    """Say where the pages of a column begin and end."""
    places = (column[_DATA], column.get(_DICTIONARY, 0))
    begins = min((place for place in places if place > 0), default=0)
    ends = begins + column[_PACKED]
    # Of a table without rows nobody needs to say where its columns are.
    if min(places) < 0 or (begins < ends and not 4 <= begins < ends <= size - 8):
        raise ValueError("a column leads out of the file")
    return begins, ends


def _page_head(file: BinaryIO, begins: int, ends: int) -> tuple[dict[int, Any], int]:
    """Read the head of a page, and say how long it is."""
    asked = _HEAD
    while True:
        file.seek(begins)
        reader = Thrift(file.read(min(asked, ends - begins)))
        try:
            return reader.struct(_PAGE), reader.at
        except IndexError as error:
            asked *= 8
            if len(reader.content) >= ends - begins or asked > _LONGEST_HEAD:
                raise ValueError("the head of a page has no end") from error
