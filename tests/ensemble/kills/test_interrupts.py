"""Ctrl-C, also twice, and SIGTERM: the run ends at once, leaves nothing running, and resumes."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.ensemble.kills.killed_run import (
    LEARNERS,
    PATIENCE,
    SEED,
    Scene,
    generator,
    undisturbed,
    wait_until,
)

if TYPE_CHECKING:
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
ENDS = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated"), "SIGHUP": (129, "hung up")}
SLOW: list[dict[str, Any]] = [{**one, "seconds": 1.5} for one in LEARNERS[:2]]


def _fold_is_there(scene: Scene) -> bool:
    return any(one["event"] == "fold fitted" for one in scene.events_since(0))


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        ("SIGINT", "processes"),
        ("SIGINT", "in-process"),
        ("SIGTERM", "processes"),
        ("SIGHUP", "in-process"),
    ],
)
def test_a_signal_once_and_again_ends_a_run_that_resumes(
    name: str, executor: str, project: Project
) -> None:
    random, (code, word) = generator(f"{name} {executor}"), ENDS[name]
    execution = {"executor": executor, "workers": 2, "threads": 1}
    scene = Scene.of(project, SLOW, execution=execution)
    process = scene.start()
    assert wait_until(lambda: _fold_is_there(scene), process)
    process.send_signal(signal.Signals[name])
    time.sleep(0.05 * random.random())
    process.send_signal(signal.Signals[name])
    process.wait(PATIENCE)
    said = scene.said.read_text()
    # While Python itself goes, the second ends it: a shell has the same code for both.
    assert process.returncode in (code, -signal.Signals[name]), said
    assert f"{word}: run the same command again to resume" in said
    assert "Traceback" not in said, f"{said}, seed {SEED}"
    assert not scene.survivors(3), "a process outlived it"
    scene.check_status()
    assert not (scene.run / "running.json").exists()
    kept = scene.complete_fits()
    assert kept and not list(scene.run.rglob(".tmp-*"))
    events = [one["event"] for one in scene.events_since(0)]
    assert events[-1] == "stage interrupted"
    scene.finish()
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == undisturbed(project, SLOW)[0]
