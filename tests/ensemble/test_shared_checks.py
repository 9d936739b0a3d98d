"""Contracts asked in one process: each learner answers for itself alone, whatever another did."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.battles.held_out import HeldOut
from ensemble.oof.workers import Worker
from ensemble.run_dir.reporter import Reporter
from ensemble.stages import contracts
from ensemble.stages.fit_list import chosen_specs
from tests.ensemble.oof.plugin_text import PREDICTS_LOGITS
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from ensemble.failure import Failure
    from tests.fixture_types import Project

pytestmark = [pytest.mark.kit, pytest.mark.slow]

PLUGIN = '''
import json, os, threading, time
import numpy as np
from ensemble import BaseLearner

FILLED = []

class Odd(BaseLearner):
    """Learns the mean, and does one odd thing."""
    cheap = True
    def __init__(self, does: str = "", teachers: tuple[str, ...] = ()) -> None:
        self.does, self.teachers = does, teachers
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        if self.does == "dies":
            os.kill(os.getpid(), 9)
        if self.does == "raises":
            raise ValueError("boom")
        if self.does == "hangs":
            time.sleep(600)
        if self.does == "lingers" and threading.active_count() < 5:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        if self.does == "leaves a bomb":
            FILLED.append(1)
        if self.does == "is hit" and FILLED:
            os.kill(os.getpid(), 9)
        if self.does == "is hurt" and FILLED:
            raise ValueError("another has left something")
        self.logits_ = np.log(labels.mean(axis=0) + 1e-9)
        return self
'''


def _checked(
    project: Project, monkeypatch: pytest.MonkeyPatch, *does: str, limits: float | None = None
) -> tuple[dict[str, Failure], int]:
    """Check learners one after the other; gives what failed, and how many processes it took."""
    (project.path / "odd.py").write_text(PLUGIN + PREDICTS_LOGITS)
    started: list[Worker] = []

    class Counted(Worker):
        def __init__(self, *options: Any, **named: Any) -> None:
            started.append(self)
            super().__init__(*options, **named)

    monkeypatch.setattr(contracts, "Worker", Counted)
    named: list[dict[str, Any]] = [
        {"name": f"l{i}", "plugin": "odd.py:Odd", "does": one} for i, one in enumerate(does)
    ]
    for one in named if limits else ():
        one["time_limit"] = limits
    config = project.config(named)
    space = prepared(config)
    failures: dict[str, Failure] = {}
    fits = [(spec, HeldOut.of(0)) for spec in chosen_specs(config, None)]
    contracts.check_contracts(config, fits, Reporter(space.run), failures)
    assert not any(worker.is_alive for worker in started)
    unchecked = contracts.unchecked_names(space, [spec for spec, _ in fits])
    assert unchecked == set(failures), "whoever passed is not asked again"
    return failures, len(started)


def test_light_learners_are_asked_in_one_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _checked(project, monkeypatch, "", "", "") == ({}, 1)


def test_whoever_kills_the_process_or_raises_fails_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, started = _checked(project, monkeypatch, "", "dies", "", "raises", "")
    assert set(failures) == {"l1", "l3"}
    assert "SIGKILL" in failures["l1"].reason and "boom" in failures["l3"].reason
    assert started == 5, "each is asked twice, the second time in a process of its own"


def test_whoever_hangs_fails_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, _ = _checked(project, monkeypatch, "", "hangs", "", limits=8.0)
    assert set(failures) == {"l1"} and "time_limit = 8 s" in failures["l1"].reason


@pytest.mark.parametrize("what", ["is hit", "is hurt"])
def test_nobody_fails_by_what_another_has_left(
    project: Project, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    assert _checked(project, monkeypatch, "leaves a bomb", what, "") == ({}, 2)


def test_a_process_that_is_not_as_it_was_is_asked_no_more(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, started = _checked(project, monkeypatch, "lingers", "")
    assert "l1" not in failures and started == 2


def test_a_process_that_has_grown_is_asked_no_more(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "_LARGEST", 1)
    assert _checked(project, monkeypatch, "", "") == ({}, 2)


def test_a_fresh_process_imports_next_to_nothing() -> None:
    """One is started for each learner: what it imports is most of what a check takes."""
    program = "import sys, ensemble.testing.fresh_process; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "ensemble.testing.fresh_process" in modules
    assert not {"ensemble.testing.kit", "ensemble.oof.check", "pydantic"} & {*modules}
