"""``kill -9`` of what a cluster of this machine is made of: driver, node and workers."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.ensemble.kills.killed_run import (
    KILLS,
    LEARNERS,
    PATIENCE,
    Scene,
    generator,
    processes_of,
    undisturbed,
    wait_until,
    waiting,
)

if TYPE_CHECKING:
    from tests.ensemble.kills.killed_run import Process
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
pytest.importorskip("ray")
VICTIMS = {
    "node": "raylet/raylet",
    "Ray's worker": "  fold ",  # it is called by what it fits
    "worker": "ensemble.oof.worker_process",
}
"""What the command line of each holds, beside the driver."""


def _fitting(scene: Scene) -> Process:
    """Start a run, and wait until a worker of it is there."""
    for _ in range(3):
        process = scene.start()
        if wait_until(lambda: processes_of(scene, VICTIMS["worker"]), process):
            return process
        assert "could not be started" in scene.said.read_text(), "the machine may be too busy"
    pytest.skip("the machine is too busy to start a cluster")


def _send(scene: Scene, process: Process, kind: str, number: signal.Signals, seconds: float) -> int:
    """Send a signal to one of a kind, some time after it has started; says how many got it."""

    def victims() -> list[int]:
        return [process.pid] if kind == "driver" else processes_of(scene, VICTIMS[kind])

    if not wait_until(victims, process):
        return 0
    time.sleep(seconds)
    for pid in victims()[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return 1
    return 0


@pytest.mark.parametrize("number", range(max(1, KILLS // 24)))
def test_whatever_is_killed_the_same_command_ends_in_the_same_bytes(
    number: int, project: Project
) -> None:
    random = generator(f"ray {number}")
    learners = [LEARNERS[0], *waiting(project, LEARNERS[1:2])]
    scene = Scene.of(project, learners, execution={"executor": "ray", "threads": 1})
    scene.variables = {"XDG_CACHE_HOME": str(project.path / "cache")}
    for kind, name, code in (
        ("driver", "SIGKILL", -9),
        ("node", "SIGKILL", None),
        ("driver", "SIGTERM", 143),
    ):
        kept, process = scene.complete_fits(), _fitting(scene)
        assert _send(scene, process, kind, signal.Signals[name], 2 * random.random())
        assert process.wait(PATIENCE) == code or (code is None and process.returncode)
        assert not scene.survivors(PATIENCE), f"{kind}, {name}"
        assert kept.items() <= scene.complete_fits().items()
        scene.check_status()
    at, kept, process = scene.events.stat().st_size, scene.complete_fits(), _fitting(scene)
    killed = _send(scene, process, "worker", signal.SIGKILL, random.random())
    killed += _send(scene, process, "Ray's worker", signal.SIGKILL, random.random())
    scene.gate.touch()
    said = scene.ended(process)
    lost = [one for one in scene.events_since(at) if one["event"] == "fit lost"]
    assert killed and len(lost) <= killed, said
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == undisturbed(project, learners)[0]
    assert not scene.survivors(PATIENCE)
