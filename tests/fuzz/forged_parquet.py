"""Parquet files whose ends say what is not so: read as Thrift, changed, and written again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

Struct = dict[int, tuple[int, Any]]
"""Type and value of each field; a list is the type of its items, and they."""
I32, I64, TEXT, LIST, STRUCT = 5, 6, 8, 9, 12


def written(frame: pl.DataFrame, **options: Any) -> bytes:
    """Write a table."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, **options)
    return buffer.getvalue()


def forged(content: bytes, change: Callable[[Struct], object]) -> bytes:
    """Give a file with another end."""
    length = int.from_bytes(content[-8:-4], "little")
    end = _Reader(content[-8 - length : -8]).struct()
    change(end)
    packed = encoded(end)
    return content[: -8 - length] + packed + len(packed).to_bytes(4, "little") + b"PAR1"


def encoded(value: Struct) -> bytes:
    """Write a struct as Thrift has it, with whole numbers of fields."""
    out = bytearray()
    for number, (kind, held) in sorted(value.items()):
        kind = (1 if held else 2) if kind in (1, 2) else kind
        out += bytes([kind]) + _number(number) + (b"" if kind in (1, 2) else _value(kind, held))
    return bytes(out) + b"\0"


def _value(kind: int, held: Any) -> bytes:
    if kind in (3, 7):
        return bytes(held)
    if kind in (4, I32, I64):
        return _number(held)
    if kind == TEXT:
        return _size(len(held)) + bytes(held)
    if kind == STRUCT:
        return encoded(held)
    of, items = held
    return bytes([0xF0 | of]) + _size(len(items)) + b"".join(_value(of, item) for item in items)


def _number(value: int) -> bytes:
    return _size((value << 1) ^ (value >> 63))


def _size(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)

    def struct(self) -> Struct:
        found: Struct = {}
        number = 0
        while head := self.stream.read(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._signed()
            found[number] = head & 15, self._held(head & 15)
        return found

    def _held(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (3, 7):
            return self.stream.read(1 if kind == 3 else 8)
        if kind in (4, I32, I64):
            return self._signed()
        if kind == TEXT:
            return self.stream.read(self._unsigned())
        if kind == STRUCT:
            return self.struct()
        head = self.stream.read(1)[0]
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        return head & 15, [self._held(head & 15) for _ in range(count)]

    def _unsigned(self) -> int:
        value = place = 0
        while (byte := self.stream.read(1)[0]) > 0x7F:
            value |= (byte & 0x7F) << place
            place += 7
        return value | byte << place

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
