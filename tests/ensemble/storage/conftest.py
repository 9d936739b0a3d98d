"""Fixtures of stored files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ensemble.storage.written import write_artifact

if TYPE_CHECKING:
    pass


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """A learner's fold in a run, complete."""
    write_artifact(tmp_path / "learners" / "words" / "fold-0", a="former")
    return tmp_path / "learners" / "words" / "fold-0"
