"""A fit begins once what it needs is complete, whatever else goes on."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.held_out import HeldOut
from ensemble.oof.agenda import Agenda
from ensemble.oof.executors import execute
from ensemble.oof.workers import Task
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.fake_ray import SMALL_NODE, FakeRay, cluster_config, stored_events
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble import Config
    from ensemble.failure import Failure
    from tests.fixture_types import Project


def _task(name: str, fold: int = 0) -> Task:
    spec: Any = SimpleNamespace(name=name)
    return Task(spec, HeldOut.of(fold))


def _name(task: Task) -> tuple[str, HeldOut]:
    return task.spec.name, task.held_out


@given(st.data())
def test_every_fit_is_given_out_once_and_none_before_what_it_needs(data: st.DataObject) -> None:
    tasks = [_task(f"l{number}") for number in range(data.draw(st.integers(0, 8)))]
    needed = {
        _name(task): {_name(one) for one in tasks[:number] if data.draw(st.booleans())}
        for number, task in enumerate(tasks)
    }
    agenda, going, done = Agenda(tasks, needed), list[Task](), list[Task]()
    while len(done) < len(tasks):
        if (task := agenda.take()) is not None:
            assert needed[_name(task)] <= set(map(_name, done))
            going.append(task)
        else:
            assert going, "nobody waits for nothing"
            ended = going.pop(data.draw(st.integers(0, len(going) - 1)))
            agenda.ended(ended.spec, ended.held_out)
            done.append(ended)
    assert not agenda and agenda.take(patient=True) is None
    assert {_name(task) for task in done} == set(needed)


def test_the_order_is_kept_but_for_those_that_wait() -> None:
    a, b, c, d = map(_task, "abcd")
    agenda = Agenda([a, b, c, d], {_name(b): {_name(a), ("elsewhere", b.held_out)}})
    assert [agenda.take() for _ in range(4)] == [a, c, d, None]
    assert agenda.waiting == [b]
    agenda.ended(a.spec, a.held_out)
    assert agenda.take() is b


def test_whoever_waits_goes_on_when_something_ends_or_is_dropped() -> None:
    first, second, third = map(_task, "abc")
    agenda = Agenda([first, second, third], {_name(t): {_name(first)} for t in (second, third)})
    found: list[Task | None] = [agenda.take()]

    def wait() -> None:
        found.extend([agenda.take(patient=True), agenda.take(patient=True)])

    waiting = Thread(target=wait)
    waiting.start()
    agenda.drop(lambda task: task is second)
    assert waiting.is_alive()
    agenda.ended(first.spec, first.held_out)
    waiting.join(10.0)
    assert found == [first, third, None]


SLOW = '''
import json, time
from pathlib import Path
import numpy as np
from ensemble import BaseLearner

class Slow(BaseLearner):
    """Goes on until another has been fitted."""
    def __init__(self, until: str = "", teachers: tuple[str, ...] = (), fails: bool = False):
        self.until, self.teachers, self.fails = until, teachers, fails
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        ends = time.monotonic() + 60
        while self.until and not Path(self.until).exists():
            if time.monotonic() > ends:
                raise TimeoutError(f"nobody has fitted {self.until}")
            time.sleep(0.02)
        if self.fails:
            raise ValueError("boom")
        self.mean_ = np.log(labels.mean(axis=0) + 1e-9)
        return self
    def predict_logits(self, battles):
        return np.tile(self.mean_.astype(np.float32), (len(battles), 1))
    def save(self, directory):
        (directory / "mean.json").write_text(json.dumps(self.mean_.tolist()))
    def load(self, directory):
        self.mean_ = np.array(json.loads((directory / "mean.json").read_text()))
        return self
'''
_MANIFEST = "manifest.json"


def _slow_config(project: Project, executor: str, until: str, **teacher: Any) -> Config:
    (project.path / "slow.py").write_text(SLOW)
    usual = {"plugin": "slow.py:Slow"}
    place = project.path / executor / "learners"
    return project.config(
        [
            {**usual, "name": "a", "until": str(place / until / _MANIFEST) if until else ""},
            {**usual, "name": "pupil", "teachers": ["teacher"]},
            {**usual, "name": "teacher", **teacher},
        ],
        run_dir=executor,
        execution={"executor": executor, "workers": 2 if executor == "processes" else 0},
    )


def _fits(config: Config) -> list[Any]:
    pairs = [(0, 1), (0, 2), (1, 2)]
    fits: dict[str, list[Any]] = {"a": [0], "teacher": pairs, "pupil": [0, 1, 2]}
    return [(spec, fit) for spec in learner_specs(config) for fit in fits[spec.name]]


def _stored(config: Config) -> dict[str, bytes]:
    place = Path(config.run_dir, "learners")
    files = {path.relative_to(place).as_posix(): path for path in place.rglob("*.*")}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if path.is_file() and not name.endswith(_MANIFEST)
    }


@pytest.mark.slow
def test_a_slow_fit_keeps_nothing_back_that_does_not_need_it(project: Project) -> None:
    config = _slow_config(project, "processes", "pupil/fold-2")
    space = prepared(config)
    assert execute(config, _fits(config), Reporter(space.run)) == 7
    here = _slow_config(project, "in-process", "")
    alone = prepared(here)
    assert execute(here, _fits(here), Reporter(alone.run)) == 7
    ours, theirs = _stored(config), _stored(here)
    assert ours.keys() == theirs.keys()
    predictions = [name for name in ours if not name.startswith("a/")]
    assert {n: ours[n] for n in predictions} == {n: theirs[n] for n in predictions}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "in-process", "auto"])
def test_a_pupil_is_left_out_with_the_teacher_that_fails_and_the_others_go_on(
    executor: str, project: Project
) -> None:
    config = _slow_config(project, executor, "", fails=True)
    space, failures = prepared(config), dict[str, "Failure"]()
    assert execute(config, _fits(config), Reporter(space.run), failures) == 1
    assert {name: one.needs for name, one in failures.items()} == {
        "teacher": None,
        "pupil": "teacher",
    }
    assert list(failures) == ["teacher", "pupil"], "as told: the cause first"


@pytest.mark.slow
def test_on_a_cluster_a_slow_fit_keeps_nothing_back_that_does_not_need_it(
    project: Project, node: Path
) -> None:
    learners: list[dict[str, Any]] = [
        {"name": "a"},
        {"name": "pupil", "teachers": ["teacher"]},
        {"name": "teacher"},
    ]
    config = cluster_config(project, learners)
    space = prepared(config)
    ray = FakeRay([SMALL_NODE])

    def slow(messages: Iterator[Any]) -> Iterator[Any]:
        for _ in range(5000):
            if (space.run / "learners/pupil/fold-2" / _MANIFEST).exists():
                yield from messages
                return
            yield {"what": "progress", "done": 0.0, "message": ""}
        pytest.fail("the slow fit keeps the pupil back")

    def fate(messages: Iterator[Any]) -> Iterator[Any]:
        return slow(messages) if ray.jobs[-1]["label"].startswith("a ") else messages

    ray.fate = fate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ensemble.oof.cluster.session.Connection.ray", lambda _self: ray)
        assert execute(config, _fits(config), Reporter(space.run)) == 7
    order = [one["learner"] for one in stored_events(config) if "fitted" in one["event"]]
    assert order[-1] == "a"
