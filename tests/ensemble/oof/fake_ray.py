"""A process that stands in for Ray and for its nodes, and a learner to be fitted there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.cluster import driver
from ensemble.oof.cluster.remote import run_job
from ensemble.oof.workers import Task
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.plugin_text import PREDICTS_LOGITS
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble import Config
    from ensemble.failure import Failure
    from tests.fixture_types import Project


PLUGIN = '''
import json, os, time
from pathlib import Path
import numpy as np
from ensemble import BaseLearner, Resources
from mean_helper import SMALL

class Mean(BaseLearner):
    """Learns the mean, from a file of its own and what teachers say."""
    cheap = True
    def __init__(self, weights: Path = Path(), teachers: tuple[str, ...] = (),
                 fails: str = "", gpus: int = 0) -> None:
        self.weights, self.teachers, self.fails, self.gpus = weights, teachers, fails, gpus
    @property
    def resources(self):
        return Resources(gpus=self.gpus, threads=1)
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        state = context.checkpoint_directory / "state.json"
        steps = json.loads(state.read_text()) if state.exists() else []
        steps.append(len(steps))
        state.write_text(json.dumps(steps))
        if self.fails == "kills":
            os.kill(os.getpid(), 9)
        if self.fails == "raises":
            raise ValueError("boom")
        if self.fails == "waits":
            time.sleep(1.5)
        shift = json.loads((self.weights / "shift.json").read_text())
        taught = [np.nanmean(logits, axis=0) for logits in context.teachers.values()]
        self.logits_ = np.log(labels.mean(axis=0) + SMALL) + shift + sum(taught)
        self.seen_ = [os.environ.get("CUDA_VISIBLE_DEVICES"), context.threads]
        return self
'''


class LostError(Exception):
    """A node is gone."""


class _CrashedError(Exception):
    """Ray's worker is gone."""


class FakeRay:
    """Runs what a node would, here, one message at a time.

    Parameters
    ----------
    nodes
        What each node has.
    fate
        Gives, for the messages of a job, those that come through; raises where the node is lost.
    """

    def __init__(self, nodes: Sequence[dict[str, float]], fate: Any = None) -> None:
        self.exceptions = SimpleNamespace(
            RayError=(LostError, _CrashedError),
            OutOfMemoryError=MemoryError,
            WorkerCrashedError=_CrashedError,
            RayTaskError=KeyError,
        )
        self.kinds, self.fate = list(nodes), fate or (lambda messages: messages)
        self.dead: int | None = None
        self.submitted: list[tuple[str, dict[str, Any]]] = []
        self.jobs: list[dict[str, Any]] = []
        self.stored: list[int] = []
        self.cancelled = 0

    def put(self, content: bytes) -> bytes:
        self.stored.append(len(content))
        return content

    def get(self, message: Any) -> Any:
        return message

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": number != self.dead, "Resources": one, "NodeID": str(number)}
            for number, one in enumerate(self.kinds)
        ]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "0")

    def wait(self, waiting: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return waiting, []

    def cancel(self, *_: Any, **__: Any) -> None:
        self.cancelled += 1

    def remote(self, **_: Any) -> Any:
        def submit(job: dict[str, Any], parts: dict[str, list[bytes]]) -> Iterator[Any]:
            self.jobs.append(json.loads(json.dumps(job)))
            return iter(self.fate(run_job(job, parts, bytes)))

        def options(**asked: Any) -> Any:
            self.submitted.append((asked.pop("name"), asked))
            return SimpleNamespace(remote=submit)

        return lambda _function: SimpleNamespace(options=options)


SMALL_NODE = {"CPU": 2.0, "memory": 8.0 * 2**30}


def cluster_config(project: Project, learners: list[dict[str, Any]], **changes: Any) -> Config:
    (project.path / "mean.py").write_text(PLUGIN + PREDICTS_LOGITS)
    (project.path / "mean_helper.py").write_text("SMALL = 1e-9\n")
    (project.path / "weights" / "deep").mkdir(parents=True, exist_ok=True)
    (project.path / "weights" / "shift.json").write_text("0.25")
    (project.path / "weights" / "deep" / "more.txt").write_text("more")
    usual = {"plugin": "mean.py:Mean", "weights": "weights"}
    named = [one if "plugin" in one else {**usual, **one} for one in learners]
    changes = {"execution": {"executor": "ray", "address": "auto"}, **changes}
    return project.config(named, **changes)


def fit_on(
    config: Config,
    ray: FakeRay,
    fits: Sequence[Any] | dict[str, Sequence[Any]] = (0,),
    failures: dict[str, Failure] | None = None,
    budget: Budget | None = None,
) -> int:
    space = prepared(config)
    attempt = Attempt(config, Reporter(space.run), failures, budget)
    for spec in learner_specs(config):
        own = fits[spec.name] if isinstance(fits, dict) else fits
        tasks = attempt.startable([Task(spec, HeldOut.of(fit)) for fit in own])
        connected: Any = SimpleNamespace(ray=lambda: ray)
        driver.fit_on_cluster(connected, config, tasks, attempt)
    return attempt.fitted


def stored_events(config: Config) -> list[dict[str, Any]]:
    lines = Path(config.run_dir, "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


BOOM = {"kind": "LearnerError", "message": "boom", "where": None, "hint": None, "traceback": ""}
STARTED, FAILED = {"what": "started", "node": "n"}, {"what": "failed", "error": BOOM, "died": False}


def ray_that_says(*messages: dict[str, Any]) -> FakeRay:
    return FakeRay([SMALL_NODE], lambda _job: iter(messages))
