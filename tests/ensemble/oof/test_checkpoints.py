"""Checkpoints of complete fits are swept, those of others stay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import run
from ensemble.oof.checkpoints import checkpoint_directory, sweep_checkpoints
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_json

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Project, RunOnce


@pytest.fixture
def place(run_once: RunOnce) -> Path:
    return Path(run_once().run_dir)


def _key(place: Path) -> str:
    return str(read_json(place / "learners" / "p" / "fold-0" / "manifest.json")["key"])


def _checkpoint(place: Path, learner: str, fold: str, key: str) -> Path:
    checkpoint = checkpoint_directory(place, learner, fold, key)
    checkpoint.mkdir(parents=True)
    (checkpoint / "state").write_text("x")
    return checkpoint


def test_a_checkpoint_of_a_complete_fold_is_swept_by_the_next_writer(
    project: Project, place: Path
) -> None:
    complete = _checkpoint(place, "p", "fold-0", _key(place))
    kept = [
        _checkpoint(place, "p", "fold-0", "0" * 64),  # of other parameters
        _checkpoint(place, "p", "fold-1", _key(place)),  # of another fold
        _checkpoint(place, "unknown", "fold-0", _key(place)),
    ]
    with writing(project.config()):
        assert not complete.exists()
    assert all(path.exists() for path in kept)


def test_a_checkpoint_of_a_damaged_fold_may_still_be_wanted(place: Path) -> None:
    checkpoint = _checkpoint(place, "p", "fold-0", _key(place))
    (place / "learners" / "p" / "fold-0" / "oof.parquet").write_bytes(b"x")
    sweep_checkpoints(place)
    assert checkpoint.exists()


def test_those_of_a_study_are_swept_too_and_empty_directories_with_them(place: Path) -> None:
    study = place / "sources" / "fits" / "extra"
    (study / "learners" / "p").mkdir(parents=True)
    fold = place / "learners" / "p" / "fold-0"
    fold.rename(study / "learners" / "p" / "fold-0")
    key = str(read_json(study / "learners" / "p" / "fold-0" / "manifest.json")["key"])
    checkpoint = _checkpoint(study, "p", "fold-0", key)
    sweep_checkpoints(place)
    assert not checkpoint.parent.exists()


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._oof.parquet"])
def test_a_stray_in_a_fold_refits_nothing_and_fails_no_audit(
    name: str, project: Project, fake_learners: type[Prior]
) -> None:
    place = run(project.config()).directory
    fake_learners.seen.clear()
    for directory in (place, place / "stack", place / "learners" / "p" / "fold-0"):
        (directory / name).write_text("dropped")
    (place / "learners" / name).write_text("dropped")
    audit = (place / "audit.json").read_bytes()
    assert run(project.config()).directory == place
    assert fake_learners.seen == []
    assert (place / "audit.json").read_bytes() == audit
    assert name not in (place / "report.html").read_text()
