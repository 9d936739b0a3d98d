"""Where fits keep their state until they are complete, and what is swept of it afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import CHECKPOINTS, LEARNERS, STUDIES
from ensemble.storage.atomic import remove
from ensemble.storage.directories import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

"""Directory of a run, or of a study, that holds them by learner."""
_OF_KEY = 16
"""Digits of a fold's key in the name of its checkpoint."""


def checkpoint_directory(run: Path, learner: str, fold: str, key: str) -> Path:
    """Give the place of a fit's checkpoint.

    The key is part of it: a checkpoint of other parameters is never resumed.

    Parameters
    ----------
    run
        The run directory.
    learner
        Name of the learner.
    fold
        What is held out, as ``fold_name`` has it.
    key
        Key of the fold.
    """
    return run / CHECKPOINTS / learner / f"{fold}-{key[:_OF_KEY]}"


def sweep_checkpoints(run: Path) -> None:
    """Remove the checkpoints of fits that are complete; call it with the run's lock held.

    Their process died after the fold was in its place. Those of other keys stay: the fit that they
    are of may still be wanted.
    """
    roots = [run, *(path.parent for path in (run / STUDIES).rglob(CHECKPOINTS))]
    for root in roots:
        for checkpoint in _entries(root / CHECKPOINTS):
            for place in _entries(checkpoint):
                if _is_complete(root, checkpoint.name, place.name):
                    remove(place)
            with suppress(OSError):  # one that others are in is not empty
                checkpoint.rmdir()


def _is_complete(root: Path, learner: str, name: str) -> bool:
    fold, _, key = name.rpartition("-")
    try:
        manifest = read_manifest(root / LEARNERS / learner / fold)
    except ArtifactError:
        return False
    is_its = bool(key) and str(manifest.get("key")).startswith(key)
    return is_its or manifest.get("checkpoint") == name


def _entries(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(path for path in directory.iterdir() if path.is_dir())
