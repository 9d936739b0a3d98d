"""The config that a run keeps: sealed, so that damage to it is told from what a person wrote."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SEAL = "# sealed: "
"""How its first line begins; the SHA-256 of all others follows."""


def with_seal(text: str) -> str:
    """Give the text of a config with its seal before it."""
    return f"{_seal(text)}\n{text}"


def is_not_as_written(path: Path) -> bool:
    """Say whether a run's config is empty, or sealed and another than was sealed.

    A person may write one, or take the seal away. That it is not there, its reader says.
    """
    with suppress(OSError, ValueError):
        seal, _, text = path.read_text(encoding="utf-8").partition("\n")
        return not (seal or text) or (seal.startswith(_SEAL) and seal != _seal(text))
    return False


def _seal(text: str) -> str:
    return f"{_SEAL}{sha256(text.encode()).hexdigest()}"
