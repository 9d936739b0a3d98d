from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import errors, hookimpl
from ensemble.battles import prepared as module
from ensemble.battles.prepare import prepare
from ensemble.battles.prepared import read_battles, read_summary
from ensemble.plugin.manager import Manager, use_manager
from ensemble.storage import hashing, json_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.plugin.base import Register
    from tests.fixture_types import Project

TABLES = ["battles.parquet", "clusters.parquet", "duplicates.parquet"]


@pytest.fixture
def run(project: Project) -> Path:
    (project.path / "run").mkdir()
    prepare(project.config())
    return project.path / "run"


@pytest.mark.parametrize("text", ["[1]", "null", "{}", "{", '{"key": 1, "files": {}}', "3"])
def test_a_damaged_summary_is_refused_and_made_anew(project: Project, run: Path, text: str) -> None:
    whole = (run / "battles.json").read_text()
    (run / "battles.json").write_text(text)
    with pytest.raises(errors.ArtifactError, match="ensemble prepare CONFIG` again"):
        read_summary(run)
    with pytest.raises(errors.ArtifactError, match="ensemble prepare CONFIG` again"):
        read_battles(run)
    assert prepare(project.config())
    assert (run / "battles.json").read_text() == whole


@pytest.mark.parametrize("key", ["key", "files", "sources"])
def test_a_summary_that_lost_a_key_is_refused(run: Path, key: str) -> None:
    summary = json.loads((run / "battles.json").read_text())
    del summary[key]
    (run / "battles.json").write_text(json.dumps(summary))
    with pytest.raises(errors.ArtifactError, match="not what was written"):
        read_summary(run)


@pytest.mark.parametrize("made_by", [{}, {"version": module.VERSION - 1}])
def test_battles_of_another_version_are_refused_and_made_anew(
    project: Project, run: Path, made_by: dict[str, int]
) -> None:
    whole = (run / "battles.json").read_text()
    stored = read_summary(run)
    older = {"key": stored.key, "files": stored.files, "made_by": made_by}
    json_files.write_checksummed(run / "battles.json", older)
    with pytest.raises(errors.ArtifactError, match="prepared by another version"):
        read_battles(run)
    told: list[str] = []
    assert prepare(project.config(), told.append)
    assert "prepared by another version of the toolkit" in told[0]
    assert (run / "battles.json").read_text() == whole


@pytest.mark.parametrize("name", ["battles.json", *TABLES])
def test_a_directory_in_the_place_of_a_file_is_named(
    project: Project, run: Path, name: str
) -> None:
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(errors.ArtifactError, match="ensemble prepare CONFIG` again"):
        for read in (module.read_battles, module.read_clusters, module.read_pairs):
            read(run)
    with pytest.raises(
        errors.EnsembleError, match=f"Is a directory(.|\\n)*{name}(.|\\n)*in the way"
    ):
        prepare(project.config())


def test_a_table_that_cannot_be_read_is_an_artifact_error(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: Any) -> pl.DataFrame:
        raise pl.exceptions.ComputeError(f"{path} is of a version to come")

    monkeypatch.setattr(pl, "read_parquet", refuse)
    with pytest.raises(
        errors.ArtifactError, match="cannot be read(.|\\n)*version to come(.|\\n)*again"
    ):
        read_battles(run)


def test_an_unreadable_table_is_made_anew(
    project: Project, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == run / TABLES[0]:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    with (
        monkeypatch.context() as patch,
        pytest.raises(errors.ArtifactError, match="missing or not what"),
    ):
        patch.setattr(Path, "open", refuse)
        read_battles(run)
    with monkeypatch.context() as patch:
        patch.setattr(module, "hash_file", _once_refused(run / TABLES[0]))
        assert prepare(project.config())


def _once_refused(refused: Path) -> Any:
    left = [refused]

    def hash_file(path: Path) -> str:
        if path in left:
            left.remove(path)
            raise PermissionError(13, "Permission denied")
        return hashing.hash_file(path)

    return hash_file


@pytest.fixture
def loaded(project: Project) -> Iterator[list[Path]]:
    """A loader that reads all CSV files of a directory, or one; gives what it was called with."""
    assert project.path.is_dir()  # its fixture sets a manager too, and has to come first
    calls: list[Path] = []

    def parts(path: Path) -> pl.DataFrame:
        calls.append(path)
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        return pl.concat(pl.read_csv(file) for file in files)

    class Plugin:
        @hookimpl
        def register_loaders(self, register: Register) -> None:
            register("parts", parts)

    use_manager(Manager({"parts": Plugin()}))
    yield calls
    use_manager(None)


def _sources(project: Project, path: str) -> list[dict[str, Any]]:
    return [{"name": "arena", "path": path, "role": "target", "loader": "parts"}]


def test_a_directory_is_known_by_the_table_that_its_loader_makes(
    project: Project, loaded: list[Path]
) -> None:
    (project.path / "run").mkdir()
    (project.path / "parts").mkdir()
    csv = (project.path / "train.csv").read_text()
    (project.path / "parts" / "1.csv").write_text(csv)
    config = project.config(sources=_sources(project, "parts"))
    assert prepare(config)
    key = read_summary(project.path / "run").key
    (project.path / "parts" / "notes.txt").write_text("not read by the loader")
    assert not prepare(config)
    (project.path / "parts").rename(project.path / "moved")
    assert not prepare(project.config(sources=_sources(project, "moved")))
    assert len(loaded) == 3
    (project.path / "moved" / "1.csv").write_text("".join(csv.splitlines(keepends=True)[:-1]))
    assert prepare(project.config(sources=_sources(project, "moved")))
    assert read_summary(project.path / "run").key != key


def test_a_file_with_a_loader_is_known_by_its_bytes(project: Project, loaded: list[Path]) -> None:
    (project.path / "run").mkdir()
    config = project.config(sources=_sources(project, "train.csv"))
    assert prepare(config)
    assert not prepare(config)
    assert len(loaded) == 1


def test_what_a_loader_cannot_read_is_its_error(project: Project, loaded: list[Path]) -> None:
    with pytest.raises(
        errors.PluginError, match=r"the loader raised FileNotFoundError(.|\n)*nowhere"
    ):
        prepare(project.config(sources=_sources(project, "nowhere")))
    assert loaded == [project.path / "nowhere"]
