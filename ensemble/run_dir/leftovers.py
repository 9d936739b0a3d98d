"""What a process that died left in a run: put into its place where it is whole, else removed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import CACHE, CHECKPOINTS, COMPARISONS, LEARNERS, PLUGINS
from ensemble.storage.atomic import flush, is_former, place_of, remove, wrap_os_errors
from ensemble.storage.directories import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_ABANDONED = 3600.0
"""Seconds after which nobody is writing a file any more."""


def sweep_temporary(run: Path) -> None:
    """Put right what a process that died left in a run; call it with the run's lock held.

    Leftovers are removed. A whole directory whose place is empty goes into it: its writer died
    between moving the former aside and moving the new one in. The new one is taken, else the
    newest.

    Parameters
    ----------
    run
        The run directory. Looked at are itself, ``comparisons``, ``plugins``, ``learners``, each
        learner's directory there and among ``checkpoints``, and all of ``cache``, ``sources``,
        ``tries`` and ``review``. Links to directories are followed, and only names that writing
        here makes are touched. Runs may share a cache: in one that is a link, what another run may
        just be writing is left alone.

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


def sweep_beside(place: Path) -> None:
    """Remove what a process left that died while it wrote to a place outside of a run.

    No lock says whether one is still at it, so that only what is old is removed.
    """
    for leftover in _entries(place.parent):
        if place_of(leftover) == place and _age(leftover) > _ABANDONED:
            remove(leftover)


def _written_directories(run: Path) -> Iterator[Path]:
    """Give the directories that the toolkit writes to, each before those inside it."""
    learners = run / LEARNERS
    yield from (run, run / COMPARISONS, run / PLUGINS, learners, *_entries(learners))
    yield from _entries(run / CHECKPOINTS)
    for name in ("cache", "sources", "tries", "review"):
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
    cache = run / CACHE
    return cache.resolve() if cache.is_symlink() else None


def _entries(directory: Path) -> list[Path]:
    try:
        # A leftover may be a link: what it leads to is not ours.
        return [] if place_of(directory) else sorted(directory.iterdir())
    except OSError:  # not there, no directory, or closed to us: then nothing of ours is in it
        return []


def _restore(leftovers: Sequence[Path]) -> None:
    """Fill places that are empty by the newest whole directory that belongs there."""
    finished = [
        (not is_former(path), time, path)
        for path in leftovers
        if (time := _finished(path)) is not None
    ]
    # Times alone do not tell: a clock may have gone back.
    for *_, path in sorted(finished, reverse=True):
        place = place_of(path)
        if place is not None and not os.path.lexists(place):
            with wrap_os_errors(place):
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
