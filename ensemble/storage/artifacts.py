"""Files that can be trusted: hashes, manifests, sealed JSON, and what a dead process left.

A directory is written beside its place, flushed to disk, its manifest (with the hash of every file)
last, then renamed into place. Complete means: the manifest is there and its hashes hold.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.storage.atomic import (
    TEMPORARY,
    atomic_path,
    beside,
    body_of,
    flush,
    own_step,
    place_of,
    remove,
    replace_directory,
)
from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "MANIFEST",
    "TEMPORARY",
    "atomic_directory",
    "atomic_path",
    "canonical_json",
    "fingerprint",
    "hash_file",
    "hash_tree",
    "read_json",
    "read_manifest",
    "read_sealed",
    "sweep_temporary",
    "write_json",
    "write_sealed",
    "write_text",
]

MANIFEST = "manifest.json"

_SEAL = "content"
_CHUNK = 1 << 20
_SETTLED = 2 * 10**9
"""Nanoseconds after which a file that changes has another time: no clock of a disk is coarser."""
_ABANDONED = 3600.0
"""Seconds after which nobody is writing a file any more."""
_MEND = "run the same command again: what is damaged is made anew"
_HASHES: dict[tuple[int, ...], str] = {}


def canonical_json(value: object) -> str:
    """Write JSON that is the same for the same value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: object) -> str:
    """Name a JSON value by the SHA-256 of its canonical form, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits.

    A process reads a file once: while inode, size and both times stand, the hash does. That is not
    believed of a file that was written just now, whose times a second change may not move.

    Raises
    ------
    OSError
        It is not there or cannot be read, or is a device or a pipe, which may never end.
    """
    if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, and no file", str(path))
    with path.open("rb") as file:
        version = _version(file.fileno())
        if version in _HASHES:
            return _HASHES[version]
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        settled = max(version[-2:]) < time.time_ns() - _SETTLED
        if settled and _version(file.fileno()) == version:
            _HASHES[version] = digest.hexdigest()
    return digest.hexdigest()


def _version(descriptor: int) -> tuple[int, ...]:
    """Name a file as it is now; the time of change, the last, cannot be set by a program."""
    status = os.fstat(descriptor)
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def hash_tree(path: Path) -> str | None:
    """Name what lies at a path: a file's bytes, or all files of a directory with their names.

    Returns
    -------
    str or None
        64 hex digits; None where there is nothing.
    """
    if path.is_dir():
        return fingerprint({name: hash_file(path / name) for name in _all_files(path)})
    return hash_file(path) if path.exists() else None


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, value: object) -> None:
    """Write JSON atomically, indented, without NaN."""
    write_text(target, _written(value))


def _written(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    ArtifactError
        The file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("a stored file is missing", where=str(path)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"a stored file cannot be read: {error}",
            where=str(path),
            mend="delete it and run the same command again",
        ) from error


def write_sealed(target: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the fingerprint of all of it, for ``read_sealed`` to check.

    A former seal in it is replaced.
    """
    content = {name: item for name, item in value.items() if name != _SEAL}
    write_json(target, {**content, _SEAL: fingerprint(content)})


def read_sealed(path: Path, *, mend: str) -> dict[str, Any]:
    """Read back what ``write_sealed`` was given, so that no reader need doubt a key of it.

    Parameters
    ----------
    path
        The file.
    mend
        What makes it anew.

    Raises
    ------
    ArtifactError
        The file is missing, cannot be read, or is not what was written.
    """
    try:
        value = read_json(path)
        # Not a byte may differ, be it one that means nothing.
        same = isinstance(value, dict) and path.read_bytes() == _written(value).encode()
        if same and value.pop(_SEAL, None) == fingerprint(value):
            return dict(value)
    except ArtifactError as error:
        raise ArtifactError(error.message, where=str(path), mend=mend) from error
    except ValueError:  # NaN and lone surrogates have no fingerprint, and were not written by us
        pass
    raise ArtifactError(
        "a stored file is damaged: it is not what was written", where=str(path), mend=mend
    )


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
    with beside(target) as temporary:
        with own_step(target):
            temporary.mkdir()
        with body_of(target):
            yield temporary
        with own_step(target):
            _complete(temporary, manifest)
            replace_directory(temporary, target)


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read a directory's manifest and check its seal and the hash of every file it names.

    Raises
    ------
    ArtifactError
        No manifest (the directory is incomplete), or it, or a file, is missing, foreign, altered
        or unreadable.
    """
    manifest = read_sealed(directory / MANIFEST, mend=_MEND)
    recorded = manifest.get("files")
    if not isinstance(recorded, dict):
        raise _damaged(directory / MANIFEST, "the manifest names no files")
    try:
        _check_files(directory, recorded)
    except OSError as error:
        raise _damaged(directory, f"a file cannot be read: {error}") from error
    return manifest


def sweep_temporary(run: Path) -> None:
    """Put right what a process that died left in a run; call it with the run's lock held.

    Leftovers are removed. A whole directory whose place is empty goes into it: its writer died
    between moving the former aside and moving the new one in. The newest is taken.

    Parameters
    ----------
    run
        The run directory. Looked at are itself, ``comparisons``, ``learners``, each learner's
        directory, and all of ``cache``, ``sources`` and ``tries``. Links to directories are
        followed, and only names that writing here makes are touched. Runs may share a cache: in
        one that is a link, what another run may just be writing is left alone.

    Raises
    ------
    EnsembleError
        A whole directory cannot be moved into its place.
    """
    shared = _shared_cache(run)
    for directory in _written_directories(run):
        _restore(_leftovers(directory, shared))
        for leftover in _leftovers(directory, shared):
            remove(leftover)


def _written_directories(run: Path) -> Iterator[Path]:
    """Give the directories that the toolkit writes to, each before those inside it."""
    learners = run / "learners"
    yield from (run, run / "comparisons", learners, *_entries(learners))
    for name in ("cache", "sources", "tries"):
        yield from _directories_below(run / name)


def _directories_below(tree: Path) -> Iterator[Path]:
    """Walk a tree through links, each directory once: links may lead in a circle."""
    seen: set[str] = set()
    for place, inner, _ in os.walk(tree, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield tree / place


def _leftovers(directory: Path, shared: Path | None = None) -> list[Path]:
    """Give what a dead process left; in a cache that is shared, only what is old enough."""
    found = [path for path in _entries(directory) if place_of(path)]
    if shared is None or not directory.resolve().is_relative_to(shared):
        return found
    return [path for path in found if _age(path) > _ABANDONED]


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _shared_cache(run: Path) -> Path | None:
    cache = run / "cache"
    return cache.resolve() if cache.is_symlink() else None


def _entries(directory: Path) -> list[Path]:
    try:
        # A leftover may be a link: what it leads to is not ours.
        return [] if place_of(directory) else sorted(directory.iterdir())
    except OSError:  # not there, no directory, or closed to us: then nothing of ours is in it
        return []


def _restore(leftovers: Sequence[Path]) -> None:
    """Fill places that are empty by the newest whole directory that belongs there."""
    finished = [(time, path) for path in leftovers if (time := _finished(path)) is not None]
    for _, path in sorted(finished, reverse=True):
        place = place_of(path)
        if place is not None and not os.path.lexists(place):
            with own_step(place):
                path.rename(place)
                flush(place.parent)


def _finished(directory: Path) -> int | None:
    """Say when a directory was completed (ns); None where it is not whole or its place is taken."""
    place = place_of(directory)
    if place is None or os.path.lexists(place) or directory.is_symlink():
        return None
    try:
        read_manifest(directory)
        return (directory / MANIFEST).stat().st_mtime_ns
    except (ArtifactError, OSError):
        return None


def _complete(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Put everything on the disk, and the manifest last."""
    hashes = {name: hash_file(directory / name) for name in _files(directory)}
    for name in hashes:
        flush(directory / name)
    write_sealed(directory / MANIFEST, {**manifest, "files": hashes})
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
    return [name for name in _all_files(directory) if name != MANIFEST]


def _all_files(directory: Path) -> list[str]:
    found = (p.relative_to(directory) for p in directory.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if not any(is_stray(part) for part in p.parts))


def _directories(directory: Path) -> list[Path]:
    return [directory, *(p for p in directory.rglob("*") if p.is_dir())]


def _damaged(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"a stored artifact is damaged: {what}",
        where=str(path),
        mend=_MEND,
    )
