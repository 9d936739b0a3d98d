"""Directories that travel from a node in pieces, and are put together beside their place.

A piece is a table that Ray carries: ``what`` travels, ``files`` as ``(name, bytes)``, of which
those of one name follow each other, and ``end`` with the last.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.oof.cluster.depot import inside
from ensemble.oof.kept_fit import link
from ensemble.storage.atomic import (
    TEMPORARY,
    remove,
    replace_directory,
    temporary_name,
    wrap_os_errors,
)
from ensemble.storage.hashing import hash_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

PIECE = 16 << 20
"""Bytes of files that travel in one piece."""


def pieces(
    what: str, directory: Path, names: Iterable[str], **more: Any
) -> Iterator[dict[str, Any]]:
    """Cut files of a directory into pieces.

    Parameters
    ----------
    what
        What it is.
    directory, names
        Where they lie, and their relative names.
    more
        What the last piece says beside.
    """
    held: list[tuple[str, bytes]] = []
    size = 0
    for name in names:
        with (directory / name).open("rb") as file:
            held.append((name, b""))
            while content := file.read(PIECE):
                held.append((name, content))
                size += len(content)
                if size >= PIECE:
                    yield {"what": what, "files": held, "end": False}
                    held, size = [], 0
    yield {"what": what, "files": held, "end": True, **more}


class Incoming:
    """A directory that comes in pieces.

    Parameters
    ----------
    place
        Where it will be. It is put together beside that, under a name that whoever writes to the
        run next sweeps.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.stage = place, temporary_name(place)

    def take(self, piece: Mapping[str, Any]) -> bool:
        """Take a piece; says whether it is the last.

        Raises
        ------
        ArtifactError
            A name leads out of the directory.
        EnsembleError
            The disk takes nothing.
        """
        with wrap_os_errors(self.place):
            self.stage.mkdir(parents=True, exist_ok=True)
            for name, content in piece["files"]:
                target = self.stage / inside(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("ab") as file:
                    file.write(content)
        return bool(piece["end"])

    def put_checkpoint(self, listing: Mapping[str, str]) -> None:
        """Have it take its place as a checkpoint: what has not changed is taken from the former.

        Parameters
        ----------
        listing
            All files of the checkpoint, with their SHA-256.

        Raises
        ------
        ArtifactError
            A file is not what the node says.
        EnsembleError
            The disk takes nothing.
        """
        with wrap_os_errors(self.place):
            self.stage.mkdir(parents=True, exist_ok=True)
            for name, digest in listing.items():
                target = self.stage / inside(name)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with suppress(FileNotFoundError):
                        link(str(self.place / name), str(target))
                if not target.is_file() or hash_file(target) != digest:
                    self.abandon()
                    raise ArtifactError("a checkpoint came back damaged", where=str(target))
            replace_directory(self.stage, self.place)

    def abandon(self) -> None:
        """Forget what has come so far."""
        remove(self.stage)


def copy_settled(directory: Path, target: Path) -> dict[str, str] | None:
    """Copy a directory that somebody may be writing to, as it was at one moment.

    Parameters
    ----------
    directory
        What is copied; files that are just being written under a name of their own are left out.
    target
        Where to. What it has already is kept where it is the same, so that a second copy costs
        only what has changed.

    Returns
    -------
    dict[str, str] or None
        Relative name to SHA-256; None where it changed meanwhile.
    """
    before = _versions(directory)
    try:
        for name in before:
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not _same_version(directory / name, copy):
                remove(copy)
                shutil.copy2(directory / name, copy)
        if _versions(directory) != before:
            return None
        return {name: hash_file(target / name) for name in before}
    except FileNotFoundError:
        return None


def _versions(directory: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        with suppress(FileNotFoundError):
            if TEMPORARY not in name and path.is_file() and not path.is_symlink():
                status = path.stat()
                found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _same_version(path: Path, copy: Path) -> bool:
    with suppress(FileNotFoundError):
        one, other = path.stat(), copy.stat()
        return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    return False
