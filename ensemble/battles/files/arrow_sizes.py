"""What an Arrow file says of its sizes, looked at before Polars believes it.

Polars takes as much memory as a file asks for, and the process ends where there is not that much.
So each batch is looked at first: its buffers have to lie in the file, and what they are unpacked to
has to be of a size that a file like that can hold. The file is read as the format lays it out:
messages, each a FlatBuffer followed by its buffers; a file has a list of them at its end.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ensemble.battles.files.sizes import check_unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ARROW_FILE = b"ARROW1\x00\x00"
_MARK = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_MOST_ROWS = 1 << 31
_LARGEST = 1 << 40
"""Bytes of one buffer: no machine has more, and sums of it stay numbers."""
MOST_COLUMNS, DEEPEST = 10_000, 32
"""Columns with all that lies in them, and how deep: Polars goes into each by a call in a call."""


def check_sizes(content: bytes, path: Path) -> None:
    """Refuse a file whose sizes are none.

    Parameters
    ----------
    content
        All of an Arrow file or stream.
    path
        Names it in errors.

    Raises
    ------
    ValueError
        A size leads out of the file.
    DataError
        It holds more than a file of its size can.
    """
    unpacked = 0
    try:
        _check_columns(content, _fields_of(content))
        for header, body in _messages(content):
            unpacked += _batch_size(content, header, body)
            check_unpacked(path, unpacked, len(content))
    except (struct.error, IndexError) as error:
        raise ValueError("a message leads out of the file") from error


def check_schema(content: bytes) -> None:
    """Refuse the columns of one message, as other formats keep it, where they have no end.

    Raises
    ------
    ValueError
        They are too many, lie in each other too deep, or lead out of the message.
    """
    try:
        _check_columns(content, _fields_of(content))
    except (struct.error, IndexError) as error:
        raise ValueError("what it says of its columns leads out of the file") from error


def _fields_of(content: bytes) -> list[int]:
    """Give the places of the columns: of the list at the end of a file, or the first message."""
    if content.startswith(_ARROW_FILE):
        schema = _reference(content, _footer(content), 1)
    else:
        message = _root(content, 8)
        is_schema = _number(content, message, 1, "<B") == _SCHEMA
        schema = _reference(content, message, 2) if is_schema else None
    if schema is None:
        raise ValueError("it does not say which columns it has")
    return [_root(content, item) for item in _items(content, schema, 1, 4)]


def _check_columns(content: bytes, fields: list[int]) -> None:
    """See that columns, with all that lies in them, are not too many, nor too deep.

    Several may share what lies in them, so that few bytes say more than a memory holds.
    """
    waiting, seen = [(field, 1) for field in fields], 0
    while waiting:
        field, depth = waiting.pop()
        seen += 1
        if seen > MOST_COLUMNS or depth > DEEPEST:
            raise ValueError(
                f"it has more than {MOST_COLUMNS:,} columns, or they lie in each other more than "
                f"{DEEPEST} deep"
            )
        inside = _items(content, field, 5, 4)
        if len(inside) > MOST_COLUMNS:
            raise ValueError(f"it has more than {MOST_COLUMNS:,} columns")
        waiting += [(_root(content, item), depth + 1) for item in inside]


def _messages(content: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Give the places of the headers of batches, each with the bounds of its buffers."""
    listed = _of_file if content.startswith(_ARROW_FILE) else _of_stream
    for message, begins in listed(content):
        length = _number(content, message, 3, "<q")
        if begins < 0 or not 0 <= length <= len(content) - begins:
            raise ValueError("the buffers of a message lead out of the file")
        batch = _header_of_batch(content, message)
        if batch is not None:
            yield batch, (begins, begins + length)


def _of_stream(content: bytes) -> Iterator[tuple[int, int]]:
    """Give the places of messages and of what follows them, one message after the other."""
    at = 0
    while at + 8 <= len(content):
        mark, size = struct.unpack_from("<Ii", content, at)
        if mark != _MARK:
            raise ValueError("a message has no mark, as before 2019")
        if size == 0:
            return
        if size < 0 or at + 8 + size > len(content):
            raise ValueError("a message leads out of the file")
        message = _root(content, at + 8)
        yield message, at + 8 + size
        at += 8 + size + _number(content, message, 3, "<q")


def _of_file(content: bytes) -> Iterator[tuple[int, int]]:
    """Give the same by the list at the end of a file."""
    footer = _footer(content)
    for field in (2, 3):
        for block in _items(content, footer, field, 24):
            at, length = struct.unpack_from("<qi", content, block)
            if not 0 <= at < len(content) - 8 or not 0 <= length <= len(content) - at:
                raise ValueError("a batch leads out of the file")
            marked = struct.unpack_from("<I", content, at)[0] == _MARK
            yield _root(content, at + (8 if marked else 4)), at + length


def _footer(content: bytes) -> int:
    if not content.endswith(_ARROW_FILE[:6]):
        raise ValueError("it has no end")
    (size,) = struct.unpack_from("<i", content, len(content) - 10)
    if not 0 < size <= len(content) - 18:
        raise ValueError("its list of batches leads out of the file")
    return _root(content, len(content) - 10 - size)


def _header_of_batch(content: bytes, message: int) -> int | None:
    """Give the place of the batch of a message; None where it holds none."""
    kind = _number(content, message, 1, "<B")
    header = _reference(content, message, 2)
    if header is None or kind not in (_DICTIONARY, _BATCH):
        return None
    return _reference(content, header, 1) if kind == _DICTIONARY else header


def _batch_size(content: bytes, batch: int, body: tuple[int, int]) -> int:
    """Add up what the buffers of a batch are unpacked to."""
    if not 0 <= _number(content, batch, 0, "<q") < _MOST_ROWS:
        raise ValueError("a batch says to have more rows than a table can")
    for node in _items(content, batch, 1, 16):
        rows, nulls = struct.unpack_from("<qq", content, node)
        if not 0 <= nulls <= rows or rows >= _MOST_ROWS:
            raise ValueError("a column says to have more rows than a table can")
    is_packed = _reference(content, batch, 3) is not None
    begins, ends = body
    size = 0
    for buffer in _items(content, batch, 2, 16):
        offset, length = struct.unpack_from("<qq", content, buffer)
        if offset < 0 or length < 0 or begins + offset + length > ends:
            raise ValueError("a buffer leads out of its message")
        size += _buffer_size(content, begins + offset, length) if is_packed else length
    return size


def _buffer_size(content: bytes, at: int, length: int) -> int:
    """Say what a packed buffer is unpacked to, by the number before it; -1 is "as it stands"."""
    if length < 8:
        return length
    (size,) = struct.unpack_from("<q", content, at)
    if not -1 <= size < _LARGEST:
        raise ValueError("a buffer says to be larger than any memory")
    return int(size) if size >= 0 else length


def _root(content: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", content, at)[0])


def _place(content: bytes, table: int, field: int) -> int | None:
    """Give the place of a field of a FlatBuffer's table; None where it has its default."""
    listing = table - int(struct.unpack_from("<i", content, table)[0])
    if listing < 0 or table < 0:
        raise IndexError
    (size,) = struct.unpack_from("<H", content, listing)
    if 4 + 2 * field + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", content, listing + 4 + 2 * field)
    return table + int(offset) if offset else None


def _number(content: bytes, table: int, field: int, form: str) -> int:
    place = _place(content, table, field)
    return 0 if place is None else int(struct.unpack_from(form, content, place)[0])


def _reference(content: bytes, table: int, field: int) -> int | None:
    place = _place(content, table, field)
    return None if place is None else _root(content, place)


def _items(content: bytes, table: int, field: int, size: int) -> range:
    """Give the places of the items of a vector, all of one size."""
    vector = _reference(content, table, field)
    if vector is None:
        return range(0)
    (count,) = struct.unpack_from("<I", content, vector)
    if vector + 4 + size * count > len(content):
        raise IndexError
    return range(vector + 4, vector + 4 + size * count, size)
