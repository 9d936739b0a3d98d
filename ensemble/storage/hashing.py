"""Names by content: SHA-256 of JSON values, files and directories."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING

from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from pathlib import Path

FileVersion = tuple[int, ...]

_CHUNK = 1 << 20
_SETTLED = 2 * 10**9
"""Nanoseconds after which a file that changes has another time: no clock of a disk is coarser."""
_HASHES: dict[FileVersion, str] = {}


def canonical_json(value: object) -> str:
    """Write JSON that is the same for the same value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: object) -> str:
    """Name a JSON value by the SHA-256 of its canonical form, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; a process reads a file that does not change once.

    Raises
    ------
    OSError
        It is not there or cannot be read, or is a device or a pipe, which may never end.
    """
    found = os.stat(path)  # noqa: PTH116 - of thousands of files, several times
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, and no file", str(path))
    if (known := _HASHES.get(_version(found))) is not None:
        return known
    with path.open("rb") as file:
        version = _version(os.fstat(file.fileno()))
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if _is_settled(version) and _version(os.fstat(file.fileno())) == version:
            _HASHES[version] = digest.hexdigest()
    return digest.hexdigest()


def settled_version(path: Path | str) -> FileVersion | None:
    """Name a file or directory as it is now: while the version stands, so does the content.

    Returns
    -------
    FileVersion or None
        None where it was changed just now, so that a second change might not move its times.

    Raises
    ------
    OSError
        It is not there.
    """
    version = _version(os.stat(path))  # noqa: PTH116 - of thousands of files, several times
    return version if _is_settled(version) else None


def _version(status: os.stat_result) -> FileVersion:
    """Take inode, size and both times; the time of change, the last, no program can set."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _is_settled(version: FileVersion) -> bool:
    return max(version[-2:]) < time.time_ns() - _SETTLED


def hash_tree(path: Path) -> str | None:
    """Name what lies at a path: a file's bytes, or all files of a directory with their names.

    Returns
    -------
    str or None
        64 hex digits; None where there is nothing.
    """
    if path.is_dir():
        return fingerprint({name: hash_file(path / name) for name in files_below(path)})
    return hash_file(path) if path.exists() else None


def files_below(directory: Path) -> list[str]:
    """Give the relative names of all files of a directory but strays, sorted."""
    found = (p.relative_to(directory) for p in directory.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if not any(is_stray(part) for part in p.parts))
