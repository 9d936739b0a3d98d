"""Fits on nodes, where this process stands in for Ray and for the nodes."""

from __future__ import annotations

import errno
import json
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors
from ensemble.oof.attempt import Attempt
from ensemble.oof.cluster import driver, jobs, remote
from ensemble.oof.cluster.depot import Depot
from ensemble.oof.cluster.messages import pieces
from ensemble.oof.crossfit import fit_fold, fold_checkpoint
from ensemble.oof.workers import Elsewhere, Task, Worker
from ensemble.plugin.base import Resources
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.fake_ray import (
    FAILED,
    SMALL_NODE,
    STARTED,
    FakeRay,
    LostError,
    cluster_config,
    fit_on,
    ray_that_says,
    stored_events,
)
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.failure import Failure
    from tests.fixture_types import Project


def _files(run: Path) -> dict[str, bytes]:
    places = sorted((run / "learners").rglob("*"))
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in places
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.slow
def test_a_node_that_shares_no_disk_gives_the_bytes_that_this_process_gives(
    project: Project, node: Path
) -> None:
    learners: list[dict[str, Any]] = [{"name": "t"}, {"name": "p", "teachers": ["t"]}]
    here = cluster_config(project, learners, run_dir="here")
    space = prepared(here)
    fits: dict[str, Any] = {"t": ((0, 1), (0, 2), 0), "p": (0,)}
    for spec in learner_specs(here):
        for fit in fits[spec.name]:
            fit_fold(space, spec, fit)
    config = cluster_config(project, learners)
    ray = FakeRay([SMALL_NODE])
    assert fit_on(config, ray, fits) == 4
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
    config = cluster_config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE])
    fit_on(config, ray, (0, 1, 2))
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
                raise LostError

    config = cluster_config(project, [{"name": "t", "fails": "waits"}])
    ray = FakeRay([SMALL_NODE], fate)
    assert fit_on(config, ray, (0, 1)) == 2
    assert [len(job["checkpoint"]["files"]) for job in ray.jobs].count(1) >= 1
    lost = [event for event in stored_events(config) if event["event"] == "fit lost"]
    assert len(lost) == 2 and "its node was lost" in lost[0]["why"]
    assert len({job["label"] for job in ray.jobs}) == 2, "nothing else was made again"


@pytest.mark.slow
def test_a_fit_that_ends_its_process_again_and_again_fails_alone(
    project: Project, node: Path
) -> None:
    failures: dict[str, Failure] = {}
    config = cluster_config(project, [{"name": "bad", "fails": "kills"}, {"name": "good"}])
    ray = FakeRay([SMALL_NODE])
    assert fit_on(config, ray, (0, 1), failures) == 2
    assert [name for name, _ in ray.submitted].count("bad  fold 0") == driver.DEATHS
    assert list(failures) == ["bad"]
    assert "ended 3 times, at last: its process died" in failures["bad"].reason
    assert "SIGKILL" in failures["bad"].reason


def _twice_short_of_disk(project: Project, full: list[int]) -> Failure:
    """Have a disk fill up twice, which is survived, and then as often as ends it: how it failed."""
    config, failures = cluster_config(project, [{"name": "t"}]), dict[str, "Failure"]()
    full += [1, 2]
    assert fit_on(config, FakeRay([SMALL_NODE]), (0,), failures) == 1
    full += [1] * driver.DEATHS
    assert fit_on(config, FakeRay([SMALL_NODE]), (1,), failures) == 0
    return failures["t"]


@pytest.mark.slow
def test_a_node_whose_disk_is_full_is_named_and_another_one_is_tried(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay, full = Depot.lay, list[int]()

    def short(*given: Any, **more: Any) -> None:
        if full and full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        lay(*given, **more)

    monkeypatch.setattr(Depot, "lay", short)
    told = _twice_short_of_disk(project, full)
    assert told.reason.startswith("it ended 3 times, at last: cannot write: No space left")
    assert "free space" in (told.hint or "") and f"{node}" in told.sentence


@pytest.mark.slow
def test_a_disk_that_fills_during_a_fit_is_its_nodes_too(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, full = Worker.ask, list[int]()

    def short(*given: Any, **more: Any) -> Any:
        if full and full.pop():
            trace = "OSError: [Errno 28] No space left on device"
            raise errors.EnsembleError("cannot write: No space left") from Elsewhere(trace)
        return ask(*given, **more)

    monkeypatch.setattr(Worker, "ask", short)
    told = _twice_short_of_disk(project, full)
    assert f"node {socket.gethostname()}, t" in told.reason


@pytest.mark.slow
def test_nodes_are_not_lost_for_ever(project: Project, node: Path) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        raise LostError
        yield

    config = cluster_config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE], fate)
    with pytest.raises(errors.LearnerError, match="with 5 nodes, at last: its node was lost"):
        fit_on(config, ray)
    assert len(ray.submitted) == driver.LOSSES


def test_without_its_own_node_this_process_does_not_wait_for_others(
    project: Project, node: Path
) -> None:
    config = cluster_config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE])
    ray.dead = 0
    with pytest.raises(errors.EnsembleError, match="cluster is lost: the node of this process"):
        fit_on(config, ray)
    assert not ray.submitted


@pytest.mark.slow
def test_an_error_of_a_plugin_is_not_tried_again(project: Project, node: Path) -> None:
    config = cluster_config(project, [{"name": "t", "fails": "raises"}])
    ray = FakeRay([SMALL_NODE])
    with pytest.raises(errors.LearnerError, match=r"boom(.|\n)*mean\.py:\d+") as caught:
        fit_on(config, ray)
    assert "ValueError: boom" in str(caught.value.__cause__)
    assert len(ray.submitted) == 1


def test_another_toolkit_on_a_node_is_told(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = remote.toolkit()
    monkeypatch.setattr(jobs, "toolkit", lambda: {**own, "version": "9.9"})
    config = cluster_config(project, [{"name": "t"}])
    with pytest.raises(errors.EnsembleError, match=f"{own['version']} there, 9.9 here(.|\n)*node"):
        fit_on(config, FakeRay([SMALL_NODE]))
    monkeypatch.setattr(jobs, "toolkit", lambda: {**own, "code": "0" * 64})
    with pytest.raises(errors.EnsembleError, match="their code differs"):
        fit_on(config, FakeRay([SMALL_NODE]))


@pytest.mark.slow
def test_another_plugin_on_a_node_is_told(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cluster_config(project, [{"name": "t", "plugin": "tfidf", "min_df": 1}])
    described = jobs.JobMaker.described

    def other(maker: jobs.JobMaker, job: jobs.Job) -> Any:
        code = {**job.parts["code"], **changed}
        told, digests = described(maker, job)
        parts = {**job.parts, "code": code}
        return {**told, "request": {**told["request"], "key": "0" * 64, "parts": parts}}, digests

    monkeypatch.setattr(jobs.JobMaker, "described", other)
    changed = {"distribution": "preference-ensemble 9.9"}
    with pytest.raises(errors.LearnerError, match=r"it has preference-ensemble .* and not .*9\.9"):
        fit_on(config, FakeRay([SMALL_NODE]))
    changed = {"source": "0" * 64}
    with pytest.raises(errors.LearnerError, match="is another than here"):
        fit_on(config, FakeRay([SMALL_NODE]))


def test_what_no_node_has_enough_for_fails_at_once_and_alone(project: Project, node: Path) -> None:
    failures: dict[str, Failure] = {}
    config = cluster_config(project, [{"name": "t", "gpus": 2}])
    large = {**SMALL_NODE, "GPU": 1.0}
    assert fit_on(config, FakeRay([SMALL_NODE, large]), (0, 1), failures) == 0
    assert "no node of the cluster has what it needs: 1 CPUs, 2 GPUs" in failures["t"].reason
    assert "the largest of 2 has 2 CPUs, 1 GPU, 8 GiB" in failures["t"].reason


@pytest.mark.slow
def test_a_fit_asks_for_what_its_learner_declares(project: Project, node: Path) -> None:
    config = cluster_config(project, [{"name": "t", "gpus": 1}])
    ray = FakeRay([{**SMALL_NODE, "GPU": 1.0}])
    fit_on(config, ray)
    assert ray.submitted == [
        ("t  fold 0", {"num_cpus": 1, "num_gpus": 1, "memory": 2**30}),
    ]
    assert not ray.jobs[0]["lasting"], "a process that has had a GPU gives it back"


def test_a_fold_that_comes_back_as_another_is_not_taken(
    project: Project, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cluster_config(project, [{"name": "t"}])
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
        fit_on(config, ray, (0,))
    assert not space.store.directory("t", 0).exists()
    assert not list(space.run.rglob(".tmp-*"))


def test_interrupting_ends_what_is_on_its_way(project: Project, node: Path) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        yield {"what": "started", "node": "n", "process": 1}
        raise KeyboardInterrupt

    config = cluster_config(project, [{"name": "t"}])
    ray = FakeRay([SMALL_NODE], fate)
    with pytest.raises(KeyboardInterrupt):
        fit_on(config, ray, (0, 1))
    assert ray.cancelled == 2


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
    fit_on(
        cluster_config(project, [{"name": "t"}]),
        ray_that_says(STARTED, half, FAILED),
        (0,),
        failures,
    )
    assert told == ["node n", (0.5, "step 5"), "over"]
    assert failures["t"].reason == "boom"


def test_resources_of_a_learner_may_name_threads() -> None:
    assert Resources(threads=4).threads == 4
    assert fold_checkpoint.__doc__
