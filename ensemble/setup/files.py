"""Which tables lie behind the paths that a user names, and how a config names each of them."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.files.paths import files_of, tables_among
from ensemble.battles.files.suffixes import is_table_name
from ensemble.errors import DataError
from ensemble.run_dir.layout import RUN_MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PATTERN = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"\d+")
_CLIMBS = 2
"""Directories that a relative path may go up."""


@dataclass(frozen=True)
class LeftOut:
    """Something that was named and is used for nothing.

    Parameters
    ----------
    path
        What.
    reason
        Why.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Table:
    """The files of one table.

    Parameters
    ----------
    files
        At least one, in the order in which they are read.
    is_whole
        Whether they have to be all shards of the table; one that is named by its own path need not.
    """

    files: tuple[Path, ...]
    is_whole: bool = False

    @property
    def named(self) -> str:
        """Name it in messages."""
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        return f"{_shown(self.files[0])}{more}"

    @property
    def stem(self) -> str:
        """Its name without what tells its parts and its kind."""
        stem = self.files[0].name.partition(".")[0]
        if len(self.files) == 1:
            return stem
        return re.sub(r"[-_]?\d+(-of-\d+)?$", "", stem) or self.files[0].parent.name

    def path_in(self, directory: Path) -> str | list[str]:
        """Give its path as a config in a directory has it: a file, a pattern, or a list."""
        if len(self.files) == 1:
            return path_from(directory, self.files[0])
        pattern = _pattern_of(self.files)
        if pattern is not None:
            return path_from(directory, pattern)
        return [path_from(directory, file) for file in self.files]


def find_tables(paths: Sequence[Path]) -> tuple[list[Table], list[LeftOut]]:
    """Find the tables behind paths.

    Parameters
    ----------
    paths
        Files, patterns, and directories, whose own files are looked at.

    Returns
    -------
    tuple
        The tables, and what is none, with the reason.

    Raises
    ------
    DataError
        A path names nothing.
    """
    left: list[LeftOut] = []
    by_place: dict[Path, Path] = {}
    alone: set[Path] = set()
    for path in paths:
        found = _files(path, left)
        alone.update(found if found == [path] else ())
        for file in found:
            by_place.setdefault(file.resolve(), file)
    tables = tables_among(by_place.values())
    return [Table(files, len(files) > 1 or files[0] not in alone) for files in tables], left


def path_from(directory: Path, path: Path) -> str:
    """Write a path as a config in a directory has it: relative where it lies near."""
    place, home = (Path(os.path.abspath(one)) for one in (path, directory))  # noqa: PTH100
    near = Path(os.path.relpath(place, home))
    climbs = near.parts.count("..")
    if climbs > _CLIMBS or (climbs and climbs >= len(home.parts) - 1):
        return place.as_posix()
    text = near.as_posix()
    return f"./{text}" if text.startswith("~") else text


def _files(path: Path, left: list[LeftOut]) -> list[Path]:
    if path.is_dir():
        return list(_in_directory(path, left))
    if os.path.lexists(path):
        return [path]
    if not _PATTERN.search(str(path)):
        raise DataError("there is no such file", where=str(path), hint="fix the path")
    matching = sorted(Path(name) for name in glob.glob(str(path)))  # noqa: PTH207
    if not matching:
        raise DataError("no file matches the pattern", where=str(path), hint="fix the path")
    return [file for one in matching for file in _files(one, left)]


def _in_directory(directory: Path, left: list[LeftOut]) -> Iterator[Path]:
    """Give the tables of a directory; the rest is left out with a reason."""
    if all((directory / mark).exists() for mark in RUN_MARKS):
        left.append(LeftOut(_shown(directory), "the directory of a run"))
        return
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            left.append(LeftOut(_shown(path), "a directory in another: name it to look into it"))
        elif is_table_name(path.name):
            yield path
        else:
            left.append(LeftOut(_shown(path), "no table by its name"))


def _pattern_of(files: Sequence[Path]) -> Path | None:
    """Find the pattern that names these files and no others."""
    names = [file.name for file in files]
    if len({file.parent for file in files}) > 1 or any(map(_PATTERN.search, map(str, files))):
        return None
    first = names[0]
    for found in _DIGITS.finditer(first):
        pattern = files[0].with_name(f"{first[: found.start()]}*{first[found.end() :]}")
        if _names_exactly(pattern, files):
            return pattern
    return None


def _names_exactly(pattern: Path, files: Iterable[Path]) -> bool:
    try:
        return set(files_of(pattern)) == set(files)
    except DataError:
        return False


def _shown(path: Path) -> str:
    """Name a path by its last two parts: enough to know it by."""
    return path.as_posix() if len(path.parts) <= 2 else "/".join(path.parts[-2:])
