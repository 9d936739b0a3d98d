"""What trials write is gone with them: also where a process is killed in the midst of one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import IncompleteRunError
from ensemble.pipeline import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

pytestmark = pytest.mark.kit

DIES = """
import os, signal
from ensemble import BaseLearner


class Dies(BaseLearner):
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        os.kill(os.getpid(), signal.SIGKILL)

    def predict_logits(self, battles): ...

    def save(self, directory): ...

    def load(self, directory): ...
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory that temporary files go to."""
    place = tmp_path / "temporary files"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def _check(name: str, place: Path) -> int:
    program = [sys.executable, "-m", "ensemble", "check", name]
    return subprocess.run(program, cwd=place, check=False, capture_output=True).returncode


def test_the_next_check_removes_what_one_that_was_killed_has_left(
    tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "dies.py").write_text(DIES)
    assert _check("dies.py:Dies", tmp_path) < 0
    (left,) = temporary.iterdir()
    then = time.time() - 3600
    os.utime(left, (then, then))
    assert _check("handcrafted", tmp_path) == 0
    assert [*temporary.iterdir()] == []


def test_a_run_removes_what_a_worker_that_died_has_left(project: Project, temporary: Path) -> None:
    (project.path / "dies.py").write_text(DIES)
    learners: list[dict[str, Any]] = [{"name": "dies", "plugin": "dies.py:Dies"}]
    with pytest.raises(IncompleteRunError, match="was killed by SIGKILL"):
        run(project.config(learners))
    assert [*temporary.iterdir()] == []
