"""Learners that declare more than any node, or this machine, has: told before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.api.start import plan
from ensemble.battles.held_out import HeldOut
from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof import capacity
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.cluster import driver, session
from ensemble.oof.workers import Task
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from ensemble.stages.check import check_stage
from ensemble.stages.work import writing
from tests.ensemble.oof.plugin_text import PREDICTS_LOGITS
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.stages import prepare_and_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble import Config
    from tests.fixture_types import Project

PLUGIN = '''
import json
import numpy as np
from ensemble import BaseLearner, Resources

class Sized(BaseLearner):
    """Says what it needs, and learns the mean."""
    cheap = True
    def __init__(self, gpus: int = 0, memory: float = 0.1, threads: int = 1,
                 teachers: tuple[str, ...] = ()) -> None:
        self.gpus, self.memory, self.threads, self.teachers = gpus, memory, threads, teachers
    @property
    def resources(self):
        return Resources(gpus=self.gpus, memory_gib=self.memory, threads=self.threads)
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.logits_ = np.log(labels.mean(axis=0) + 1e-9)
        return self
'''
SMALL = {"CPU": 2.0, "memory": 8.0 * 2**30}
LARGE = {"CPU": 4.0, "GPU": 1.0, "memory": 16.0 * 2**30}


class Nodes:
    """What of Ray says which nodes there are; fits are made in this process."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.has, self.joined = list(nodes), 0

    def nodes(self) -> list[dict[str, Any]]:
        alive = [
            {"Alive": True, "Resources": one, "NodeID": str(n)} for n, one in enumerate(self.has)
        ]
        return [*alive, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}, "NodeID": "x"}]


def _cluster(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> Nodes:
    ray = Nodes(*nodes)

    def join(_connection: session.Connection) -> Nodes:
        ray.joined += 1
        return ray

    def fit(cluster: Any, _config: Config, tasks: Sequence[Task], attempt: Attempt) -> None:
        cluster.ray()
        for task in tasks:
            attempt.fit_here(task)

    monkeypatch.setattr(session.Connection, "_join", join)
    monkeypatch.setattr("ensemble.oof.executors.fit_on_cluster", fit)
    return ray


def _config(project: Project, *learners: dict[str, Any], **execution: Any) -> Config:
    (project.path / "sized.py").write_text(PLUGIN + PREDICTS_LOGITS)
    changes = {"executor": "ray", "address": "auto", "threads": 0, **execution}
    named = [{"plugin": "sized.py:Sized", **one} for one in learners]
    return project.config(
        named,
        execution={key: value for key, value in changes.items() if value is not None},
        stack={"meta_learner": "none", "nesting": "plain"},
    )


def _fits(config: Config) -> set[str]:
    manifests = Path(config.run_dir, "learners").glob("*/*/manifest.json")
    return {f"{path.parent.parent.name}/{path.parent.name}" for path in manifests}


@pytest.mark.parametrize(
    ("need", "told"),
    [
        ({"gpus": 2}, "1 CPUs, 2 GPUs, 0.1 GiB of memory; the largest of 2 has 4 CPUs, 1 GPU, 16"),
        ({"memory": 1e4}, "1 CPUs, 1e+04 GiB of memory; the largest of 2 has 4 CPUs"),
        ({"threads": 64}, "64 CPUs, 0.1 GiB of memory; the largest"),
    ],
)
def test_a_pupil_that_no_node_holds_fails_before_anything_is_fitted_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, need: dict[str, Any], told: str
) -> None:
    ray = _cluster(monkeypatch, SMALL, LARGE)
    config = _config(project, {"name": "t"}, {"name": "p", "teachers": ["t"], **need})
    outcome = prepare_and_fit(config)
    (failed,) = outcome["failed"]
    assert failed["name"] == "p" and failed["at"] == "resources"
    assert told in failed["reason"], failed["reason"]
    assert ("set fewer `threads`" in failed["hint"]) is ("threads" in need)
    assert "add a node" in failed["hint"] and "wait_for_nodes" in failed["hint"]
    assert _fits(config) == {"t/fold-0", "t/fold-1", "t/fold-2"}, "and no pairs for the pupil"
    assert outcome["fitted"] == 3 and "teaching" not in outcome
    stored = json.loads(Path(config.run_dir, "learners/p/failure.json").read_text())
    assert "no node of the cluster" in json.dumps(stored)
    events = Path(config.run_dir, "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["event"] for line in events]
    assert kinds.index("learner too large") < kinds.index("fold fitted")
    assert ray.joined == 1, "the cluster that was asked is the one that fits"


def test_what_needs_a_learner_that_no_node_holds_is_told_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster(monkeypatch, SMALL)
    config = _config(
        project,
        {"name": "large", "gpus": 1},
        {"name": "other"},
        {"name": "p", "teachers": ["large", "other"]},
    )
    failed = {one["name"]: one for one in prepare_and_fit(config)["failed"]}
    assert set(failed) == {"large", "p"} and failed["p"]["needs"] == "large"
    assert _fits(config) == {"other/fold-0", "other/fold-1", "other/fold-2"}


def test_the_first_that_no_node_holds_ends_it_where_that_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster(monkeypatch, SMALL)
    config = _config(project, {"name": "t"}, {"name": "p", "gpus": 1})
    with pytest.raises(LearnerError, match='no node of the cluster(.|\n)*learner "p"'):
        prepare_and_fit(config, fail_fast=True)
    assert not _fits(config)


def test_a_learner_that_is_complete_is_not_asked_what_it_needs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = _cluster(monkeypatch, LARGE)
    config = _config(project, {"name": "t", "gpus": 1})
    assert prepare_and_fit(config)["fitted"] == 3
    ray.has[:] = [SMALL]
    assert "failed" not in prepare_and_fit(config)


def test_a_cluster_that_is_not_there_is_told_before_anything_is_fitted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_connection: session.Connection) -> None:
        raise EnsembleError("no cluster was joined")

    monkeypatch.setattr(session.Connection, "_join", lost)
    config = _config(project, {"name": "t"})
    with pytest.raises(EnsembleError, match="no cluster was joined"):
        prepare_and_fit(config)
    assert any("no cluster was joined" in line for line in plan(config).too_large)
    with writing(config) as reporter:
        found = check_stage(config, reporter, rows=2)
    assert [one.learner for one in found if one.ok is False] == ["cluster"]


@pytest.mark.slow
def test_plan_and_check_tell_of_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(monkeypatch, SMALL)
    config = _config(project, {"name": "t"}, {"name": "p", "gpus": 1})
    (line,) = plan(config).too_large
    assert line.startswith("p: no node of the cluster") and "the largest of 1 has 2 CPUs" in line
    with writing(config) as reporter:
        found = check_stage(config, reporter, rows=2)
    assert [(one.learner, one.what) for one in found if one.ok is False] == [("p", "resources")]


def test_a_cluster_of_this_machine_alone_is_not_started_for_a_plan(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = _cluster(monkeypatch)
    config = _config(project, {"name": "p", "memory": 1e6}, address=None)
    (line,) = plan(config).too_large
    assert "1e+06 GiB of memory, and this machine has" in line
    assert not ray.joined


class _Late(Nodes):
    """A cluster that a larger node joins after a while."""

    exceptions = SimpleNamespace(RayError=ZeroDivisionError)
    seen = 0

    def nodes(self) -> list[dict[str, Any]]:
        self.seen += 1
        self.has = [SMALL, LARGE] if self.seen > 8 else [SMALL]
        return super().nodes()

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "0")

    def remote(self, **_: Any) -> Any:
        return lambda _function: None

    def put(self, content: bytes) -> bytes:
        return content


def _driven(
    config: Config, monkeypatch: pytest.MonkeyPatch, budget: Budget | None = None
) -> tuple[list[str], list[list[int]], dict[str, Any]]:
    """Have a driver wait for its nodes; gives what it submits, and which GPUs it asks for."""
    submitted: list[str] = []
    asked: list[list[int]] = []
    failures: dict[str, Any] = {}
    monkeypatch.setattr(driver, "_GLANCE", 0.0)
    monkeypatch.setattr(
        driver, "ask_for_nodes", lambda needs: asked.append([n.gpus for n in needs])
    )
    monkeypatch.setattr(driver._Fits, "_submit", lambda _, job: submitted.append(job.label))
    attempt = Attempt(config, Reporter(prepared(config).run), failures, budget)
    tasks = [Task(spec, HeldOut.of(fold)) for spec in learner_specs(config) for fold in (0, 1)]
    cluster: Any = SimpleNamespace(ray=lambda: _Late(SMALL))
    driver.fit_on_cluster(cluster, config, tasks, attempt)
    return submitted, asked, failures


def test_a_fit_waits_for_a_node_that_joins_later_where_the_config_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners = {"name": "small"}, {"name": "large", "gpus": 1}
    waiting = _config(project, *learners, wait_for_nodes=60)
    submitted, asked, failures = _driven(waiting, monkeypatch)
    assert not failures
    assert submitted == [f"{name}  fold {n}" for name in ("small", "large") for n in (0, 1)]
    assert asked == [[1], []], "a cluster that scales is told, and told when it is over"
    at_once = _config(project, *learners, wait_for_nodes=0)
    submitted, asked, failures = _driven(at_once, monkeypatch)
    assert list(failures) == ["large"] and len(submitted) == 2 and not asked
    _cluster(monkeypatch, SMALL)
    assert "failed" not in prepare_and_fit(waiting), "it is warned of alone"


def test_nobody_waits_for_a_node_beyond_the_time_of_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(project, {"name": "large", "gpus": 7}, wait_for_nodes=600)
    budget = Budget(1.0, spent=2.0)
    submitted, _, failures = _driven(config, monkeypatch, budget)
    assert not submitted and not failures


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "auto"])
def test_this_machine_is_held_against_what_is_declared(
    project: Project, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setattr(capacity, "total_memory", lambda: 64 << 30)
    monkeypatch.setattr(capacity, "visible_gpus", lambda: ["GPU-0"])
    config = _config(
        project,
        *({"name": "t"}, {"name": "memory", "memory": 65.0, "teachers": ["t"]}),
        {"name": "gpus", "gpus": 2},
        executor=executor,
        address=None,
    )
    failed = {one["name"]: one for one in prepare_and_fit(config).get("failed", [])}
    events = map(json.loads, Path(config.run_dir, "events.jsonl").read_text().splitlines())
    warned = [one["text"] for one in events if "declares" in one.get("text", "")]
    if executor == "auto":
        assert not failed and len(warned) == 2, "it does not go by what is declared"
        assert warned[0].startswith("memory: it declares 65 GiB of memory, and this machine has 64")
        return
    assert set(failed) == {"memory", "gpus"} and failed["gpus"]["at"] == "resources"
    assert "2 GPUs, and this machine shows 1 GPU" in failed["gpus"]["reason"]
    assert 'executor = "auto"' in failed["memory"]["hint"]
    assert _fits(config) == {"t/fold-0", "t/fold-1", "t/fold-2"}


@pytest.mark.slow
def test_without_a_gpu_in_sight_a_fit_may_be_meant_for_the_cpu(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "visible_gpus", list)
    config = _config(project, {"name": "gpus", "gpus": 1}, executor="processes", address=None)
    (found,) = plan(config).too_large
    assert "1 GPU, and this machine shows no GPU" in found
    assert "failed" not in prepare_and_fit(config)
