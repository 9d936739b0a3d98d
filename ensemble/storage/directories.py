"""Directories that are complete or not there: their manifest holds the hash of every file.

A directory is written beside its place, flushed to disk, its manifest last, then renamed into
place. Complete means: the manifest is there and its hashes hold.
"""

from __future__ import annotations

import errno
import glob
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.storage.atomic import (
    flush,
    replace_directory,
    temp_path,
    wrap_disk_errors,
    wrap_os_errors,
)
from ensemble.storage.hashing import (
    FileVersion,
    files_below,
    fingerprint,
    hash_file,
    settled_version,
)
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANIFEST = "manifest.json"

_VERIFIED: dict[Path, dict[str, FileVersion | None]] = {}
"""Directories that this process has verified, with the versions of all that they hold."""
_HINT = "run `ensemble run CONFIG`: what is damaged is made anew"


@contextmanager
def atomic_directory(target: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Give an empty directory to fill; on leaving without error it takes the target's place.

    Parameters
    ----------
    target
        Where the directory will be; a former one is replaced.
    manifest
        What made it; ``files`` (relative name to SHA-256) is added, and it is written last. The
        mapping is read on leaving, so that the body may still add to it. All of it is sealed.

    Raises
    ------
    EnsembleError
        As ``atomic_path`` does.
    """
    with temp_path(target) as temporary:
        with wrap_os_errors(target):
            temporary.mkdir()
        with wrap_disk_errors(target):
            yield temporary
        with wrap_os_errors(target):
            _complete(temporary, manifest)
            replace_directory(temporary, target)


def hash_dependency(path: Path) -> str:
    """Name what lies at a path by its content, 64 hex digits.

    A file counts by its bytes. A directory of artifacts, such as a learner of another run, counts
    by their manifests, which hold the hashes of all else. A pattern counts by the files that match.

    Raises
    ------
    OSError
        There is nothing, or it cannot be read.
    """
    if not path.is_dir():
        matching = [] if path.exists() else sorted(glob.glob(str(path)))  # noqa: PTH207
        if matching:
            return fingerprint({Path(name).name: hash_file(Path(name)) for name in matching})
        return hash_file(path)
    found = sorted(path.glob(f"*/{MANIFEST}"))
    if not found:
        raise FileNotFoundError(errno.ENOENT, "there is no complete artifact in it", str(path))
    return fingerprint({each.parent.name: hash_file(each) for each in found})


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read a directory's manifest and check its seal and the hash of every file it names.

    Raises
    ------
    ArtifactError
        No manifest (the directory is incomplete), or it, or a file, is missing, foreign, altered
        or unreadable.
    """
    manifest = read_checksummed(directory / MANIFEST, hint=_HINT)
    recorded = manifest.get("files")
    if not isinstance(recorded, dict):
        raise _damaged(directory / MANIFEST, "the manifest names no files")
    try:
        if not _is_verified(directory):
            versions = _versions(directory, recorded)
            _check_files(directory, recorded)
            _VERIFIED[directory] = versions
    except OSError as error:
        raise _damaged(directory, f"a file cannot be read: {error}") from error
    return manifest


def damage_of(directory: Path) -> list[str]:
    """Name the file of a directory that is missing or not what was written, if there is one."""
    try:
        read_manifest(directory)
    except ArtifactError as error:
        return [str(error.where)] if directory.exists() else []
    return []


def _is_verified(directory: Path) -> bool:
    """Say whether this process has verified a directory, of which nothing has changed since."""
    known = _VERIFIED.get(directory, {})
    try:
        return bool(known) and all(
            version is not None and settled_version(path) == version
            for path, version in known.items()
        )
    except OSError:
        return False


def _versions(directory: Path, recorded: Iterable[str]) -> dict[str, FileVersion | None]:
    """Give the versions of a directory, all below it, its manifest and the files that it names."""
    inner = (path for path in directory.rglob("*") if path.is_dir())
    files = (directory / name for name in (MANIFEST, *recorded))
    found = dict.fromkeys((directory, *inner, *files))
    return {str(path): settled_version(path) for path in found if path.exists()}


def _complete(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Put everything on the disk, and the manifest last."""
    hashes = {name: hash_file(directory / name) for name in _files(directory)}
    for name in hashes:
        flush(directory / name)
    write_checksummed(directory / MANIFEST, {**manifest, "files": hashes})
    for inner in _directories(directory):
        flush(inner)


def _check_files(directory: Path, recorded: Mapping[str, Any]) -> None:
    present = set(_files(directory))
    if present != set(recorded):
        odd = sorted(present ^ set(recorded))
        raise _damaged(directory, f"missing or foreign files: {', '.join(odd)}")
    for name, digest in recorded.items():
        if hash_file(directory / name) != digest:
            raise _damaged(directory / name, "the file is not what its manifest says")


def _files(directory: Path) -> list[str]:
    """Relative names of all files but the top manifest and strays, sorted."""
    return [name for name in files_below(directory) if name != MANIFEST]


def _directories(directory: Path) -> list[Path]:
    return [directory, *(p for p in directory.rglob("*") if p.is_dir())]


def _damaged(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"a stored artifact is damaged: {what}",
        where=str(path),
        hint=_HINT,
    )
