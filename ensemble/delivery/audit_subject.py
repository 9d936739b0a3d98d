"""What an audit is of: the content of every file that it, or a score of the run, depends on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.artifacts import TEMPORARY, fingerprint, hash_file
from ensemble.battles import prepare, split
from ensemble.delivery.submission_record import RECORD, SUBMISSION
from ensemble.stacking.tries import TRIES
from ensemble.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 7
"""Raise it when the audit comes to check something else: an audit of before is none."""

FILES = (
    "config.toml",
    prepare.BATTLES,
    prepare.CLUSTERS,
    prepare.PAIRS,
    prepare.SUMMARY,
    split.FOLDS,
    split.SUMMARY,
    SUBMISSION,
    RECORD,
)
TREES = ("learners", "stack", TRIES)


def subject_of(run: Path) -> str:
    """Name all that an audit looks at, and the audit itself: 64 hex digits.

    Every file counts by its bytes, whatever its times say: one that is altered, added, cut short or
    taken away gives another name. Left out are caches and checkpoints, logs, and what is only said
    of a run: report, comparisons and studies.
    """
    hashes = {path.relative_to(run).as_posix(): _content(path) for path in subject_files(run)}
    return fingerprint({"version": VERSION, "files": hashes})


def subject_files(run: Path) -> Iterator[Path]:
    """Give the files that ``subject_of`` names, those that are there."""
    yield from (run / name for name in FILES if os.path.lexists(run / name))
    for tree in TREES:
        for directory, inner, names in os.walk(run / tree, followlinks=True):
            inner[:] = sorted(name for name in inner if _counts(name))
            yield from (Path(directory) / name for name in sorted(names) if _counts(name))


def _counts(name: str) -> bool:
    """Leave out strays, and what a writer has not put into its place yet."""
    return not name.startswith(TEMPORARY) and not is_stray(name)


def _content(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
