"""A cache on disk of files that are only ever added, each named by the SHA-256 of its content.

So a file is whole and right, or is seen not to be and is removed; and processes that write at the
same time write different files, or the same one twice.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.storage.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "[0-9a-f]" * 64
"""What another process is writing has a name of another form."""


def add_shard(directory: Path, content: bytes, suffix: str) -> None:
    """Write a file whole, or not at all.

    Parameters
    ----------
    directory
        Made where it is not there.
    content
        What the file holds.
    suffix
        How its name ends: ``".parquet"``.

    Raises
    ------
    EnsembleError
        The disk is full or cannot be written.
    """
    with atomic_path(directory / f"{hashlib.sha256(content).hexdigest()}{suffix}") as path:
        path.write_bytes(content)


def shard_paths(directory: Path, suffix: str) -> list[Path]:
    """Give the files of a directory, sorted; none where it is not there."""
    return sorted(directory.glob(f"{_NAME}{suffix}"))


def read_shard(path: Path) -> bytes | None:
    """Read a file that is what its name says; a damaged one is removed.

    Returns
    -------
    bytes or None
        None where it is damaged, was removed since it was listed, or is closed to us: what it held
        is then made anew.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() == path.stem:
        return content
    with suppress(OSError):
        path.unlink()
    return None
