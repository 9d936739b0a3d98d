"""The text of a plugin that is one file, with what it imports from its own folder, as it was read.

Each version of a file is a package of its own, whose name no other module has: two files of one
name do not meet, and one that was edited is another. In digests its modules go by the names that
the author knows them by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.plugin.imports import imported_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import FunctionType

_PREFIX = "_plugin_file_"
_DIGITS = 16


@dataclass(frozen=True)
class Snapshot:
    """A file and the modules of its folder that it imports, as they were read.

    Parameters
    ----------
    root
        The folder that its modules are imported from.
    main
        Name of the file's module, from ``root`` on.
    paths
        Where each module was read.
    texts
        What was read, by the same names.
    """

    root: Path
    main: str
    paths: Mapping[str, Path]
    texts: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Name the texts, wherever they lie: 16 hex digits."""
        return self._hash(path.relative_to(self.root).as_posix() for path in self.paths.values())

    @property
    def package(self) -> str:
        """Name the package of this version of the file at this place."""
        return _PREFIX + self._hash(map(str, self.paths.values()))

    def files_from(self, name: str) -> dict[str, Path]:
        """Find the files of a module, by its full name, and of those that it imports."""
        found: dict[str, Path] = {}
        waiting = [public_name(name)]
        while waiting:
            public = waiting.pop()
            if public not in self.paths or f"{self.package}.{public}" in found:
                continue
            path = self.paths[public]
            found[f"{self.package}.{public}"] = path
            package = public if path.stem == "__init__" else public.rpartition(".")[0]
            waiting += imported_in(self.texts[public], package)
        return found

    def has(self, public: str) -> bool:
        """Say whether a module, or one inside it, was read."""
        return any(name == public or name.startswith(f"{public}.") for name in self.paths)

    def _hash(self, places: Iterable[str]) -> str:
        named = zip(places, self.texts.values(), strict=True)
        parts = sorted((place, hashlib.sha256(text).hexdigest()) for place, text in named)
        return hashlib.sha256(repr([self.main, parts]).encode()).hexdigest()[:_DIGITS]


_KNOWN: dict[str, Snapshot] = {}


def remember(snapshot: Snapshot) -> None:
    """Let the modules of a snapshot be known by their names."""
    _KNOWN.setdefault(snapshot.package, snapshot)


def snapshot_of(name: str) -> Snapshot | None:
    """Find the snapshot that a module is of; None for a module of any other kind."""
    return _KNOWN.get(name.partition(".")[0])


def is_of_snapshot(name: str) -> bool:
    """Say whether a module is of a snapshot, of this process or of another one."""
    return name.startswith(_PREFIX)


def public_name(name: str) -> str:
    """Give a module's name as its author knows it."""
    return name.partition(".")[2] if is_of_snapshot(name) else name


def qualified_name(named: type | FunctionType) -> str:
    """Give the full name of a class or function as its author knows it."""
    return f"{public_name(str(named.__module__))}.{named.__qualname__}"
