"""Directories of temporary files go with their owner, also one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ensemble.storage.owned import OwnedPlace, remove_ownerless

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from ensemble.storage.owned import OwnedPlace
(OwnedPlace("ray-", Path(sys.argv[1])).path / "log").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "log").exists()
    (tmp_path / "ray-somebody's").mkdir()
    (tmp_path / "ray-link").symlink_to(left)
    own = OwnedPlace("ray-", tmp_path)
    _age(own.path, 3600)
    _age(tmp_path / "ray-somebody's", 3600)
    remove_ownerless(tmp_path, "ray-")
    assert left.exists(), "it may just be made"
    _age(left, 3600)
    remove_ownerless(tmp_path, "ray-")
    assert not left.exists()
    (tmp_path / "ray-link").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [own.path.name, "ray-somebody's"]
    )
    own.remove()
    assert not own.path.exists()


def test_as_a_context_it_is_gone_at_the_end_whatever_happens(tmp_path: Path) -> None:
    with suppress(ValueError), OwnedPlace("ray-", tmp_path) as place:
        (place / "inside").mkdir()
        raise ValueError
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("error", [OSError, NotImplementedError])
def test_without_locks_a_directory_is_made_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    own = OwnedPlace("ray-", tmp_path)
    (own.path / "owner.lock").touch()
    _age(own.path, 3600)
    remove_ownerless(tmp_path, "ray-")
    assert own.path.exists()
    own.remove()
    assert [*tmp_path.iterdir()] == []
