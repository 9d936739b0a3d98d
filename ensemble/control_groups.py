"""What containers and jobs leave a process of the machine's memory: Linux's control groups.

A process is in one group and in all that this lies in; each may have a limit. In a container its
own group is the root of what is seen, whatever the path is that the system names.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_LEAST_UNBOUND = 1 << 60
"""Bytes that are no limit: the first kind of groups has no word for that there is none."""


class _Kind(NamedTuple):
    """Where one kind of groups is, and what its files are called."""

    place: str
    limit: str
    used: str
    reclaimed: str
    """Of ``memory.stat``: pages of files that the system gives up where memory is wanted."""


_FIRST = _Kind("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = _Kind("", "memory.max", "memory.current", "inactive_file")


class MemoryBound(NamedTuple):
    """What the processes of a group may have at most, and what they have, in bytes.

    Files that were read are kept in memory and counted as a group's; they are no part of ``used``
    as far as they are given up for whatever else wants the memory.
    """

    limit: int
    used: int


def memory_bounds() -> list[MemoryBound]:
    """Give the bounds of all groups that this process is in; none where there are none."""
    found = []
    for kind, place in _places():
        with suppress(OSError, ValueError):
            limit = int((place / kind.limit).read_text(encoding="ascii"))  # "max" is no number
            if limit < _LEAST_UNBOUND:
                found.append(MemoryBound(limit, _used(kind, place)))
    return found


def _used(kind: _Kind, place: Path) -> int:
    used = int((place / kind.used).read_text(encoding="ascii"))
    with suppress(OSError, ValueError, KeyError):
        lines = (place / "memory.stat").read_text(encoding="ascii").splitlines()
        used -= int(dict(line.split() for line in lines)[kind.reclaimed])
    return max(0, used)


def _places() -> Iterator[tuple[_Kind, Path]]:
    """Give the directories of groups that may bound this process."""
    for kind, path in _own_paths():
        root = _ROOT / kind.place
        inner = [part for part in path.split("/") if part]
        if ".." not in inner:  # else it lies beyond what is seen here
            yield from ((kind, root.joinpath(*inner[:depth])) for depth in range(len(inner), 0, -1))
        yield kind, root


def _own_paths() -> list[tuple[_Kind, str]]:
    try:
        text = _GROUPS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return [(_FIRST, ""), (_SECOND, "")]
    entries = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    first = [(_FIRST, path) for _, names, path in entries if "memory" in names.split(",")]
    return first + [(_SECOND, path) for _, names, path in entries if not names]
