"""An artifact of some files, written for a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.storage.directories import atomic_directory

if TYPE_CHECKING:
    pass


def write_artifact(directory: Path, **files: str) -> None:
    with atomic_directory(directory, {"made_by": "a test"}) as place:
        for name, text in files.items():
            (place / name).write_text(text)
