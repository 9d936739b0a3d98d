from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors, processes
from ensemble.battles.held_out import HeldOut
from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.oof import clock, crew
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.crew import Crew
from ensemble.oof.executors import execute
from ensemble.oof.room import Room
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.workers import Outcome, Task
from ensemble.plugin.base import Resources
from ensemble.plugin.manager import use_manager
from ensemble.processes import visible_gpus
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble import Config
    from tests.fixture_types import Project

PLUGIN = """
import os
import time
from pathlib import Path
import numpy as np
from ensemble import BaseLearner, Resources, hookimpl
from ensemble.errors import LearnerError

class Own(LearnerError):
    def __init__(self, cause):
        super().__init__(f"no luck with {cause}", hint="try again")

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

class Beats(BaseLearner):
    cheap = True
    def __init__(
        self, file: str = "", fails: str = "", wait: float = 0.0, gpus: int = 0
    ) -> None:
        self.file, self.fails, self.wait, self.gpus = file, fails, wait, gpus
    @property
    def resources(self):
        return Resources(gpus=self.gpus)
    def dependencies(self):
        if self.fails == "odd":
            raise Odd("this", "that")
        return {}
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.device = context.device
        if self.fails == "dies" and self.file != str(os.getpid()):
            os.kill(os.getpid(), 9)
        print("heard from fit")
        if self.fails == "raises":
            raise ValueError("boom")
        if self.fails == "own":
            raise Own("this")
        if self.fails == "plain":
            raise LearnerError("no luck today", hint="try tomorrow")
        while self.fails == "after":
            if Path(self.file).exists():
                raise LearnerError("no luck after all")
        time.sleep(self.wait)
        for beat in range(400 if "/" in self.file else 0):
            Path(self.file).write_text(str(beat))
            time.sleep(0.05)
        return self
    def predict_logits(self, battles):
        return np.zeros((len(battles), 3), dtype=np.float32)
    def save(self, directory):
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        (directory / "device").write_text(f"{self.device} of {seen}")
        (directory / "process").write_text(f"{os.getpid()}")
    def load(self, directory):
        return self

@hookimpl
def register_base_learners(register):
    register("beats", Beats)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a third-party plugin where this process and all that it starts find it."""
    site = tmp_path / "site"
    info = site / "beats-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "beating_learner.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ensemble]\nbeats = beating_learner\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    use_manager(None)


def _prepared(
    project: Project, executor: str, **learner: Any
) -> tuple[Config, LearnerSpec, Reporter]:
    learners = [{"name": "x", "plugin": "beats", **learner}]
    config = project.config(learners, execution={"executor": executor, "threads": 1})
    space = prepared(config)
    (item,) = config.learners
    spec = LearnerSpec(item.name, item.plugin, item.parameters, Path(config.base_dir))
    return config, spec, Reporter(space.run)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["auto", "in-process", "processes"])
def test_a_fold_that_is_named_twice_is_fitted_once(
    executor: str, project: Project, installed: None
) -> None:
    config, spec, reporter = _prepared(project, executor)
    assert execute(config, [(spec, 0), (spec, 0)], reporter) == 1
    assert execute(config, [(spec, 0), (spec, 1)], reporter) == 1
    events = [json.loads(line) for line in (reporter.run / "events.jsonl").read_text().splitlines()]
    told = sorted((event["event"], event["fold"]) for event in events)
    assert told == [("fold fitted", 0), ("fold fitted", 1), ("fold kept", 0)]


@pytest.mark.slow
def test_each_worker_has_a_device_to_itself(
    project: Project, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    config, spec, reporter = _prepared(project, "processes")
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
    config, spec, reporter = _prepared(project, "processes", gpus=gpus)
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
    with Crew(config, tasks, lasting=False, admit=attempt.admit, room=Waiting()) as working:
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


def test_an_error_of_a_worker_comes_as_it_was_raised(project: Project, installed: None) -> None:
    config, spec, reporter = _prepared(project, "processes", fails="plain")
    with pytest.raises(errors.LearnerError, match="no luck today") as caught:
        execute(config, [(spec, 0)], reporter)
    assert type(caught.value) is errors.LearnerError
    assert caught.value.hint == "try tomorrow"
    assert 'learner "x" (plugin "beats"), fold 0' in str(caught.value.where)


@pytest.mark.slow
def test_a_worker_that_dies_is_told_with_what_it_was_fitting(
    project: Project, installed: None
) -> None:
    config, spec, reporter = _prepared(project, "processes", fails="dies")
    healthy = LearnerSpec("y", "beats", {}, spec.base_directory)
    message = "its process died after .* it was killed by SIGKILL(.|\n)*run the same"
    with pytest.raises(errors.EnsembleError, match=message) as caught:
        execute(config, [(healthy, 0), (spec, 1), (healthy, 1)], reporter)
    assert caught.value.where == "x  fold 1"


@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_the_traceback_of_a_plugin_is_kept_among_the_events(
    executor: str, project: Project, installed: None
) -> None:
    config, spec, reporter = _prepared(project, executor, fails="raises")
    with (
        pytest.raises(errors.LearnerError, match=r"boom(.|\n)*beating_learner\.py:\d+"),
        reporter.stage("fit"),
    ):
        execute(config, [(spec, 0)], reporter)
    last = json.loads((reporter.run / "events.jsonl").read_text().splitlines()[-1])
    assert "beating_learner.py" in last["traceback"]
    assert "ValueError: boom" in last["traceback"]


@pytest.mark.slow
def test_a_fold_that_fails_ends_the_others_before_the_error_is_told(
    project: Project, installed: None
) -> None:
    beat = project.path / "beat"
    config, spec, reporter = _prepared(project, "processes", fails="after", file=str(beat))
    config = config.model_copy(
        update={"execution": config.execution.model_copy(update={"workers": 2})}
    )
    beats = LearnerSpec("y", "beats", {"file": str(beat)}, spec.base_directory)
    with pytest.raises(errors.LearnerError, match="no luck after all"):
        execute(config, [(beats, 0), (spec, 0), (beats, 1), (beats, 2)], reporter)
    assert _stands_still(beat)
    assert int(beat.read_text() or 0) < 399


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("own", "no luck with this(.|\n)*try again"),
        ("odd", r"dependencies raised Odd: this and that(.|\n)*beating_learner\.py:"),
    ],
)
def test_a_plugins_own_kind_of_error_does_not_break_the_pool(
    fails: str, message: str, project: Project, installed: None
) -> None:
    config, spec, reporter = _prepared(project, "processes", fails=fails)
    with pytest.raises(errors.PluginError, match=message):
        execute(config, [(spec, 0)], reporter)


def test_a_plugin_given_in_python_is_unknown_to_workers_and_the_error_says_so(
    project: Project,
) -> None:
    config, spec, reporter = _prepared(project, "processes")
    given = LearnerSpec("p", "prior", {}, spec.base_directory)
    message = 'unknown base learner "prior"(.|\n)*installed or in a file(.|\n)*"in-process"'
    with pytest.raises(errors.UnknownNameError, match=message):
        execute(config, [(given, 0)], reporter)


@pytest.mark.slow
def test_a_worker_ends_with_a_parent_that_is_killed(project: Project, installed: None) -> None:
    beat = project.path / "beat"
    _prepared(project, "processes", file=str(beat))
    command = [sys.executable, "-m", "ensemble.cli", "fit", str(project.path / "config.toml")]
    parent = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        _wait_until(beat.exists, 60)
    finally:
        parent.kill()
        parent.wait()
    # The beat stands still once nobody writes it.
    _wait_until(lambda: _stands_still(beat), 3)
    assert int(beat.read_text() or 0) < 399


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, and workers at once."""
    monkeypatch.setattr("ensemble.oof.executors.available_cores", lambda: 2)
    monkeypatch.setattr("ensemble.oof.executors.WORTH_A_WORKER", 0.0)


@pytest.mark.slow
def test_cheap_learners_from_outside_are_fitted_in_workers_that_last(
    project: Project, installed: None, two_cores: None
) -> None:
    config, spec, reporter = _prepared(project, "auto", wait=1.0)
    tasks = [(spec, fold) for fold in (0, 1, 2, None)]
    tasks += [(LearnerSpec("y", "beats", spec.parameters, spec.base_directory), 0)]
    assert execute(config, tasks, reporter) == 5
    processes = [place.read_text() for place in reporter.run.glob("learners/*/*/model/process")]
    assert len(processes) == 5
    assert len(set(processes)) == 2, "one fitted several"
    assert str(os.getpid()) not in processes, "what kills it kills nobody else"


@pytest.mark.slow
def test_beside_each_other_and_one_after_the_other_give_the_same_bytes(
    project: Project, two_cores: None
) -> None:
    use_manager(None)
    learners = [{"name": "h", "plugin": "handcrafted"}, {"name": "t", "plugin": "tfidf"}]
    found = []
    for executor in ("in-process", "auto"):
        run_dir = str(project.path / executor)
        config = project.config(learners, execution={"executor": executor}, run_dir=run_dir)
        Path(run_dir).mkdir()
        prepare(config)
        split(Path(run_dir), config.folds, seed=config.seed)
        tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(3)]
        assert execute(config, tasks, Reporter(Path(run_dir))) == 6
        files = sorted(Path(run_dir, "learners").rglob("*"))
        found.append(
            {
                file.relative_to(run_dir): file.read_bytes()
                for file in files
                if file.is_file() and file.name != "manifest.json"
            }
        )
    assert found[0] == found[1] and len(found[0]) > 20


def test_what_a_plugin_in_python_brings_is_fitted_here(project: Project, two_cores: None) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}], execution={"executor": "auto"})
    space = prepared(config)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(3)]
    assert execute(config, tasks, Reporter(space.run)) == 3


def test_an_error_in_a_lasting_worker_ends_the_others(
    project: Project, installed: None, two_cores: None
) -> None:
    here = str(os.getpid())
    config, spec, reporter = _prepared(project, "auto", fails="dies", file=here, wait=1.0)
    with pytest.raises(
        errors.EnsembleError, match="killed by SIGKILL, which the system sends where"
    ):
        execute(config, [(spec, fold) for fold in range(3)], reporter)


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's share is joblib's to find: many cores may be there, and two of them ours."""
    monkeypatch.setattr("joblib.externals.loky.backend.context._cpu_count_cgroup", lambda _: 1)
    assert processes.available_cores() == 1
    monkeypatch.undo()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert processes.available_cores() == 1


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


def _stands_still(beat: Path) -> bool:
    before = beat.stat().st_mtime_ns
    time.sleep(0.5)
    return beat.stat().st_mtime_ns == before


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)
