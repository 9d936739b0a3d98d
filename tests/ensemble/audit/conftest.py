"""A run to audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import run

if TYPE_CHECKING:
    from tests.fixture_types import Project


@pytest.fixture
def place(project: Project) -> Path:
    return run(project.config()).directory
