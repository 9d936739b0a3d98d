"""Fits on nodes, where this process stands in for Ray and for the nodes."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import errors
from ensemble.battles.held_out import HeldOut
from ensemble.oof import clock
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.cluster import driver, jobs, remote
from ensemble.oof.cluster.depot import Depot
from ensemble.oof.cluster.messages import Incoming, copy_settled, pieces
from ensemble.oof.cluster.remote import run_job
from ensemble.oof.crossfit import fit_fold, fold_checkpoint
from ensemble.oof.workers import Task
from ensemble.plugin.base import Resources
from ensemble.plugin.manager import use_manager
from ensemble.run_dir.leftovers import sweep_temporary
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import hash_file
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


class _LostError(Exception):
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
            RayError=(_LostError, _CrashedError),
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


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node's cache, and no process left after the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    use_manager(None)
    yield tmp_path / "node" / "preference-ensemble" / "cluster"
    remote._end_lasting()
    remote._Lasting.run = None


def _config(project: Project, learners: list[dict[str, Any]], **changes: Any) -> Config:
    (project.path / "mean.py").write_text(PLUGIN + PREDICTS_LOGITS)
    (project.path / "mean_helper.py").write_text("SMALL = 1e-9\n")
    (project.path / "weights" / "deep").mkdir(parents=True, exist_ok=True)
    (project.path / "weights" / "shift.json").write_text("0.25")
    (project.path / "weights" / "deep" / "more.txt").write_text("more")
    usual = {"plugin": "mean.py:Mean", "weights": "weights"}
    named = [one if "plugin" in one else {**usual, **one} for one in learners]
    changes = {"execution": {"executor": "ray", "address": "auto"}, **changes}
    return project.config(named, **changes)


def _fit(
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


def _files(run: Path) -> dict[str, bytes]:
    places = sorted((run / "learners").rglob("*"))
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in places
        if path.is_file() and path.name != "manifest.json"
    }


def _events(config: Config) -> list[dict[str, Any]]:
    lines = Path(config.run_dir, "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_node_that_shares_no_disk_gives_the_bytes_that_this_process_gives(
    project: Project, node: Path
) -> None:
    learners: list[dict[str, Any]] = [{"name": "t"}, {"name": "p", "teachers": ["t"]}]
    here = _config(project, learners, run_dir="here")
    space = prepared(here)
    fits: dict[str, Any] = {"t": ((0, 1), (0, 2), 0), "p": (0,)}
    for spec in learner_specs(here):
        for fit in fits[spec.name]:
            fit_fold(space, spec, fit)
    config = _config(project, learners)
    ray = FakeRay([SMALL_NODE])
    assert _fit(config, ray, fits) == 4
    run = Path(config.run_dir)
    assert _files(run) == _files(space.run)
    manifests = [
        json.loads((place / "learners/p/fold-0/manifest.json").read_text())
        for place in (run, space.run)
    ]
    for one in manifests:
        del one["seconds"], one["content"]
    assert manifests[0] == manifests[1], "no path of a node is in it"
    assert not list((run / "checkpoints").rglob("*.json"))
    told = json.dumps(ray.jobs)
    assert f'"{project.path}/weights' not in told and "mean.py:Mean" in told
    trees = [path.name for path in (node / "trees").rglob("*") if path.is_file()]
    assert {"mean.py", "mean_helper.py", "shift.json", "more.txt"} <= set(trees)


@pytest.mark.slow
def test_what_a_node_has_is_put_into_the_cluster_once(project: Project, node: Path) -> None:
    config = _config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE])
    _fit(config, ray, (0, 1, 2))
    battles = (Path(config.run_dir) / "battles.parquet").stat().st_size
    assert ray.stored.count(battles) == 1


@pytest.mark.slow
def test_a_lost_node_s_fit_goes_on_where_its_checkpoint_was(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "CHECKPOINT_SECONDS", 0.3)
    losses = [1, 2]

    def fate(messages: Iterator[Any]) -> Iterator[Any]:
        for message in messages:
            yield message
            if message["what"] == "checkpoint" and losses:
                losses.pop()
                messages.close()  # type: ignore[attr-defined]
                raise _LostError

    config = _config(project, [{"name": "t", "fails": "waits"}])
    ray = FakeRay([SMALL_NODE], fate)
    assert _fit(config, ray, (0, 1)) == 2
    assert [len(job["checkpoint"]["files"]) for job in ray.jobs].count(1) >= 1
    lost = [event for event in _events(config) if event["event"] == "fit lost"]
    assert len(lost) == 2 and "its node was lost" in lost[0]["why"]
    assert len({job["label"] for job in ray.jobs}) == 2, "nothing else was made again"


@pytest.mark.slow
def test_a_fit_that_ends_its_process_again_and_again_fails_alone(
    project: Project, node: Path
) -> None:
    failures: dict[str, Failure] = {}
    config = _config(project, [{"name": "bad", "fails": "kills"}, {"name": "good"}])
    ray = FakeRay([SMALL_NODE])
    assert _fit(config, ray, (0, 1), failures) == 2
    assert [name for name, _ in ray.submitted].count("bad  fold 0") == driver.DEATHS
    assert list(failures) == ["bad"]
    assert "ended 3 times, at last: its process died" in failures["bad"].reason
    assert "SIGKILL" in failures["bad"].reason


@pytest.mark.slow
def test_nodes_are_not_lost_for_ever(project: Project, node: Path) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        raise _LostError
        yield

    config = _config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE], fate)
    with pytest.raises(errors.LearnerError, match="with 5 nodes, at last: its node was lost"):
        _fit(config, ray)
    assert len(ray.submitted) == driver.LOSSES


def test_without_its_own_node_this_process_does_not_wait_for_others(
    project: Project, node: Path
) -> None:
    config = _config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE])
    ray.dead = 0
    with pytest.raises(errors.EnsembleError, match="cluster is lost: the node of this process"):
        _fit(config, ray)
    assert not ray.submitted


@pytest.mark.slow
def test_an_error_of_a_plugin_is_not_tried_again(project: Project, node: Path) -> None:
    config = _config(project, [{"name": "t", "fails": "raises"}])
    ray = FakeRay([SMALL_NODE])
    with pytest.raises(errors.LearnerError, match=r"boom(.|\n)*mean\.py:\d+") as caught:
        _fit(config, ray)
    assert "ValueError: boom" in str(caught.value.__cause__)
    assert len(ray.submitted) == 1


def test_another_toolkit_on_a_node_is_told(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = remote.toolkit()
    monkeypatch.setattr(jobs, "toolkit", lambda: {**own, "version": "9.9"})
    config = _config(project, [{"name": "t"}])
    with pytest.raises(errors.EnsembleError, match=f"{own['version']} there, 9.9 here(.|\n)*node"):
        _fit(config, FakeRay([SMALL_NODE]))
    monkeypatch.setattr(jobs, "toolkit", lambda: {**own, "code": "0" * 64})
    with pytest.raises(errors.EnsembleError, match="their code differs"):
        _fit(config, FakeRay([SMALL_NODE]))


@pytest.mark.slow
def test_another_plugin_on_a_node_is_told(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(project, [{"name": "t", "plugin": "tfidf", "min_df": 1}])
    described = jobs.JobMaker.described

    def other(maker: jobs.JobMaker, job: jobs.Job) -> Any:
        code = {**job.parts["code"], **changed}
        told, digests = described(maker, job)
        parts = {**job.parts, "code": code}
        return {**told, "request": {**told["request"], "key": "0" * 64, "parts": parts}}, digests

    monkeypatch.setattr(jobs.JobMaker, "described", other)
    changed = {"distribution": "preference-ensemble 9.9"}
    with pytest.raises(errors.LearnerError, match=r"it has preference-ensemble .* and not .*9\.9"):
        _fit(config, FakeRay([SMALL_NODE]))
    changed = {"source": "0" * 64}
    with pytest.raises(errors.LearnerError, match="is another than here"):
        _fit(config, FakeRay([SMALL_NODE]))


def test_what_no_node_has_enough_for_fails_at_once_and_alone(project: Project, node: Path) -> None:
    failures: dict[str, Failure] = {}
    config = _config(project, [{"name": "t", "gpus": 2}])
    large = {**SMALL_NODE, "GPU": 1.0}
    assert _fit(config, FakeRay([SMALL_NODE, large]), (0, 1), failures) == 0
    assert "no node of the cluster has what it needs: 1 CPUs, 2 GPUs" in failures["t"].reason
    assert "the largest of 2 has 2 CPUs, 1 GPU, 8 GiB" in failures["t"].reason


@pytest.mark.slow
def test_a_fit_asks_for_what_its_learner_declares(project: Project, node: Path) -> None:
    config = _config(project, [{"name": "t", "gpus": 1}])
    ray = FakeRay([{**SMALL_NODE, "GPU": 1.0}])
    _fit(config, ray)
    assert ray.submitted == [
        ("t  fold 0", {"num_cpus": 1, "num_gpus": 1, "memory": 2**30}),
    ]
    assert not ray.jobs[0]["lasting"], "a process that has had a GPU gives it back"


def test_a_fold_that_comes_back_as_another_is_not_taken(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(project, [{"name": "t"}])
    space = prepared(config)
    (spec,) = learner_specs(config)
    fit_fold(space, spec, 1)
    other = space.store.directory("t", 1)
    names = [path.relative_to(other).as_posix() for path in other.rglob("*") if path.is_file()]
    message = {"what": "result", "files": [], "end": False}

    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        yield message
        yield from pieces("result", other, names, seconds=1.0)

    ray = FakeRay([SMALL_NODE], fate)
    with pytest.raises(errors.LearnerError, match="3 times, at last: it is of another fold"):
        _fit(config, ray, (0,))
    assert not space.store.directory("t", 0).exists()
    assert not list(space.run.rglob(".tmp-*"))


def test_interrupting_ends_what_is_on_its_way(project: Project, node: Path) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        yield {"what": "started", "node": "n", "process": 1}
        raise KeyboardInterrupt

    config = _config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE], fate)
    with pytest.raises(KeyboardInterrupt):
        _fit(config, ray, (0, 1))
    assert ray.cancelled == 2


BOOM = {"kind": "LearnerError", "message": "boom", "where": None, "hint": None, "traceback": ""}
STARTED, FAILED = {"what": "started", "node": "n"}, {"what": "failed", "error": BOOM, "died": False}


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of limits; a test moves its hands."""
    now = [0.0]
    monkeypatch.setattr(clock, "seconds", lambda: now[0])
    return now


def test_how_far_a_fit_is_is_told_to_whoever_watches(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    @contextmanager
    def watch(_self: Attempt, _task: Task, where: str, **_: Any) -> Iterator[Any]:
        told.append(where)
        yield lambda *news: told.append(news)
        told.append("over")

    monkeypatch.setattr(Attempt, "watch", watch)
    half = {"what": "progress", "done": 0.5, "message": "step 5"}
    failures: dict[str, Failure] = {}
    _fit(_config(project, [{"name": "t"}]), _says(STARTED, half, FAILED), (0,), failures)
    assert told == ["node n", (0.5, "step 5"), "over"]
    assert failures["t"].reason == "boom"


def test_a_fit_that_is_tried_again_has_the_time_that_is_left(
    project: Project, node: Path, hands: list[float]
) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        hands[0] += 30
        raise _LostError
        yield

    ray, budget = FakeRay([SMALL_NODE], fate), Budget(100.0)
    config = _config(project, [{"name": "t"}])
    _fit(config, ray, (0,), {}, budget)
    assert [job["time_limit"] for job in ray.jobs] == [100.0, 70.0, 40.0, 10.0]
    assert list(budget.undone) == [("t", HeldOut((0,)))], "not failed: the time was over"


@pytest.mark.parametrize(("limit", "most"), [(None, 4), (100.0, 2)])
def test_with_a_limit_no_fit_waits_on_the_cluster(
    limit: float | None, most: int, project: Project, node: Path, hands: list[float]
) -> None:
    under_way: list[Any] = []
    counts: list[int] = []

    def fate(messages: Iterator[Any]) -> Iterator[Any]:
        under_way.append(messages)

        def told() -> Iterator[Any]:
            counts.append(len(under_way))
            yield STARTED
            under_way.remove(messages)
            yield FAILED

        return told()

    config = _config(
        project, [{"name": name} for name in "abcdef"], execution={"executor": "ray", "threads": 1}
    )
    space, failures = prepared(config), dict[str, Any]()
    budget = None if limit is None else Budget(limit)
    attempt = Attempt(config, Reporter(space.run), failures, budget)
    tasks = [Task(spec, HeldOut((0,))) for spec in learner_specs(config)]
    connected: Any = SimpleNamespace(ray=lambda: FakeRay([SMALL_NODE], fate))
    driver.fit_on_cluster(connected, config, tasks, attempt)
    assert len(failures) == 6
    assert max(counts) == most, "as many as there is room for; and as many again without a limit"


def test_what_waits_for_a_node_when_the_time_is_over_is_stopped(
    project: Project, node: Path, hands: list[float]
) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        while True:
            hands[0] += 9
            yield {"what": "progress", "done": 0.0, "message": ""}

    ray, budget, failures = FakeRay([SMALL_NODE], fate), Budget(20.0), dict[str, Any]()
    assert _fit(_config(project, [{"name": "t"}]), ray, (0, 1, 2), failures, budget) == 0
    assert (ray.cancelled, len(budget.undone), failures) == (2, 3, {})


def test_a_damaged_checkpoint_does_not_end_the_fit(project: Project, node: Path) -> None:
    listing = {"state.json": "0" * 64}
    damaged = {"what": "checkpoint", "files": [("state.json", b"x")], "end": True}
    foreign = {"what": "checkpoint", "files": [("../x", b"x")], "end": True, "listing": {}}
    config, failures = _config(project, [{"name": "t"}]), dict[str, Any]()
    ray = _says(STARTED, {**damaged, "listing": listing}, foreign, FAILED)
    _fit(config, ray, (0,), failures)
    assert failures["t"].reason == "boom", "which came after"
    assert sum(event["event"] == "checkpoint refused" for event in _events(config)) == 2
    assert not [one for one in Path(config.run_dir).rglob("*") if one.name == "x"]


def test_what_a_killed_driver_has_received_in_part_is_swept(project: Project) -> None:
    run = prepared(project.config()).run
    for place in ("learners/t/fold-0", "checkpoints/t/fold-0-0123456789abcdef"):
        Incoming(run / place).take({"files": [("part", b"x")], "end": False})
    assert len(list(run.rglob("part"))) == 2
    sweep_temporary(run)
    assert not list(run.rglob("part"))


def _says(*messages: dict[str, Any]) -> FakeRay:
    return FakeRay([SMALL_NODE], lambda _job: iter(messages))


def test_names_from_a_node_stay_in_their_directory(tmp_path: Path) -> None:
    for name in ("../out", "/etc/out", "a/../../out", ""):
        incoming = Incoming(tmp_path / "place")
        with pytest.raises(errors.EnsembleError, match="no path inside"):
            incoming.take({"files": [(name, b"x")], "end": True})
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_comes_in_pieces_and_keeps_what_has_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.oof.cluster.messages.PIECE", 1000)
    source, copy, place = (tmp_path / name for name in ("source", "copy", "place"))
    (source / "deep").mkdir(parents=True)
    large = os.urandom(5500)
    (source / "large").write_bytes(large)
    (source / "deep" / "small").write_bytes(b"")
    listing: dict[str, str] = {}
    for _ in range(2):
        listing = copy_settled(source, copy) or {}
        assert set(listing) == {"large", "deep/small"}
        changed = [n for n in listing if not (place / n).exists() or n == "deep/small"]
        incoming = Incoming(place)
        cut = list(pieces("checkpoint", copy, changed, listing=listing))
        ends = [incoming.take(json_less) for json_less in cut]
        assert ends == [False] * (len(cut) - 1) + [True]
        incoming.put_checkpoint(cut[-1]["listing"])
        assert (place / "large").read_bytes() == large
        assert {n: hash_file(place / n) for n in listing} == listing
        (source / "deep" / "small").write_bytes(b"more")
    damaged = Incoming(place)
    with pytest.raises(errors.ArtifactError, match="came back damaged"):
        damaged.put_checkpoint({**listing, "large": "0" * 64})
    assert (place / "large").read_bytes() == large and not damaged.stage.exists()


def test_a_damaged_file_of_a_node_is_fetched_again(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(100)
    source = tmp_path / "source"
    source.write_bytes(content)
    digest = hash_file(source)
    depot, parts = Depot(tmp_path / "depot", bytes), {digest: [content[:40], content[40:]]}
    depot.lay(tmp_path / "one", {"a/b": digest}, parts)
    blob = tmp_path / "depot" / "blobs" / digest
    assert (tmp_path / "one" / "a" / "b").read_bytes() == content
    assert oct(blob.stat().st_mode)[-3:] == "400"
    blob.chmod(0o600)
    blob.write_bytes(b"x" + content[1:])
    depot.lay(tmp_path / "two", {"a/b": digest}, parts)
    assert (tmp_path / "two" / "a" / "b").read_bytes() == content
    with pytest.raises(errors.EnsembleError, match="came to the node damaged"):
        depot.lay(tmp_path / "three", {"c": "0" * 64}, {"0" * 64: [content]})


def test_runs_of_workers_that_are_gone_are_removed(tmp_path: Path) -> None:
    depot = Depot(tmp_path, bytes)
    first = depot.new_run()
    host, pid = first.parent.name.rsplit("-", 2)[:2]
    assert pid == str(os.getpid())
    gone = tmp_path / "work" / f"{host}-999999999-00000000"
    elsewhere = tmp_path / "work" / "another-host-1-00000000"
    for place in (gone, elsewhere):
        place.mkdir()
    depot.new_run()
    assert not gone.exists() and elsewhere.exists() and first.exists()


def test_resources_of_a_learner_may_name_threads() -> None:
    assert Resources(threads=4).threads == 4
    assert fold_checkpoint.__doc__
