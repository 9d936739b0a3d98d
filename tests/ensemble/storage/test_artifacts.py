from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import errors
from ensemble.run_dir.leftovers import sweep_temporary
from ensemble.storage.atomic import TEMPORARY, atomic_path
from ensemble.storage.directories import MANIFEST, atomic_directory, read_manifest
from ensemble.storage.hashing import hash_tree
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def _write(directory: Path, **files: str) -> None:
    with atomic_directory(directory, {"made_by": "a test"}) as place:
        for name, text in files.items():
            (place / name).write_text(text)


def test_a_directory_reads_back_with_its_manifest(tmp_path: Path) -> None:
    _write(tmp_path / "fold", a="1", b="2")
    manifest = read_manifest(tmp_path / "fold")
    assert manifest["made_by"] == "a test"
    assert set(manifest["files"]) == {"a", "b"}


def test_a_directory_replaces_the_former_whole(tmp_path: Path) -> None:
    _write(tmp_path / "fold", a="1", b="2")
    _write(tmp_path / "fold", c="3")
    assert sorted(p.name for p in (tmp_path / "fold").iterdir()) == ["c", MANIFEST]
    assert [p.name for p in tmp_path.iterdir()] == ["fold"]


def test_an_error_inside_leaves_the_former_directory_and_nothing_else(tmp_path: Path) -> None:
    _write(tmp_path / "fold", a="1")
    with (
        pytest.raises(RuntimeError, match="half-way"),
        atomic_directory(tmp_path / "fold", {}) as place,
    ):
        (place / "a").write_text("2")
        raise RuntimeError("half-way")
    assert (tmp_path / "fold" / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["fold"]


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove", "add", "no manifest", "garbage"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    fold = tmp_path / "fold"
    _write(fold, a="12345", b="2")
    match damage:
        case "truncate":
            (fold / "a").write_text("123")
        case "alter":
            (fold / "a").write_text("12346")
        case "remove":
            (fold / "a").unlink()
        case "add":
            (fold / "c").write_text("new")
        case "no manifest":
            (fold / MANIFEST).unlink()
        case "garbage":
            (fold / MANIFEST).write_text("{")
    with pytest.raises(errors.ArtifactError, match="damaged|missing|cannot be read"):
        read_manifest(fold)


def test_a_full_disk_is_an_error_of_ours_and_keeps_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "x.json", {"a": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        errors.EnsembleError, match="No space left on device(.|\n)*nothing was lost"
    ):
        write_json(tmp_path / "x.json", {"a": 2})
    with pytest.raises(errors.EnsembleError, match="No space left on device"):
        _write(tmp_path / "fold", a="1")
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """A learner's fold in a run, complete."""
    _write(tmp_path / "learners" / "words" / "fold-0", a="former")
    return tmp_path / "learners" / "words" / "fold-0"


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
    _write(_leftover(fold, 1), a="new")
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


STRAYS = (
    ".DS_Store",
    "Thumbs.db",
    "._a",
    ".nfs00000001",
    ".a.swp",
    "a~",
    ".~lock.a#",
    "Desktop.ini",
)


@pytest.mark.parametrize("stray", STRAYS)
def test_what_a_system_drops_is_no_part_of_an_artifact(stray: str, fold: Path) -> None:
    before = read_manifest(fold), hash_tree(fold)
    (fold / "model").mkdir()
    for directory in (fold, fold / "model"):
        (directory / stray).write_text("dropped")
    assert (read_manifest(fold), hash_tree(fold)) == before


def test_a_hidden_file_of_anybody_else_is_foreign(fold: Path) -> None:
    (fold / ".hidden").write_text("x")
    with pytest.raises(errors.ArtifactError, match="missing or foreign files: .hidden"):
        read_manifest(fold)


def test_sweeping_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    _leftover(tmp_path / "stack", 1, "old-").symlink_to(tmp_path / "mine")
    sweep_temporary(tmp_path)
    assert _tree(tmp_path) == ["mine/file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_an_error_between_the_two_renames_puts_the_former_back(
    fold: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    rename = Path.rename

    def interrupted(source: Path, target: Path) -> Path:
        if target == fold and "-old-" not in source.name:
            raise error
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, errors.EnsembleError), match="cannot write|^$"):
        _write(fold, a="new")
    assert (fold / "a").read_text() == "former"
    assert [path.name for path in fold.parent.iterdir()] == ["fold-0"]


@pytest.mark.parametrize("new_is_whole", [True, False])
def test_sweeping_fills_the_place_after_a_kill_between_the_two_renames(
    tmp_path: Path, fold: Path, new_is_whole: bool
) -> None:
    # As `kill -9` leaves it: the former aside, the new one not yet in its place.
    fold.rename(_leftover(fold, 2, "old-"))
    _write(fold, a="new")
    fold.rename(_leftover(fold, 1))
    os.utime(_leftover(fold, 2, "old-") / MANIFEST, (1, 1))
    if not new_is_whole:
        (_leftover(fold, 1) / "a").write_text("ne")
    sweep_temporary(tmp_path)
    assert (fold / "a").read_text() == ("new" if new_is_whole else "former")
    assert read_manifest(fold)["made_by"] == "a test"
    assert _tree(tmp_path) == WHOLE_FOLD


def test_sweeping_fills_the_place_of_the_stack(tmp_path: Path) -> None:
    _write(tmp_path / "stack", a="1")
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


@pytest.mark.parametrize("write", [_write, lambda path: write_json(path, {})])
def test_what_is_in_the_way_is_an_error_of_ours(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(errors.EnsembleError, match="cannot write: Not a directory|File exists"):
        write(tmp_path / "file" / "inside")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_the_place_of_a_directory_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    with pytest.raises(
        errors.EnsembleError, match="cannot write: Not a directory(.|\n)*in the way"
    ):
        _write(tmp_path / "file", a="1")
    with pytest.raises(errors.EnsembleError, match="cannot write: Is a directory(.|\n)*in the way"):
        write_json(tmp_path / "directory", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


@pytest.mark.parametrize("atomic", [atomic_path, lambda path: atomic_directory(path, {})])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("No space left on device (os error 28)"),  # as Polars says it
        pl.exceptions.ComputeError("underlying IO error: No space left on device (os error 28)"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
def test_a_body_that_the_disk_refuses(
    tmp_path: Path, atomic: Callable[[Path], AbstractContextManager[Path]], error: Exception
) -> None:
    with (
        pytest.raises(
            errors.EnsembleError, match="cannot write: (No space|Permission)(.|\n)*free space"
        ),
        atomic(tmp_path / "x"),
    ):
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error(.|\n)*is failing"),
        (OSError("Input/output error (os error 5)"), "Input/output error(.|\n)*is failing"),
        (OSError(errno.EFBIG, "File too large"), "File too large(.|\n)*raise the limit"),
        (shutil.Error([("a", "b", "[Errno 28] No space left")]), "No space left(.|\n)*free space"),
    ],
)
def test_a_disk_that_fails_is_told_with_what_helps(
    tmp_path: Path, error: Exception, told: str
) -> None:
    with (
        pytest.raises(errors.EnsembleError, match=f"cannot write: {told}(.|\n)*the same command"),
        atomic_path(tmp_path / "x"),
    ):
        raise error


def test_an_error_names_the_place_and_not_where_it_was_being_written(tmp_path: Path) -> None:
    with (
        pytest.raises(errors.EnsembleError, match="No space") as raised,
        atomic_directory(tmp_path / "fold", {}) as place,
        atomic_path(place / "oof.parquet"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.where == str(tmp_path / "fold" / "oof.parquet")


@pytest.mark.parametrize("atomic", [atomic_path, lambda path: atomic_directory(path, {})])
@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        pl.exceptions.ComputeError("a fault of the body"),
        errors.EnsembleError("an error of ours (os error 28)"),
    ],
)
def test_a_fault_of_the_body_passes_as_it_is(
    tmp_path: Path, atomic: Callable[[Path], AbstractContextManager[Path]], error: Exception
) -> None:
    with (
        pytest.raises(type(error), match="No such file|fault|ours") as raised,
        atomic(tmp_path / "x"),
    ):
        raise error
    assert raised.value is error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [read_json, read_manifest])
def test_what_cannot_be_read_is_an_artifact_error(
    fold: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (fold.parent / "directory.json").mkdir()
    with pytest.raises(errors.ArtifactError, match="cannot be read|missing"):
        read(fold.parent / "directory.json")
    monkeypatch.setattr(Path, "open" if read is read_manifest else "read_text", refuse)
    with pytest.raises(errors.ArtifactError, match="cannot be read(.|\n)*Permission denied"):
        read(fold)


def test_a_directory_that_cannot_be_searched_is_an_artifact_error(
    fold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(errors.ArtifactError, match="cannot be read(.|\n)*Permission denied"):
        read_manifest(fold)
