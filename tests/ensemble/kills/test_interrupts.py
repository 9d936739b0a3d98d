"""Ctrl-C, also twice, and SIGTERM: the run ends at once, leaves nothing running, and resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.ensemble.kills.killed_run import (
    LEARNERS,
    PATIENCE,
    SEED,
    Scene,
    generator,
    undisturbed,
    wait_until,
    waiting,
)

if TYPE_CHECKING:
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
ENDS = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated"), "SIGHUP": (129, "hung up")}


WAITS = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup has set
from ensemble.interrupts import Endings

Endings().install()  # before Polars is there, as a command does
from ensemble.config.settings import Config
from ensemble.stages.work import writing
import polars
with writing(Config.model_validate_json(sys.argv[1])):
    print("waits", flush=True)
    os.read(os.pipe()[0], 1)
"""


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
    learners = [LEARNERS[0], *waiting(project, LEARNERS[1:2])]
    scene = Scene.of(project, learners, execution=execution)
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
    scene.gate.touch()
    scene.finish()
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == undisturbed(project, learners)[0]


@pytest.mark.parametrize("name", ENDS)
def test_a_signal_ends_a_wait_though_polars_has_put_its_handler_before(
    name: str, project: Project
) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}]).model_dump_json()
    command = [sys.executable, "-c", WAITS, config]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout and process.stdout.readline() == b"waits\n"
        time.sleep(1.0)  # until it waits
        process.send_signal(signal.Signals[name])
        try:
            assert process.wait(30)
        finally:
            process.kill()
