"""Which files a path names: one, a list, a pattern, a directory of shards."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.files.refused import check_file_kind
from ensemble.battles.files.suffixes import is_table_name, table_suffixes
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHARD = re.compile(r"^(?P<stem>.*?)-?(?P<number>\d+)-of-(?P<count>\d+)(?P<rest>.*)$")
_DIGITS = re.compile(r"\d+")
_PATTERN = re.compile(r"[*?\[]")
_SHOWN = 5
_MOST_SHARDS = 1_000_000


def files_of(path: str | os.PathLike[str] | Sequence[str]) -> tuple[Path, ...]:
    """List the files that a path names, in the order in which they are read.

    Parameters
    ----------
    path
        A file; a list of them; a pattern with ``*``, ``?`` or ``[]``; a directory of shards. A file
        of that very name goes before a pattern.

    Raises
    ------
    DataError
        Nothing matches; a shard of ``-of-00002`` is missing; files of a directory or of a pattern
        are no parts of one table; a name is listed twice; or as ``check_file_kind``.
    """
    if isinstance(path, str | os.PathLike):
        return _files_of(Path(path))
    named = [file for one in path for file in _files_of(Path(one))]
    repeated = sorted({str(file) for file in named if named.count(file) > 1})
    if repeated:
        raise DataError("a file is listed twice", where=repeated[0], hint="leave one of them out")
    if not named:
        raise DataError("the list of paths is empty", hint="name at least one file")
    _check_shards(named)
    return tuple(named)


def tables_among(files: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Put files together that are parts of one table, by their names alone.

    Parameters
    ----------
    files
        Any files.

    Returns
    -------
    list of tuple
        Shards such as ``-00000-of-00002``, and files whose names differ in one number alone, which
        counts from 0 or 1 without a gap; every other file by itself. In the order of the files.
    """
    listed = list(dict.fromkeys(files))
    sets: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in listed:
        sets[file.parent, _table_name(file)].append(file)
    tables: list[tuple[Path, ...]] = []
    for (_, name), some in sets.items():
        whole = "-of-" in name or _counts(some)
        tables += [_sorted(some)] if whole else [(file,) for file in some]
    return sorted(tables, key=lambda table: listed.index(table[0]))


def _table_name(file: Path) -> str:
    """Name a table by a file of it: without the number of a shard, or the last number there is."""
    shard = _SHARD.match(file.name)
    if shard is not None:
        return f"{shard['stem']}-of-{shard['count']}{shard['rest']}"
    stem, dot, rest = file.name.partition(".")
    numbers = list(_DIGITS.finditer(stem))
    if not numbers:
        return file.name
    last = numbers[-1]
    return f"{stem[: last.start()]}#{stem[last.end() :]}{dot}{rest}"


def _counts(files: Sequence[Path]) -> bool:
    """Say whether the last numbers of names count from 0 or 1, without a gap."""
    numbers = sorted(
        int(found[-1]) for file in files if (found := _DIGITS.findall(file.name.partition(".")[0]))
    )
    return len(numbers) > 1 and numbers in (
        list(range(len(numbers))),
        list(range(1, len(numbers) + 1)),
    )


def shard_note(path: Path) -> str | None:
    """Say that a file named alone is one shard of several; None where it is none."""
    shard = _SHARD.match(path.name)
    if shard is None or int(shard["count"]) < 2:
        return None
    return f"{path.name} is one shard of {int(shard['count'])}: name the directory to read them all"


def _files_of(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        return _in_directory(path)
    if _PATTERN.search(str(path)) and not os.path.lexists(path):
        return _matching(path)
    check_file_kind(path, packed=True)
    return (path,)


def _in_directory(path: Path) -> tuple[Path, ...]:
    files = [file for file in path.iterdir() if file.is_file() and is_table_name(file.name)]
    if not files:
        raise DataError(
            "the directory holds no table",
            where=str(path),
            hint=f"tables end in {', '.join(table_suffixes())}",
        )
    return one_table(files, path, str(path))


def _matching(path: Path) -> tuple[Path, ...]:
    files = [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207 - it may be absolute
    files = [file for file in files if file.is_file()]
    if not files:
        raise DataError("no file matches the pattern", where=str(path), hint="fix the path")
    _check_shards(files)
    return _sorted(files)


def one_table(
    files: Sequence[Path], root: Path, where: str, *, several: bool = False
) -> tuple[Path, ...]:
    """Take files for parts of one table where their names differ in digits alone.

    Parameters
    ----------
    files
        At least one.
    root
        The directory from which they are named in errors.
    where
        What holds them.
    several
        Whether names may differ in more, since they were asked for.

    Raises
    ------
    DataError
        They do, or a shard is missing.
    """
    sets: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        shard = _SHARD.match(file.name)
        name = f"{shard['stem']}{shard['rest']}" if shard else _DIGITS.sub("", file.name)
        sets[f"{file.parent}/{name}"].append(file)
    if len(sets) > 1 and not several:
        firsts = [_sorted(some)[0] for some in list(sets.values())[:_SHOWN]]
        shown = ", ".join(file.relative_to(root).as_posix() for file in firsts)
        raise DataError(
            f"there are several tables: {shown}",
            where=where,
            hint='name one of them, a list, or a pattern such as "train-*"',
        )
    _check_shards(files)
    return _sorted(files)


def _check_shards(files: Iterable[Path]) -> None:
    """Refuse shards of which some are missing.

    Raises
    ------
    DataError
        The first that is missing is named.
    """
    sets: defaultdict[tuple[Path, str, str, str], dict[int, str]] = defaultdict(dict)
    for file in files:
        if shard := _SHARD.match(file.name):
            where = (file.parent, shard["stem"], shard["count"], shard["rest"])
            sets[where][int(shard["number"])] = shard["number"]
    for (parent, stem, count, rest), there in sets.items():
        width = len(next(iter(there.values())))
        first = 1 if int(count) in there else 0  # most count from 0, some from 1
        due = range(first, first + min(int(count), _MOST_SHARDS))
        missing = next((number for number in due if number not in there), None)
        if missing is not None:
            dash = "-" if stem else ""
            name = f"{stem}{dash}{missing:0{width}}-of-{count}{rest}"
            raise DataError(
                f"{name} is missing: {len(there):,} of {int(count):,} shards are there",
                where=str(parent),
                hint="fetch the missing shards; one shard alone can be named by its own path",
            )


def _sorted(files: Iterable[Path]) -> tuple[Path, ...]:
    """Sort as people count: part-2 before part-10."""

    def key(file: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(file))
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    return tuple(sorted(files, key=key))
