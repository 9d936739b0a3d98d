"""Run directories that are read-only, full, moved, copied, linked, or named from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
    inner = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    is_root = os.geteuid() == 0
    if is_root and subprocess.run(["chattr", "+i", *inner], check=False).returncode:
        pytest.skip("root may write everywhere, and this file system knows no attributes")
    for path in [] if is_root else inner:
        path.chmod(0o555)
    try:
        yield
    finally:
        if is_root:
            subprocess.run(["chattr", "-i", *inner], check=True)
        for path in [] if is_root else inner:
            path.chmod(0o755)


READING = {
    "status": ("status", "run"),
    "plan": ("plan", "config.toml"),
    "predict --test": ("predict", "run", "--test", "new.csv", "--output", "out.csv"),
    "compare": ("compare", "run", "p", "mean"),
    "audit": ("audit", "run"),
    "merge --dry-run": ("merge", "run", "other", "--dry-run"),
    "review elsewhere": ("review", "run", "--rows", "2", "--output", "review.csv"),
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
        for name, words in WRITING.items():
            ended = verb(*words, cwd=place)
            assert ended.code == 1, (name, ended)
            assert "Traceback" not in ended.told
            assert "error: " in ended.err, (name, ended)
            assert "hint: " in ended.err, (name, ended)
            assert str(finished.directory) in ended.err, (name, ended)
    assert contents(finished.directory) == before
    assert finished.run().code == 0
    assert not Prior.seen
