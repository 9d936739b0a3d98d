"""Runs of others are read, and no code that their configs name is run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import ensemble
from ensemble.config.load import load_config
from ensemble.config.plugin_files import forget_files, named_files
from ensemble.plugin.manager import get_manager
from ensemble.stages.compare import compare_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixture_types import Project

HOOKS = """
from pathlib import Path
from ensemble import hookimpl
Path({mark!r}).write_text("it ran")

@hookimpl
def register_loaders(register):
    pass
"""


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """Name the file that the other run's code would write."""
    yield tmp_path / "it-ran"
    forget_files()


@pytest.fixture
def other(project: Project, mark: Path) -> Path:
    """Another run, whose config names a file of code that nobody here has asked for."""
    config = project.config([{"name": "p", "plugin": "prior"}], run_dir="other")
    directory: Path = ensemble.run(config).directory
    hostile = directory / "hostile.py"
    hostile.write_text(HOOKS.format(mark=str(mark)))
    kept = directory / "config.toml"
    named = f'plugins = ["{hostile}"]\n'
    kept.write_text(named + kept.read_text().replace("plugins = []\n", ""))
    assert str(hostile) in kept.read_text()
    return directory


def test_predictions_of_another_run_bring_no_code(
    other: Path, mark: Path, project: Project
) -> None:
    learner = {"name": "brought", "plugin": "precomputed", "run": str(other), "learner": "p"}
    config = project.config([learner, {"name": "own", "plugin": "prior"}], run_dir="own")
    ensemble.run(config)
    assert not mark.exists()


def test_a_comparison_with_another_run_runs_none_of_its_code(
    other: Path, mark: Path, project: Project
) -> None:
    own = ensemble.run(project.config([{"name": "p", "plugin": "prior"}], run_dir="own")).directory
    compare_stage(own, ["p", f"{other}:p"])
    get_manager()
    assert not mark.exists()


def test_a_merge_runs_no_code_of_the_other_run(other: Path, mark: Path, project: Project) -> None:
    own = ensemble.run(project.config([{"name": "p", "plugin": "prior"}], run_dir="own"))
    shutil.rmtree(own.directory / "learners")
    own.merge(other)
    get_manager()
    assert not mark.exists()


def test_files_of_the_own_config_stay_known_after_another_was_read(
    other: Path, project: Project, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(HOOKS.format(mark=str(tmp_path / "mine-ran")))
    project.config([{"name": "p", "plugin": "prior"}], run_dir="own", plugins=["mine.py"])
    load_config(tmp_path / "config.toml")
    from ensemble_plugins.other_run import models_of

    models_of(other, "p")
    assert [path.name for path in named_files()] == ["mine.py"]
