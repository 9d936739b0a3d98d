"""A run is the directory that it lies in: copied or moved, alone or with its project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors, run
from ensemble.audit.audit import audit_run
from ensemble.config.load import load_config, load_run_config
from ensemble.submission.new_rows import predict_file

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Project

WORDS = {"name": "p", "plugin": "prior"}


@pytest.fixture
def place(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run within a project that is moved to where nothing else is."""
    return run(project.config([WORDS], run_dir="runs/one")).directory


def _content(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.mark.parametrize("hidden", [True, False])
def test_a_copy_that_is_run_by_its_own_config_leaves_the_original_alone(
    hidden: bool, place: Path, project: Project, fake_learners: type[Prior]
) -> None:
    copy = project.path / "elsewhere" / "copy"
    shutil.copytree(place, copy, ignore=None if hidden else shutil.ignore_patterns(".*"))
    before = _content(place)
    fake_learners.seen.clear()
    config = load_config(copy / "config.toml")
    assert config.run_dir == str(copy)
    assert run(config).directory == copy
    assert fake_learners.seen == []
    assert _content(place) == before
    assert load_config(copy / "config.toml").run_dir == str(copy)


def test_a_run_that_moved_alone_still_finds_its_project(place: Path, project: Project) -> None:
    moved = project.path / "far" / "away" / "one"
    moved.parent.mkdir(parents=True)
    place.rename(moved)
    config = load_run_config(moved)
    assert config.base_dir == str(project.path)
    assert config.sources[0].path == str(project.path / "train.csv")
    assert audit_run(moved).state == "passed"


@pytest.mark.parametrize("way", ["move", "copy"])
def test_a_project_that_moved_is_read_where_it_is_now(
    way: str, place: Path, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project.path / "vectors.txt").write_text("x")
    there = tmp_path_factory.mktemp("there") / "deeper" / "project"
    there.parent.mkdir()
    if way == "move":
        project.path.rename(there)
    else:
        shutil.copytree(project.path, there)
    moved = there / "runs" / "one"
    config = load_run_config(moved)
    assert config.base_dir == str(there)
    assert [Path(str(one.path)).parent for one in config.readings()] == [there] * 3
    predict_file(config, there / "test.csv", there / "out.csv")
    assert (there / "out.csv").read_bytes() == (moved / "submission.csv").read_bytes()
    assert audit_run(moved).state == "passed"


def test_inputs_outside_of_the_project_stay_where_they_are(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data")
    (project.path / "train.csv").rename(data / "train.csv")
    sources = [{"name": "arena", "path": str(data / "train.csv"), "role": "target"}]
    run(project.config([WORDS], run_dir="runs/one", sources=sources))
    there = tmp_path_factory.mktemp("there") / "deeper" / "project"
    there.parent.mkdir()
    project.path.rename(there)
    config = load_run_config(there / "runs" / "one")
    assert config.sources[0].path == str(data / "train.csv")
    assert config.test is not None
    assert config.test.path == str(there / "test.csv")
    assert config.base_dir == str(there)


def test_a_config_beside_files_of_such_names_is_the_users(project: Project) -> None:
    (project.path / "battles.json").write_text("[]")
    config = project.config([WORDS], run_dir=str(project.path / "run"))
    assert config.run_dir == str(project.path / "run")


def test_a_copied_run_does_not_write_over_its_input(place: Path, project: Project) -> None:
    copy = project.path / "copy"
    shutil.copytree(place, copy)
    shutil.copy(project.path / "train.csv", copy / "train.csv")
    text = (copy / "config.toml").read_text()
    former = str(project.path / "train.csv")
    (copy / "config.toml").write_text(text.replace(former, str(copy / "train.csv")))
    with pytest.raises(errors.ConfigError, match=r"where sources\[1\].path lies"):
        load_config(copy / "config.toml")
