"""``cache/checks.json``: keys of the learners that have passed the checks before a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import CHECKS
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


def read_passed(run: Path) -> set[str]:
    """Read what has passed; what cannot be read is asked again."""
    if not (run / CHECKS).is_file():
        return set()
    try:
        return {*map(str, read_json(run / CHECKS))}
    except (ArtifactError, TypeError):
        return set()


def add_passed(run: Path, key: str) -> None:
    """Remember that the learner of a key has passed."""
    write_json(run / CHECKS, sorted(read_passed(run) | {key}))
