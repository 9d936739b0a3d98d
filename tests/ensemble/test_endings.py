"""Signals while things are put away: they wait, once; and the first of several counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from ensemble import interrupts
from ensemble.interrupts import Endings, Interrupted, uninterrupted
from ensemble.stages.work import writing
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project


def test_a_signal_waits_until_things_are_put_away() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        for step in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            done.append(step)
    assert done == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    with uninterrupted():
        done.append(3)
    thread = Thread(target=_undisturbed_in_a_thread, args=(done,))
    thread.start()
    thread.join()
    assert done == [0, 1, 2, 3, 4]


def _undisturbed_in_a_thread(done: list[int]) -> None:
    with uninterrupted():
        done.append(4)


def test_the_first_signal_ends_the_program_and_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    endings, left = Endings(), list[int]()
    monkeypatch.setattr(os, "_exit", left.append)
    endings.install()
    os.kill(os.getpid(), signal.SIGHUP)
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert (endings.received, caught.value.number) == (signal.SIGTERM, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert not left
    monkeypatch.setattr(interrupts, "PATIENCE", 0.0)
    os.kill(os.getpid(), signal.SIGINT)
    assert left == [143], "what puts away hangs"


def test_a_second_ctrl_c_in_a_notebook_leaves_no_lock_and_no_sign_of_life(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.config()
    prepare_and_split(config)
    swept: list[Path] = []

    def sweep(run: Path) -> None:
        swept.append(run)
        if len(swept) == 2:  # at the end
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("ensemble.stages.work.sweep_temporary", sweep)
    with pytest.raises(KeyboardInterrupt) as kept, writing(config):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert len(swept) == 2 and kept.traceback, "a notebook keeps it, with all that it refers to"
    assert not (project.path / "run" / "running.json").exists()
    with writing(config) as reporter:
        assert reporter.run == project.path / "run"


def test_the_program_says_how_it_ended(tmp_path: Path) -> None:
    """Wherever it is: while it reads its input, too."""
    program = (
        "import os, signal, sys; import ensemble.cli as cli;"
        "cli.cli = lambda **_: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 143
    assert done.stderr == "terminated: run the same command again to resume\n"
