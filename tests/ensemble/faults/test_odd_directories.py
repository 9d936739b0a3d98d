"""Run directories that are read-only, full, moved, copied, linked, or named from elsewhere."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.ensemble.faults.small_runs import SmallRun, verb
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Iterator

FITS = 2


@pytest.fixture
def finished(small_run: SmallRun) -> SmallRun:
    """A small run that is done; ``Prior.seen`` counts what is fitted after it."""
    assert small_run.run().code == 0
    shutil.copy(small_run.place / "test.csv", small_run.place / "new.csv")
    Prior.seen.clear()
    return small_run


def contents(directory: Path) -> dict[str, bytes]:
    """Read all files of a directory."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


@contextmanager
def closed(directory: Path) -> Iterator[None]:
    """Let nobody write below a directory, not even root, whom modes do not hold back."""
    inner = {path: path.stat().st_mode for path in (directory, *directory.rglob("*"))}
    is_root = os.geteuid() == 0
    if is_root and subprocess.run(["chattr", "+i", *inner], check=False).returncode:
        pytest.skip("root may write everywhere, and this file system knows no attributes")
    for path, mode in [] if is_root else inner.items():
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        if is_root:
            subprocess.run(["chattr", "-i", *inner], check=True)
        for path, mode in [] if is_root else inner.items():
            path.chmod(mode)


READING = {
    "status": ("status", "run"),
    "plan": ("plan", "config.toml"),
    "predict --test": ("predict", "run", "--test", "new.csv", "--output", "out.csv"),
    "compare": ("compare", "run", "p", "stack"),
    "audit": ("audit", "run"),
    "merge --dry-run": ("merge", "run", "other", "--dry-run"),
}
WRITING = {
    name: (name, "config.toml")
    for name in ("run", "prepare", "split", "fit", "stack", "predict", "report", "sources", "check")
}


def test_a_closed_run_is_read_and_never_changed(finished: SmallRun) -> None:
    place = finished.place
    shutil.copytree(finished.directory, place / "other")
    before = contents(finished.directory)
    open_said = {name: verb(*words, cwd=place).code for name, words in READING.items()}
    for name in contents(finished.directory).keys() - before.keys():
        (finished.directory / name).unlink()
    for name, content in before.items():
        (finished.directory / name).write_bytes(content)
    with closed(finished.directory):
        for name, words in READING.items():
            ended = verb(*words, cwd=place)
            assert ended.code == open_said[name], (name, ended)
            assert "Traceback" not in ended.told, (name, ended)
        review = ("review", str(finished.directory), "--rows", "2", "--output", "review.csv")
        for name, words in {**WRITING, "review": review}.items():
            ended = verb(*words, cwd=place)
            assert ended.code == 1, (name, ended)
            assert "Traceback" not in ended.told
            assert "error: " in ended.err, (name, ended)
            assert "hint: " in ended.err, (name, ended)
            assert str(finished.directory) in ended.err, (name, ended)
    assert contents(finished.directory) == before
    assert finished.run().code == 0
    assert not Prior.seen


@pytest.mark.parametrize("room", [24, 80, 160])
def test_a_disk_without_room_is_named_and_the_run_goes_on_with_more(
    small_run: SmallRun, room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with small_disk(small_run.directory, room):
        ended = small_run.run()
        assert ended.code == 1, ended
        assert "No space left on device" in ended.err
        assert str(small_run.directory) in ended.err
        assert "hint: " in ended.err
        assert "Traceback" not in ended.err
        command = ["mount", "-o", "remount,size=20m", str(small_run.directory)]
        subprocess.run(command, check=True)
        whole = len(list(small_run.directory.glob("learners/p/fold-*/manifest.json")))
        Prior.seen.clear()
        assert small_run.run().code == 0
        assert len(Prior.seen) <= FITS - whole
        submission = small_run.submission()
    shutil.rmtree(small_run.directory)
    assert small_run.run().code == 0
    assert small_run.submission() == submission


@contextmanager
def small_disk(directory: Path, kibibytes: int) -> Iterator[None]:
    """Mount a disk of so many KiB."""
    directory.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs"]
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", *options, str(directory)], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("only root may mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_limit_of_file_sizes_is_named_and_the_run_goes_on_without(small_run: SmallRun) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))
    try:
        ended = small_run.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.code == 1
    assert "File too large" in ended.err
    assert "hint:  raise the limit" in ended.err
    assert str(small_run.directory) in ended.err
    assert small_run.run().code == 0


def test_a_run_that_was_moved_is_the_run(finished: SmallRun) -> None:
    place, submission = finished.place, finished.submission()
    (place / "elsewhere").mkdir()
    finished.directory.rename(place / "elsewhere" / "moved")
    text = finished.config.read_text()
    finished.config.write_text(text.replace('"run"', '"elsewhere/moved"'))
    for words in READING.values():
        if "other" in words:
            continue
        moved = ["elsewhere/moved" if word == "run" else word for word in words]
        ended = verb(*moved, cwd=place)
        assert ended.code == 0, (words, ended)
    assert verb("run", "config.toml", cwd=place).code == 0
    assert not Prior.seen
    assert (place / "elsewhere/moved/submission.csv").read_bytes() == submission
    assert not finished.directory.exists()


def test_a_copy_stands_alone_and_its_lock_holds_nobody_up(finished: SmallRun) -> None:
    copy, before = finished.place / "copy", contents(finished.directory)
    shutil.copytree(finished.directory, copy)
    with FileLock(copy / ".lock", timeout=0):
        assert finished.run().code == 0
        held = verb("report", copy)
        assert held.code == 1
        assert "another process writes to this run" in held.err
    (copy / "stack" / "verdict.json").write_text("{}")
    assert verb("run", copy / "config.toml").code == 0
    assert (copy / "submission.csv").read_bytes() == before["submission.csv"]
    after = contents(finished.directory)
    volatile = {"events.jsonl", "report.html", "cache/report.json"}
    assert {name: after[name] for name in after if name not in volatile} == {
        name: before[name] for name in before if name not in volatile
    }
    shutil.rmtree(finished.directory)
    assert verb("audit", copy).code == 0
    assert not Prior.seen


def test_a_run_behind_a_link_is_one_run(finished: SmallRun) -> None:
    real = finished.place / "real"
    finished.directory.rename(real)
    finished.directory.symlink_to(real)
    assert finished.run().code == 0
    with FileLock(real / ".lock", timeout=0):
        assert "another process writes to this run" in finished.run().err
    for words in READING.values():
        if "other" not in words:
            assert verb(*words, cwd=finished.place).code == 0, words
    assert finished.directory.is_symlink()
    assert not Prior.seen


@pytest.mark.parametrize("there", [".", "..", "run", "/"])
def test_a_run_is_the_same_from_any_directory(finished: SmallRun, there: str) -> None:
    submission, cwd = finished.submission(), (finished.place / there).resolve()
    config, run = (Path(os.path.relpath(p, cwd)) for p in (finished.config, finished.directory))
    assert verb("run", config, cwd=cwd).code == 0
    assert verb("status", run, cwd=cwd).code == 0
    assert verb("audit", run, cwd=cwd).code == 0
    out = finished.place / "out.csv"
    words = ("predict", run, "--test", os.path.relpath(finished.place / "new.csv", cwd))
    assert verb(*words, "--output", os.path.relpath(out, cwd), cwd=cwd).code == 0
    assert out.read_bytes() == submission
    assert not Prior.seen
