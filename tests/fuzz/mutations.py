"""Bytes that were right once: cut, flipped, doubled, and with numbers and marks that hurt.

The same seed gives the same mutant, so that a failure is made again by its number.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Mutation = Callable[[random.Random, bytes], bytes]

VARIABLE = "ENSEMBLE_FUZZ"
"""``long``, or how many times as many mutants as CI makes."""
_LONG = 50

HOSTILE = (
    *(b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\n\n", b"\x1b[2J"),
    *(b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b'"', b"'", b"\\", b"\\ud800", b"\xed\xa0\x80"),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 5000, b"9" * 25, b"18446744073709551616"),
    *(b"null", b"true", b"{}", b"[]", b'""', b"0", b"../../../etc/passwd", b"/etc/passwd"),
    *(b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00" * 64),
    *("\u202e\u2028\U0001f600".encode(), b"=cmd()", b"<script>", b"${HOME}", b"{{7*7}}", b","),
)
"""What programs trip over: marks, depths, numbers, paths, text that is no text."""


def scale() -> int:
    """Say how many times as many mutants are made as in CI."""
    asked = os.environ.get(VARIABLE, "1")
    return _LONG if asked == "long" else max(1, int(asked))


def mutants(name: str, content: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """Give mutants of some bytes, each with a name by which it is made again."""
    for number in range(count * scale()):
        chance = random.Random(f"{name} {number}")
        mutant = content
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            mutant = chance.choice(_MUTATIONS)(chance, mutant)
        if mutant != content:
            yield f"{name}, mutant {number}", mutant


def _place(chance: random.Random, content: bytes) -> int:
    """Choose a place; heads and ends, where formats keep their numbers, more often."""
    edge = min(len(content), 64)
    kind = chance.random()
    if kind < 0.2:
        return chance.randrange(edge + 1)
    if kind < 0.4:
        return len(content) - chance.randrange(edge + 1)
    return chance.randrange(len(content) + 1)


def _flip(chance: random.Random, content: bytes) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    changed[min(_place(chance, content), len(content) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(chance: random.Random, content: bytes) -> bytes:
    at, mark = _place(chance, content), chance.choice(HOSTILE)
    return content[:at] + mark + content[at + len(mark) :]


def _insert(chance: random.Random, content: bytes) -> bytes:
    at = _place(chance, content)
    return content[:at] + chance.choice(HOSTILE) + content[at:]


def _cut(chance: random.Random, content: bytes) -> bytes:
    return content[: _place(chance, content)]


def _drop(chance: random.Random, content: bytes) -> bytes:
    at = _place(chance, content)
    return content[:at] + content[at + chance.choice((1, 2, 8, 100)) :]


def _double(chance: random.Random, content: bytes) -> bytes:
    at, size = _place(chance, content), chance.choice((1, 8, 100, len(content)))
    return content[:at] + content[at : at + size] * chance.choice((2, 2, 50)) + content[at:]


def _exchange(chance: random.Random, content: bytes) -> bytes:
    """Put a value that hurts in the place of a word or a number of text."""
    words = [i for i in range(1, len(content)) if content[i - 1 : i] in (b":", b"=", b",", b" ")]
    if not words:
        return _overwrite(chance, content)
    at = chance.choice(words)
    end = next((i for i in range(at, len(content)) if content[i : i + 1] in b",}]\n"), len(content))
    return content[:at] + chance.choice(HOSTILE) + content[end:]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _overwrite,
    _insert,
    _cut,
    _drop,
    _double,
    _exchange,
    _exchange,
)
