"""One run, one writer: another process is refused and changes nothing; a dead one is no writer."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.cli import cli
from ensemble.config.load import load_config
from ensemble.errors import RunLockedError
from ensemble.run_dir.process_mark import own_mark
from ensemble.stages.work import writing
from tests.ensemble.kills.killed_run import LEARNERS, Scene, kill, wait_until, workers_of

if TYPE_CHECKING:
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
HANGS: list[dict[str, Any]] = [LEARNERS[0], {**LEARNERS[1], "how": "hangs"}]
WRITERS = (
    *([verb, "--quiet"] for verb in ("run", "prepare", "split", "fit", "stack", "predict")),
    ["fit", "--quiet", "--learner", "one", "--folds", "1"],
    ["report"],
)


def _snapshot(scene: Scene) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): ((status := path.stat()).st_ino, status.st_size, status.st_mtime_ns)
        for path in sorted(scene.run.rglob("*"))
        if path.name != ".lock"
    }


def _hanging(scene: Scene) -> Any:
    """Start a run and wait until its second learner hangs."""
    process = scene.start()

    def hangs() -> bool:
        states = (scene.run / "checkpoints/two").rglob("state.json")
        return bool(scene.complete_fits()) and any(one.read_text() == "5" for one in states)

    assert wait_until(hangs, process)
    return process


def test_a_second_process_is_refused_by_name_and_changes_nothing(project: Project) -> None:
    scene = Scene.of(project, HANGS)
    first = _hanging(scene)
    first.send_signal(signal.SIGSTOP)  # it would write a sign of life
    try:
        before = _snapshot(scene)
        told = scene.finish(1)
        assert f"error: another process writes to this run: process {first.pid} of" in told
        assert "hint:" in told
        for verb, *options in WRITERS:
            with pytest.raises(RunLockedError, match=f"process {first.pid} of"):
                cli.main([verb, str(scene.config), *options], standalone_mode=False)
        assert _snapshot(scene) == before
    finally:
        first.send_signal(signal.SIGCONT)
        kill(first)
    assert not scene.survivors()


@pytest.mark.parametrize("executor", ["auto", "in-process"])
def test_the_lock_of_a_dead_process_holds_nobody_up(executor: str, project: Project) -> None:
    """Neither its file, nor what its children have inherited, nor who has its number now."""
    learners = [LEARNERS[0], {**LEARNERS[1], "how": "forks"}, LEARNERS[2]]
    execution = {"executor": executor, "threads": 1}
    scene = Scene.of(project, learners, execution=execution)
    process = scene.start()
    assert wait_until((scene.run / "learners/two/fold-0/manifest.json").exists, process)
    kill(process)
    assert (scene.run / ".lock").exists()
    running = scene.run / "running.json"
    for mark in ({"started": "1"}, {"boot": "before"}, {"host": "elsewhere"}, {"pid": os.getpid()}):
        running.write_text(json.dumps({"process": {**own_mark(), "beat": 2.0, **mark}}))
        with writing(load_config(scene.config)):
            assert json.loads(running.read_text())["process"]["started"] == own_mark()["started"]
        assert not running.exists()
    scene.finish()
    kinds = {one["event"] for one in scene.events_since(0)}
    assert "fold fitted" in kinds
    if executor == "auto":
        assert not scene.survivors(), "a worker ends with all that it has started"
    for pid in map(int, (one.split(":")[0] for one in scene.survivors(0))):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_what_a_learner_has_started_in_a_worker_ends_with_a_run_that_is_killed(
    project: Project,
) -> None:
    learners = [{**LEARNERS[0], "how": "forks", "seconds": 0.0}, HANGS[1]]
    scene = Scene.of(project, learners, execution={"executor": "processes", "workers": 2})
    process = scene.start()
    assert wait_until(lambda: len(workers_of(scene)) > 2, process), "workers, and what one forked"
    kill(process)
    assert not scene.survivors()
