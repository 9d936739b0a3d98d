"""Directories that are written whole or not at all, and what is found to be damaged."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors
from ensemble.storage.directories import MANIFEST, atomic_directory, read_manifest
from ensemble.storage.hashing import hash_tree
from tests.ensemble.storage.written import write_artifact

if TYPE_CHECKING:
    pass


def test_a_directory_reads_back_with_its_manifest(tmp_path: Path) -> None:
    write_artifact(tmp_path / "fold", a="1", b="2")
    manifest = read_manifest(tmp_path / "fold")
    assert manifest["made_by"] == "a test"
    assert set(manifest["files"]) == {"a", "b"}


def test_a_directory_replaces_the_former_whole(tmp_path: Path) -> None:
    write_artifact(tmp_path / "fold", a="1", b="2")
    write_artifact(tmp_path / "fold", c="3")
    assert sorted(p.name for p in (tmp_path / "fold").iterdir()) == ["c", MANIFEST]
    assert [p.name for p in tmp_path.iterdir()] == ["fold"]


def test_an_error_inside_leaves_the_former_directory_and_nothing_else(tmp_path: Path) -> None:
    write_artifact(tmp_path / "fold", a="1")
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
    write_artifact(fold, a="12345", b="2")
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
        write_artifact(fold, a="new")
    assert (fold / "a").read_text() == "former"
    assert [path.name for path in fold.parent.iterdir()] == ["fold-0"]
