"""What a disk refuses is an error of ours, which names the place and what helps."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import errors
from ensemble.storage.atomic import atomic_path
from ensemble.storage.directories import atomic_directory, read_manifest
from ensemble.storage.json_files import read_json, write_json
from tests.ensemble.storage.written import write_artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


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
        write_artifact(tmp_path / "fold", a="1")
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def _fails_at(kind: Callable[[int], bool], number: int) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if kind(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP])
def test_file_systems_that_put_no_directory_on_the_disk_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Network shares and drives of a cloud refuse it; what cannot be asked is no fault."""
    monkeypatch.setattr(os, "fsync", _fails_at(stat.S_ISDIR, number))
    write_json(tmp_path / "x.json", {"a": 1})
    write_artifact(tmp_path / "fold", a="1")
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert read_manifest(tmp_path / "fold")["files"]
    monkeypatch.setattr(os, "fsync", _fails_at(stat.S_ISREG, number))
    with pytest.raises(errors.EnsembleError, match="cannot write"):
        write_json(tmp_path / "x.json", {"a": 2})


def test_a_disk_that_fails_under_a_directory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _fails_at(stat.S_ISDIR, errno.EIO))
    with pytest.raises(errors.EnsembleError, match="the disk, or the way to it, is failing"):
        write_json(tmp_path / "x.json", {"a": 1})


@pytest.mark.parametrize("write", [write_artifact, lambda path: write_json(path, {})])
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
        write_artifact(tmp_path / "file", a="1")
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
        read(fold if read is read_manifest else fold / "manifest.json")


def test_a_directory_that_cannot_be_searched_is_an_artifact_error(
    fold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(errors.ArtifactError, match="cannot be read(.|\n)*Permission denied"):
        read_manifest(fold)
