"""Directories that somebody else wrote: looked at and copied without following where they lead.

No link is followed, nothing but plain files is opened, and nothing is read that is larger than it
said. What is copied is checked afterwards, in the copy, which nobody else can change.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_FILES = 100_000
_DEEPEST = 32
_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def directories(place: Path) -> list[str]:
    """Give the names of the directories in a directory, sorted, links left out; none without it."""
    try:
        if place.is_symlink():
            return []
        with os.scandir(place) as entries:
            return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    except OSError:
        return []


def links(place: Path) -> list[str]:
    """Give the names of the links to directories, or to nowhere, that a directory has, sorted."""
    try:
        with os.scandir(place) as entries:
            found = [one.name for one in entries if one.is_symlink() and not one.is_file()]
    except OSError:
        return []
    return sorted(name for name in found if not is_stray(name))


def plain_files(directory: Path) -> dict[str, int]:
    """Give the relative names of all files below a directory, with their sizes.

    Raises
    ------
    ArtifactError
        There is a link, a device or a pipe in it; too many files, or they are too deep.
    """
    return dict(_walk(directory, "", 0, [0]))


def _walk(directory: Path, prefix: str, depth: int, count: list[int]) -> Iterator[tuple[str, int]]:
    if depth > _DEEPEST:
        raise ArtifactError("its directories are nested too deep", where=str(directory))
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda one: one.name)
        for entry in entries:
            count[0] += 1
            if count[0] > _MOST_FILES:
                raise ArtifactError(f"it holds more than {_MOST_FILES:,} files")
            if is_stray(entry.name):
                continue
            mode = entry.stat(follow_symlinks=False)
            name = f"{prefix}{entry.name}"
            if stat.S_ISDIR(mode.st_mode):
                yield from _walk(Path(entry.path), f"{name}/", depth + 1, count)
            elif stat.S_ISREG(mode.st_mode):
                yield name, mode.st_size
            else:
                kind = "a link" if stat.S_ISLNK(mode.st_mode) else "no plain file"
                raise ArtifactError(f"{name!r:.100} in it is {kind}")
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror or error}") from error


def read_plain(path: Path, most: int) -> bytes:
    """Read a plain file of so many bytes at most.

    Raises
    ------
    ArtifactError
        It is a link, no plain file, larger, or cannot be read.
    """
    try:
        with os.fdopen(os.open(path, _OPEN), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError(f"{path.name} is no plain file")
            content = file.read(most + 1)
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(content) > most:
        raise ArtifactError(f"{path.name} is larger than {most:,} bytes")
    return content


def copy_plain(directory: Path, files: dict[str, int], target: Path) -> None:
    """Copy files of a directory, as large as they were when they were listed.

    Raises
    ------
    ArtifactError
        One has become a link, or has grown, or cannot be read.
    """
    for name, size in files.items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy_one(directory, name, size, copy)


def _copy_one(directory: Path, name: str, size: int, copy: Path) -> None:
    with _reading(name):
        source = _open_inside(directory, name)
    left = size
    with os.fdopen(source, "rb") as file, copy.open("wb") as written:
        while True:
            with _reading(name):
                content = file.read(min(_CHUNK, left + 1))
            if not content:
                return
            left -= len(content)
            if left < 0:
                raise ArtifactError(f"{name!r:.100} grew while it was read")
            written.write(content)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Tell a fault of the disk that is read from one of the disk that is written."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{name!r:.100} cannot be read: {error.strerror or error}") from error


def _open_inside(directory: Path, name: str) -> int:
    """Open a file below a directory; a link on the way down is an error."""
    *parents, last = name.split("/")
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(last, _OPEN, dir_fd=place)
    finally:
        os.close(place)
