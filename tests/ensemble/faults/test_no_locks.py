"""File systems without locks, as some that lie on other machines: a file stands for the lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from tests.fixture_types import Project

fcntl = pytest.importorskip("fcntl")


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.mark.filterwarnings("ignore:flock not supported:UserWarning")
def test_it_is_told_how_to_take_away_what_a_dead_process_has_left(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.config()
    lock = Path(config.run_dir) / ".lock"
    lock.parent.mkdir()
    lock.touch()  # as a process leaves it on a machine that has locks
    monkeypatch.setattr(fcntl, "flock", _refuse)
    with (
        pytest.raises(errors.RunLockedError, match="has no locks: if no process .* remove .lock"),
        writing(config),
    ):
        pass
    lock.unlink()
    with writing(config):
        assert lock.exists()
        with (
            pytest.raises(errors.RunLockedError, match=f"process {os.getpid()} of"),
            writing(config),
        ):
            pass
    assert not lock.exists()


def test_a_filelock_that_makes_no_file_in_its_place_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("ensemble.stages.work.FileLock.acquire", give_up)
    with (
        pytest.raises(errors.EnsembleError, match=r"has no locks(.|\n)*newer filelock"),
        writing(project.config()),
    ):
        pass
