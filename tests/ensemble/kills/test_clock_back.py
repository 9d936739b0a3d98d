"""A clock that goes back, between commands and while they run: nothing is stale or made again.

Files keep the times of the system, so to a program whose clock is back they are of the future.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.ensemble.kills.killed_run import (
    LEARNERS,
    Scene,
    generator,
    kill,
    undisturbed,
    wait_until,
    waiting,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
CLOCK = """
import os, time

_began, _time, _ns = time.monotonic(), time.time, time.time_ns
_after, _back = map(float, os.environ["TEST_CLOCK"].split())


def gone_back():
    return _back if time.monotonic() - _began > _after else 0.0


time.time = lambda: _time() - gone_back()
time.time_ns = lambda: _ns() - int(gone_back() * 10**9)
"""
# Libraries in C do not stand another datetime: only modules of ours get one.
DATES = """
import datetime, sitecustomize
from ensemble.run_dir import reporter, running
from ensemble.run_dir.status import forecast

class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        seconds = sitecustomize.gone_back()
        return datetime.datetime.now(tz) - datetime.timedelta(seconds=seconds)

for module in (reporter, running, forecast):
    module.datetime = Shifted
"""
DAY = 86_400.0


def _clock(place: Path, after: float, back: float) -> dict[str, str]:
    """Give the variables of a process whose clock goes back after some seconds."""
    (place / "clock").mkdir(exist_ok=True)
    (place / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = str(place / "clock")
    return {"PYTHONPATH": path, "TEST_CLOCK": f"{after} {back}", "TEST_PRELUDE": DATES}


def _numbers(value: Any) -> list[float]:
    """Give all numbers of a status that count seconds."""
    if isinstance(value, dict):
        own = [v for k, v in value.items() if "seconds" in k and isinstance(v, int | float)]
        return own + [n for inner in value.values() for n in _numbers(inner)]
    return [n for inner in value for n in _numbers(inner)] if isinstance(value, list) else []


def test_a_clock_that_goes_back_changes_nothing(project: Project) -> None:
    random = generator("clock")
    learners = [LEARNERS[0], *waiting(project, LEARNERS[1:2])]
    execution = {"executor": "auto", "workers": 2, "threads": 1}
    expected, _ = undisturbed(project, learners)
    scene = Scene.of(project, learners, execution=execution)
    scene.variables = _clock(scene.place, 2 * random.random(), DAY)
    process = scene.start()
    assert wait_until(scene.complete_fits, process)
    scene.variables = _clock(scene.place, 0, 3 * DAY)
    told = json.loads(scene.finish(0, "status", "--json"))
    assert told["state"] == "running" and min(_numbers(told)) >= 0
    kill(process)
    scene.gate.touch()
    scene.check_status()
    kept = scene.complete_fits()
    scene.variables = _clock(scene.place, 0, 2 * DAY)
    scene.finish(0, "run", "--time-limit", "1h")
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == expected
    events = scene.events_since(0)
    assert min(one["seconds"] for one in events if "seconds" in one) >= 0
    assert events[0]["time"] > events[-1]["time"], "the clock has gone back"
    for back in (3 * DAY, 0.0):
        before, at = scene.complete_fits(), scene.events.stat().st_size
        scene.variables = _clock(scene.place, 0, back)
        scene.finish()
        assert scene.complete_fits() == before
        made = {one["stage"] for one in scene.events_since(at) if "stage" in one}
        assert made.isdisjoint({"stack", "predict", "report"}), "what is there is no older for it"
    assert scene.submission() == expected
