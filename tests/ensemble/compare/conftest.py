"""A run to compare learners of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ensemble.compare.given_learners import (
    compare_config,
    fit_learners,
    write_sources,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with sources, predictions, and a run in ``run`` that no test changes."""
    place = tmp_path_factory.mktemp("compare")
    write_sources(place)
    fit_learners(compare_config(place), stack=True)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"
