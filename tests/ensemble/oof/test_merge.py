"""Folds of other runs: what is taken, and what is refused and why."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors
from ensemble.api.runs import Run
from ensemble.oof import offered_fit
from ensemble.oof.adopt import refuse_other_fit
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.rows import FoldRows
from ensemble.stacking.settings import learner_specs
from ensemble.stages.merge import merge_stage
from ensemble.storage import foreign
from tests.ensemble.oof.forged_fits import DAMAGE, flip
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.oof.two_runs import own_and_other

if TYPE_CHECKING:
    from tests.fixture_types import Project


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs are kept, once they are made: each test has a copy of its own to damage."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def runs(project: Project, kept: Path) -> tuple[Path, Path]:
    """This run, with folds and no fits; and another one of the same config, all fitted."""
    if not (kept / "other").exists():
        for run in own_and_other(project, (0, 1, 2, None, (0, 1))):
            run.rename(kept / run.name)
    own, other = (project.path / name for name in ("own", "other"))
    shutil.copytree(kept / "own", own)
    shutil.copytree(kept / "other", other)
    return own, other


def told(run: Path, *others: Path, dry_run: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
    offers = merge_stage(run, others, dry_run=dry_run)
    return {(one.learner, one.fit): (one.outcome, one.reason) for one in offers}


def listing(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in ("events.jsonl", ".lock")
    }


def test_fits_of_another_run_are_taken_as_they_are_and_only_once(runs: tuple[Path, Path]) -> None:
    own, other = runs
    fits = {(name, fit) for name in "pq" for fit in _FITS}
    assert told(own, other, dry_run=True) == dict.fromkeys(fits, ("would be taken", ""))
    assert not (own / "learners").exists(), "a dry run writes nothing"
    assert told(own, other) == dict.fromkeys(fits, ("taken", ""))
    assert listing(own / "learners") == listing(other / "learners")
    before = listing(own)
    assert told(own, other) == dict.fromkeys(fits, ("there already", ""))
    assert listing(own) == before
    assert not list(own.rglob(".tmp-*"))


_FITS = ("fold-0", "fold-1", "fold-2", "refit", "pair-0-1")


def test_python_gives_a_frame(runs: tuple[Path, Path]) -> None:
    own, other = runs
    found = Run(own).merge(other, dry_run=True)
    assert found.columns == ["run", "learner", "fit", "outcome", "reason"]
    assert found["outcome"].unique().to_list() == ["would be taken"]
    assert Run(own).merge(other)["outcome"].unique().to_list() == ["taken"]


def test_what_is_no_run_is_an_error_of_the_user(runs: tuple[Path, Path], tmp_path: Path) -> None:
    own, _ = runs
    with pytest.raises(errors.ConfigError, match="no fits in it"):
        merge_stage(own, [tmp_path])
    (own / "learners").mkdir()
    with pytest.raises(errors.ConfigError, match="into itself"):
        merge_stage(own, [own])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"learners": [{"name": "p", "plugin": "prior", "shift": 1.0}]}, "shift was 1.0, and now"),
        ({"folds": {"n_splits": 3, "near_duplicate_threshold": 0.9}}, "other battles"),
        ({"seed": 8}, "another fold plan"),
    ],
)
def test_a_fit_of_another_learner_plan_or_battles_is_refused(
    changes: dict[str, Any], reason: str, runs: tuple[Path, Path], project: Project
) -> None:
    own, _ = runs
    learners = changes.pop("learners", [{"name": "p", "plugin": "prior"}])
    config = project.config(learners, run_dir="third", **changes)
    space = prepared(config)
    fit_fold(space, learner_specs(config)[0], 0)
    ((outcome, why),) = told(own, space.run).values()
    assert outcome == "refused" and reason in why
    assert not (own / "learners/p/fold-0").exists()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_fit_that_is_damaged_or_forged_is_refused_alone(
    kind: str, runs: tuple[Path, Path]
) -> None:
    own, other = runs
    damage, reason = DAMAGE[kind]
    damage(other / "learners/p/fold-0")
    for dry_run, otherwise in ((True, "would be taken"), (False, "taken")):
        found = told(own, other, dry_run=dry_run)
        outcome, why = found.pop(("p", "fold-0"))
        assert outcome == "refused" and re.search(reason, why)
        assert {one for one, _ in found.values()} == {otherwise}
        assert (own / "learners").exists() is not dry_run
        assert not (own / "learners/p/fold-0").exists()
        assert not list(own.rglob(".tmp-*"))


def test_links_on_the_way_and_names_of_nothing_lead_nowhere(runs: tuple[Path, Path]) -> None:
    own, other = runs
    learners = other / "learners"
    shutil.move(learners / "p", other / "elsewhere")
    (learners / "p").symlink_to(other / "elsewhere")
    (learners / "q" / "fold-0").rename(learners / "q" / "fold-00")
    (learners / "q" / "fold-1").rename(learners / "q" / "fold-7")
    (learners / "q" / "pair-0-1").rename(learners / "q" / "pair-1-0")
    (learners / "q" / "pair-0-1").symlink_to(learners / "q" / "pair-1-0")
    shutil.copytree(learners / "q", learners / "no\x1b[31m such", symlinks=True)
    found = told(own, other)
    reasons = {name: why for name, (outcome, why) in found.items() if outcome == "refused"}
    assert set(reasons) == {
        ("q", "fold-00"),
        ("q", "fold-7"),
        ("p", "all fits"),
        ("q", "pair-0-1"),
        ("q", "pair-1-0"),
        ("no\x1b[31m such", "5 fits"),
    }
    assert "is a link" in reasons["p", "all fits"]
    assert "is a link" in reasons["q", "pair-0-1"]
    assert {fit for name, fit in found} - {fit for _, fit in reasons} == {"fold-2", "refit"}
    assert [path.name for path in (own / "learners").iterdir()] == ["q"]
    (shown,) = (one for one in merge_stage(own, [other]) if one.learner.startswith("no"))
    assert "\x1b" not in shown.to_json()["learner"]


def test_a_directory_of_fits_that_is_a_link_is_named(runs: tuple[Path, Path]) -> None:
    own, other = runs
    (other / "learners").rename(other / "elsewhere")
    (other / "learners").symlink_to("elsewhere")
    with pytest.raises(errors.ConfigError, match="directory of fits is a link"):
        merge_stage(own, [other])


def test_a_soup_is_not_asked_for_since_it_is_made_of_folds(runs: tuple[Path, Path]) -> None:
    own, other = runs
    (other / "learners/p/soup").mkdir()
    assert ("p", "soup") not in told(own, other)


def test_a_fit_that_is_there_and_damaged_is_replaced(runs: tuple[Path, Path]) -> None:
    own, other = runs
    told(own, other)
    flip(own / "learners/p/fold-0/oof.parquet")
    found = told(own, other)
    assert [fit for fit, (outcome, _) in found.items() if outcome == "taken"] == [("p", "fold-0")]


def test_no_file_is_followed_out_of_a_directory_while_it_is_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("text")
    files = foreign.plain_files(source)
    assert files == {"inner/file": 4}
    shutil.move(source / "inner", tmp_path / "inner")
    (source / "inner").symlink_to(tmp_path / "inner")
    with pytest.raises(errors.ArtifactError, match="cannot be read"):
        foreign.copy_plain(source, files, target)
    (source / "inner").unlink()
    (source / "inner").mkdir()
    (source / "inner" / "file").write_text("a longer text")
    with pytest.raises(errors.ArtifactError, match="grew"):
        foreign.copy_plain(source, files, target)


@pytest.mark.parametrize("name", ["oof.parquet", "train_ids.parquet", "manifest.json"])
def test_a_fit_that_goes_away_while_it_is_looked_at_is_refused_alone(
    name: str, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = runs
    refuse = refuse_other_fit

    def late(directory: Path, *given: Any) -> Any:
        if name == "manifest.json" and directory.name == "fold-1":
            shutil.rmtree(directory)
        manifest = refuse(directory, *given)
        if directory.name == "fold-1":
            (directory / name).unlink()
        return manifest

    monkeypatch.setattr(offered_fit, "refuse_other_fit", late)
    found = told(own, other, dry_run=True)
    outcomes = {fit for fit, (outcome, _) in found.items() if outcome == "would be taken"}
    assert found.keys() - outcomes == {("p", "fold-1"), ("q", "fold-1")}


def test_a_disk_of_another_run_that_is_broken_is_not_taken_for_ours(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = runs
    opened = foreign._open_inside

    def broken(directory: Path, name: str) -> int:
        is_bad = directory.name == "fold-1" and name == "oof.parquet"
        return os.open("/proc/self/mem", os.O_RDONLY) if is_bad else opened(directory, name)

    monkeypatch.setattr(foreign, "_open_inside", broken)
    found = told(own, other)
    refused = {fit: why for fit, (outcome, why) in found.items() if outcome == "refused"}
    why = "'oof.parquet' cannot be read: Input/output error"
    assert refused == {("p", "fold-1"): why, ("q", "fold-1"): why}


def test_a_file_of_this_run_that_cannot_be_read_is_not_laid_to_the_other(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = runs

    def broken(*_given: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error", str(own / "battles.parquet"))

    monkeypatch.setattr(FoldRows, "of", broken)
    with pytest.raises(OSError, match="battles.parquet"):
        told(own, other, dry_run=True)


def test_a_large_manifest_is_not_read(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = runs
    monkeypatch.setattr(offered_fit, "_MOST_MANIFEST", 100)
    assert {why for _, why in told(own, other).values()} == {
        "manifest.json is larger than 100 bytes"
    }
