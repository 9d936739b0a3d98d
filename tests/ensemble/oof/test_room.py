"""What a fit is given of GPUs, memory and cores, and how it waits for them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors, processes
from ensemble.battles.held_out import HeldOut
from ensemble.oof import clock, crew
from ensemble.oof.agenda import Agenda
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.crew import Crew
from ensemble.oof.executors import execute
from ensemble.oof.room import Room
from ensemble.oof.workers import Outcome, Task
from ensemble.plugin.base import Resources
from ensemble.processes import visible_gpus
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.beating_learner import prepare_beats
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixture_types import Project


@pytest.mark.slow
def test_each_worker_has_a_device_to_itself(
    project: Project, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    config, spec, reporter = prepare_beats(project, "processes")
    execution = config.execution.model_copy(update={"devices": ["cuda:0", "cuda:1"]})
    config = config.model_copy(update={"execution": execution})
    assert config.execution.slots() == 2
    execute(config, [(spec, fold) for fold in range(3)], reporter)
    places = [reporter.run / f"learners/x/fold-{fold}/model/device" for fold in range(3)]
    assert sorted(place.read_text() for place in places) in (
        ["cuda of 3", "cuda of 3", "cuda of 5"],
        ["cuda of 3", "cuda of 5", "cuda of 5"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "seen"), [(1, {"GPU-1", "GPU-4"}), (2, {"GPU-1,GPU-4", "GPU-4,GPU-1"}), (0, {"1,4"})]
)
def test_gpus_that_the_driver_tells_of_are_given_to_one_fold_each(
    gpus: int,
    seen: set[str],
    project: Project,
    installed: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    lines = "".join(f"{i}, GPU-{i}, Model, 80000, 9.0\n" for i in range(6))
    monkeypatch.setattr("ensemble.processes.gpu_table", lambda: lines)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,4")
    config, spec, reporter = prepare_beats(project, "processes", gpus=gpus)
    execute(config, [(spec, fold) for fold in range(3)], reporter)
    places = [reporter.run / f"learners/x/fold-{fold}/model" for fold in range(3)]
    found = {(place / "device").read_text() for place in places}
    assert found <= {f"auto of {names}" for names in seen}
    assert len({(place / "process").read_text() for place in places}) == 3, "fresh processes"


def test_a_fit_waits_for_the_memory_that_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.oof.room.free_memory", lambda: 10 << 30)
    monkeypatch.setattr("ensemble.oof.room._GLANCE", 0.01)
    warned: list[str] = []
    room, together, most = Room(["0"], warned.append), 0, 0
    lock, used = Lock(), []

    def fit(need: Resources) -> None:
        nonlocal together, most
        with room.taken(need, "x  fold 0", lambda: False) as gpus:
            with lock:
                together += int(need.memory_gib)
                most = max(most, together)
                used.append(gpus)
            time.sleep(0.02)
            with lock:
                together -= int(need.memory_gib)

    needs = [Resources(memory_gib=4.0, gpus=i % 2) for i in range(8)]
    threads = [Thread(target=fit, args=(need,)) for need in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 8 and sorted(used) == [()] * 4 + [("0",)] * 4
    assert not warned
    fit(Resources(memory_gib=16.0, gpus=3))
    assert used[-1] == ("0",), "more than there is, it has all"
    assert warned == [
        "x  fold 0 declares 16 GiB of memory, and 10 GiB are free: nothing is fitted beside it",
        "x  fold 0 declares 3 GPUs, and has the 1 there are",
    ]


def test_a_fit_that_has_waited_for_room_has_no_more_time_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, limits = [0.0], []
    monkeypatch.setattr(clock, "seconds", lambda: hands[0])

    class Waiting(Room):
        @contextmanager
        def taken(self, *_: Any) -> Iterator[tuple[str, ...]]:
            hands[0] += 60.0
            yield ()

    class Idle:
        where, is_alive = "here", True

        def __init__(self, *_: Any) -> None: ...

        def fit(self, task: Task, _progress: Any) -> Outcome:
            limits.append(task.spec.time_limit)
            return Outcome(task.spec, task.held_out, fitted=True, seconds=0.0)

        def end(self) -> None: ...

    monkeypatch.setattr(crew, "Worker", Idle)
    config = project.config([{"name": "x", "plugin": "prior"}])
    space, budget = prepared(config), Budget(100.0)
    (spec,) = learner_specs(config)
    attempt = Attempt(config, Reporter(space.run), {}, budget)
    tasks = [Task(spec, HeldOut((fold,))) for fold in range(3)]
    with Crew(config, Agenda(tasks), lasting=False, admit=attempt.admit, room=Waiting()) as working:
        working.start([None])
        assert len(list(working.all_ended())) == 1
    assert limits == [40.0]
    assert [fit.folds for _, fit in budget.undone] == [(1,), (2,)]


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, ["GPU-ab0", "GPU-ab1", "GPU-c2"]),
        ("", []),
        ("-1", []),
        ("2, 0", ["GPU-c2", "GPU-ab0"]),
        ("GPU-c,1", ["GPU-c2", "GPU-ab1"]),
        ("GPU-ab,1", []),  # two begin so
        ("1,-1,0", ["GPU-ab1"]),
        ("7,0", []),
        ("0,0,GPU-ab0", ["GPU-ab0"]),
        ("MIG-11,MIG-22", ["MIG-11", "MIG-22"]),
    ],
)
def test_visible_gpus_are_those_that_cuda_sees(
    visible: str | None, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "0, GPU-ab0, M, 8, 9.0\n1, GPU-ab1, M, 8, 9.0\n2, GPU-c2, M, 8, 9.0\nNo device\n"
    monkeypatch.setattr("ensemble.processes.gpu_table", lambda: lines)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == gpus


@pytest.mark.parametrize("visible", ["", "3", " 3 "])
def test_a_device_that_the_environment_hides_is_refused(
    visible: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    execution = {"executor": "processes", "devices": ["cuda:0", "cuda:1"]}
    config = project.config([{"name": "x", "plugin": "prior"}], execution=execution)
    space = prepared(config)
    with pytest.raises(errors.ConfigError, match=r"there is no cuda:\d(.|\n)*execution.devices"):
        execute(config, [(spec, 0) for spec in learner_specs(config)], Reporter(space.run))


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's share is joblib's to find: many cores may be there, and two of them ours."""
    monkeypatch.setattr("joblib.externals.loky.backend.context._cpu_count_cgroup", lambda _: 1)
    assert processes.available_cores() == 1
    monkeypatch.undo()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert processes.available_cores() == 1
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "8")
    everywhere = processes.available_cores()
    cores = {"1": 1, "0": 1, "": everywhere, "4096": everywhere, "x": everywhere}
    for said, found in cores.items():
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", said)
        assert processes.available_cores() == found


def test_no_more_workers_are_started_than_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_largest_so_far", lambda: 1 << 30)
    monkeypatch.setattr(processes, "free_memory", lambda: 5 << 30)
    assert processes.affordable_copies() == 4
    monkeypatch.setattr(processes, "free_memory", lambda: 0)
    assert processes.affordable_copies() == 0
    monkeypatch.setattr(processes, "free_memory", lambda: None)
    assert processes.affordable_copies() == processes.available_cores()
