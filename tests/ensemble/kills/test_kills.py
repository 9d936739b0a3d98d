"""``kill -9`` at random moments of every stage, of the run's own process and of its workers.

There are at least 24 kills; ``ENSEMBLE_TEST_KILLS=300`` asks for more, and ``ENSEMBLE_TEST_SEED``
repeats the moments of a test that failed, as far as a machine repeats anything.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest

from tests.ensemble.kills.killed_run import (
    KILLS,
    LEARNERS,
    PATIENCE,
    SEED,
    STAGES,
    Scene,
    generator,
    kill,
    undisturbed,
    wait_until,
    waiting,
    workers_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
FIGURES = {"TEST_FIGURES": "yes"}
_STARTING = 1.5
"""Seconds within which a process starts, on a machine that is not busy."""


def _kill_in(scene: Scene, stage: str, seconds: float, random: Random) -> str:
    """Kill a run at a moment of a stage, or of a later one; says where that was."""
    offset = scene.events.stat().st_size if scene.events.exists() else 0
    later = STAGES[STAGES.index(stage) :] if stage in STAGES else ()

    def begun() -> bool:
        return any(
            one["event"] == "stage started" and one["stage"] in later
            for one in scene.events_since(offset)
        )

    process = scene.start()
    if later and not wait_until(begun, process):
        return "end"
    time.sleep(seconds * random.random())
    if process.poll() is not None:
        return "end"
    kill(process)
    return _place(scene.events_since(offset))


def _place(events: list[dict[str, Any]]) -> str:
    """Say in which stage the process was that wrote the events, or between which."""
    stages = [one for one in events if one["event"].startswith("stage ")]
    if not stages:
        return "start"
    return str(stages[-1]["stage"]) if stages[-1]["event"] == "stage started" else "between"


def _killed_all_the_way(
    scene: Scene, lasting: dict[str, float], random: Random, each: int
) -> Iterator[str]:
    """Kill a run from its start to its end, some times in each stage; gives where each kill was."""
    scene.gate.unlink(missing_ok=True)
    for stage in ("start", *STAGES):
        if stage == "stack":
            scene.gate.touch()  # before, no kill comes so late that nothing is left to stack
        for _ in range(each):
            yield from _killed_once(scene, stage, lasting.get(stage, _STARTING), random)
    kept = scene.complete_fits()
    scene.finish()
    assert kept.items() <= scene.complete_fits().items(), "a finished fit was made again"


def _killed_once(scene: Scene, stage: str, lasting: float, random: Random) -> Iterator[str]:
    """Kill a run until it is killed in a stage: one that came further is put back."""
    before = scene.run.with_name("before")
    goes_back = stage != "fit"  # where a stage is short, and no worker is about to end
    if goes_back:
        assert not scene.survivors()
        _copy(scene.run, before)
    for attempt in range(8):
        kept = scene.complete_fits()
        place = _kill_in(scene, stage, 0.8 * lasting / 2**attempt, random)
        scene.check_status()
        assert kept.items() <= scene.complete_fits().items(), "a finished fit was made again"
        if place != "end":
            yield place
        if place == stage or not goes_back:
            break
        assert not scene.survivors()
        _copy(before, scene.run)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target, symlinks=True)


def test_a_run_that_is_killed_in_every_stage_ends_as_one_that_is_not(project: Project) -> None:
    random, killed = generator("stages"), list[str]()
    learners = [LEARNERS[0], *waiting(project, LEARNERS[1:2]), LEARNERS[2]]
    expected, lasting = undisturbed(project, learners, "auto", FIGURES)
    each = min(3, ceil(KILLS / (len(STAGES) + 1)))
    for number in count():
        if len(killed) >= KILLS:
            break
        scene = Scene.of(project, learners, f"run-{number}")
        scene.variables |= FIGURES
        killed += _killed_all_the_way(scene, lasting, random, each)
        assert scene.submission() == expected
        assert not list(scene.run.rglob(".tmp-*"))
        assert not scene.survivors()
    told = {place: killed.count(place) for place in sorted({*killed})}
    print(f"{len(killed)} kills: {told}")
    # All but one: a stage that takes a moment may be over before the signal comes, each time.
    assert len({"start", *STAGES} - {*told}) <= 1, f"{told}, seed {SEED}"


@pytest.mark.parametrize("executor", ["processes", "auto"])
def test_workers_that_are_killed_fail_alone_and_the_same_command_goes_on(
    executor: str, project: Project
) -> None:
    random, killed = generator(f"workers {executor}"), 0
    learners = waiting(project, LEARNERS[:2])
    expected, _ = undisturbed(project, learners)
    execution = {"executor": executor, "workers": 2, "threads": 1}
    scene = Scene.of(project, learners, execution=execution)
    while killed < max(3, KILLS // 8):
        scene.gate.unlink(missing_ok=True)
        process, kept = scene.start(), scene.complete_fits()
        if not wait_until(lambda: workers_of(scene), process):
            break  # all is fitted
        time.sleep(2 * random.random())
        if victims := workers_of(scene):
            with suppress(ProcessLookupError):  # of a worker without a job, which ends
                os.kill(random.choice(victims), signal.SIGKILL)
                killed += 1
        scene.gate.touch()
        if process.wait(PATIENCE):
            said = scene.ended(process, 1)
            assert "its process died after" in said and "killed by SIGKILL" in said
            assert "1 of 2 learners failed; everything else is done and stored" in said
            assert "    ensemble fit" in said, "the command that tries it again"
        assert kept.items() <= scene.complete_fits().items(), f"made again, seed {SEED}"
    assert killed
    kept = scene.complete_fits()
    scene.finish()
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == expected
    assert not scene.survivors()
