"""Reads Thrift's compact protocol, in which Parquet says what is where: of its fields, those asked.

All that is not asked is passed over, so that what is hostile takes no memory. Whatever leads out of
the content is an ``IndexError``, and what no writer means a ``ValueError``.
"""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY = 1, 2, 3, 7, 8
_INTEGERS = (4, 5, 6)
_LIST, _SET, _MAP, _STRUCT, _UUID = 9, 10, 11, 12, 13
_DEEPEST = 24
_LONGEST_NUMBER = 10
"""Bytes of a number of 64 bits."""

Fields = dict[int, Any]
"""What is asked of a struct: by number of field, ``int`` or ``bytes`` for a value, ``Fields`` for a
struct, or a list of one of these for a list."""


class Thrift:
    """Reads on from a place.

    Parameters
    ----------
    content
        The bytes.
    at
        Where to begin; afterwards, where it ended.
    """

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content, self.at = content, at

    def struct(self, fields: Fields, depth: int = 0) -> dict[int, Any]:
        """Read a struct; gives what it has of the fields that are asked, by number."""
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            step, kind = head >> 4, head & 0x0F
            number = number + step if step else self._signed()
            if number in fields:
                found[number] = self._value(kind, fields[number], depth + 1)
            else:
                self._skip(kind, depth + 1, alone=True)
        return found

    def _value(self, kind: int, asked: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("structs within structs without end")
        if isinstance(asked, list) and kind in (_LIST, _SET):
            count, of = self._list_head()
            return [self._value(of, asked[0], depth + 1) for _ in range(count)]
        if isinstance(asked, dict) and kind == _STRUCT:
            return self.struct(asked, depth)
        if asked is bytes and kind == _BINARY:
            return self._take(self._unsigned())
        if asked is int and kind in _INTEGERS:
            return self._signed()
        raise ValueError("a field is of another type than it can be")

    def _skip(self, kind: int, depth: int, *, alone: bool) -> None:
        """Pass over a value; a truth that is ``alone`` in its field is told by its type."""
        if depth > _DEEPEST:
            raise ValueError("structs within structs without end")
        if kind in (_TRUE, _FALSE, _BYTE):
            self._take(0 if alone and kind != _BYTE else 1)
        elif kind in _INTEGERS:
            self._unsigned()
        elif kind in (_DOUBLE, _UUID):
            self._take(8 if kind == _DOUBLE else 16)
        elif kind == _BINARY:
            self._take(self._unsigned())
        elif kind in (_LIST, _SET):
            count, of = self._list_head()
            for _ in range(count):
                self._skip(of, depth + 1, alone=False)
        elif kind == _STRUCT:
            self.struct({}, depth)
        elif kind == _MAP:
            self._skip_map(depth)
        else:
            raise ValueError(f"there is no type {kind}")

    def _skip_map(self, depth: int) -> None:
        count = self._unsigned()
        kinds = self._byte() if count else 0
        self._refuse_beyond(count)
        for _ in range(count):
            self._skip(kinds >> 4, depth + 1, alone=False)
            self._skip(kinds & 0x0F, depth + 1, alone=False)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        count = self._unsigned() if count == 0x0F else count
        self._refuse_beyond(count)
        return count, head & 0x0F

    def _refuse_beyond(self, size: int) -> None:
        # Whatever is listed takes a byte or more.
        if size > len(self.content) - self.at:
            raise IndexError("a list or a text leads out of the content")

    def _unsigned(self) -> int:
        value = 0
        for place in range(_LONGEST_NUMBER):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise ValueError("a number has no end")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _byte(self) -> int:
        byte = self.content[self.at]
        self.at += 1
        return byte

    def _take(self, size: int) -> bytes:
        self._refuse_beyond(size)
        self.at += size
        return self.content[self.at - size : self.at]
