"""A run to audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fixture_types import RunOnce


@pytest.fixture
def place(run_once: RunOnce) -> Path:
    return Path(run_once().run_dir)
