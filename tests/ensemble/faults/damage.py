"""Damage at rest: one byte, or a part, of a file is another one, or is not there."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Damage = Literal["bit", "digit", "cut", "empty", "gone"]
DAMAGES: tuple[Damage, ...] = ("bit", "digit", "cut", "empty", "gone")
"""``bit``: one is flipped; ``digit``: another one stands in JSON or text, which stays what it is;
``cut``: the end is missing; ``empty``: all bytes are; ``gone``: the file is."""

_DIGIT = re.compile(rb"(?<=[0-9])[0-9]|[0-9](?=[0-9.])")
_TEXTS = {".json", ".jsonl", ".toml", ".csv", ".txt", ".py"}


def can_be(path: Path, damage: Damage) -> bool:
    """Say whether a file can have a damage."""
    if damage == "gone":
        return True
    if damage == "digit":
        return path.suffix in _TEXTS and _DIGIT.search(path.read_bytes()) is not None
    return path.stat().st_size > 0


def do(path: Path, damage: Damage, draw: random.Random) -> None:
    """Damage a file; what it holds is another content afterwards."""
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: draw.choice((len(content) // 2, len(content) - 1))])
    elif damage == "digit":
        at = draw.choice([found.start() for found in _DIGIT.finditer(content)])
        other = b"1" if content[at : at + 1] != b"1" else b"2"
        path.write_bytes(content[:at] + other + content[at + 1 :])
    else:
        at, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
