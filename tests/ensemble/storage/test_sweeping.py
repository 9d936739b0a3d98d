"""What a dead process left: removed, or put into its place where it is whole."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors
from ensemble.run_dir.leftovers import sweep_temporary
from ensemble.storage.atomic import TEMPORARY
from ensemble.storage.directories import MANIFEST, read_manifest
from tests.ensemble.storage.written import write_artifact

if TYPE_CHECKING:
    pass


def _leftover(place: Path, number: int, mark: str = "") -> Path:
    return place.with_name(f"{TEMPORARY}{number:032x}-{mark}{place.name}")


def _tree(directory: Path) -> list[str]:
    files = [path for path in directory.rglob("*") if path.is_file() or path.is_symlink()]
    return sorted(path.relative_to(directory).as_posix() for path in files)


WHOLE_FOLD = ["learners/words/fold-0/a", f"learners/words/fold-0/{MANIFEST}"]


def test_sweeping_removes_what_a_dead_process_left(tmp_path: Path, fold: Path) -> None:
    _leftover(fold, 1).mkdir()
    (_leftover(fold, 1) / "half").write_text("x")
    shutil.copytree(fold, _leftover(fold, 2, "old-"))
    places = ("x.json", "cache/features/deep/y.parquet", "learners/words/z")
    for place in (*places, "sources/fits/extra/train/seed-0/learners/words/fold-0"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        _leftover(tmp_path / place, 3).write_text("{")
    sweep_temporary(tmp_path)
    assert _tree(tmp_path) == WHOLE_FOLD


def test_sweeping_takes_the_new_one_where_a_clock_has_gone_back(tmp_path: Path, fold: Path) -> None:
    write_artifact(_leftover(fold, 1), a="new")
    fold.rename(_leftover(fold, 2, "old-"))
    os.utime(_leftover(fold, 1) / MANIFEST, (1, 1))
    sweep_temporary(tmp_path)
    assert _tree(tmp_path) == WHOLE_FOLD and (fold / "a").read_text() == "new"


def test_sweeping_leaves_alone_what_is_not_ours(tmp_path: Path, fold: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    hexadecimal = "0" * 32
    kept = [".tmp-notes", f".tmp-{hexadecimal}", f".tmp-{hexadecimal[1:]}-x", ".tmp-1-fold-0"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    deep = f"learners/words/fold-0/model/.tmp-{hexadecimal}-mine"
    (tmp_path / deep).parent.mkdir()
    (tmp_path / deep).write_text("mine")
    _leftover(elsewhere / "x", 1).write_text("another run with the same cache may write it now")
    (tmp_path / "cache").symlink_to(elsewhere)
    before = _tree(tmp_path)
    sweep_temporary(tmp_path)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("linked", ["learners", "learners/words", "comparisons", "cache/features"])
def test_sweeping_follows_links_to_directories(linked: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / linked).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (run / linked).symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(elsewhere)  # in a circle
    _leftover(elsewhere / "x", 1).write_text("half")
    (elsewhere / "kept").write_text("whole")
    sweep_temporary(run)
    assert _tree(elsewhere) == ["again", "kept"]


def test_sweeping_a_shared_cache_takes_only_what_nobody_writes_any_more(tmp_path: Path) -> None:
    run, shared = tmp_path / "run", tmp_path / "shared"
    (shared / "features").mkdir(parents=True)
    run.mkdir()
    (run / "cache").symlink_to(shared)
    new, old = (_leftover(shared / "features" / "x", number) for number in (1, 2))
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (1, 1))
    sweep_temporary(run)
    assert [path.name for path in (shared / "features").iterdir()] == [new.name]


def test_sweeping_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    _leftover(tmp_path / "stack", 1, "old-").symlink_to(tmp_path / "mine")
    sweep_temporary(tmp_path)
    assert _tree(tmp_path) == ["mine/file"]


@pytest.mark.parametrize("new_is_whole", [True, False])
def test_sweeping_fills_the_place_after_a_kill_between_the_two_renames(
    tmp_path: Path, fold: Path, new_is_whole: bool
) -> None:
    # As `kill -9` leaves it: the former aside, the new one not yet in its place.
    fold.rename(_leftover(fold, 2, "old-"))
    write_artifact(fold, a="new")
    fold.rename(_leftover(fold, 1))
    os.utime(_leftover(fold, 2, "old-") / MANIFEST, (1, 1))
    if not new_is_whole:
        (_leftover(fold, 1) / "a").write_text("ne")
    sweep_temporary(tmp_path)
    assert (fold / "a").read_text() == ("new" if new_is_whole else "former")
    assert read_manifest(fold)["made_by"] == "a test"
    assert _tree(tmp_path) == WHOLE_FOLD


def test_sweeping_fills_the_place_of_the_stack(tmp_path: Path) -> None:
    write_artifact(tmp_path / "stack", a="1")
    (tmp_path / "stack").rename(_leftover(tmp_path / "stack", 1, "old-"))
    sweep_temporary(tmp_path)
    assert read_manifest(tmp_path / "stack")["made_by"] == "a test"


def test_what_is_whole_is_kept_where_it_cannot_be_moved(
    tmp_path: Path, fold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold.rename(_leftover(fold, 1, "old-"))

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(errors.EnsembleError, match="cannot write"):
        patch.setattr(Path, "rename", refuse)
        sweep_temporary(tmp_path)
    assert read_manifest(_leftover(fold, 1, "old-"))["made_by"] == "a test"


def test_sweeping_where_there_is_no_run(tmp_path: Path) -> None:
    sweep_temporary(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())
