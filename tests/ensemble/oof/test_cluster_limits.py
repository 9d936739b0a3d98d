"""Fits on nodes under a limit of time, where this process stands in for Ray and for the nodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.battles.held_out import HeldOut
from ensemble.oof import clock
from ensemble.oof.attempt import Attempt
from ensemble.oof.budget import Budget
from ensemble.oof.cluster import driver
from ensemble.oof.workers import Task
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.fake_ray import (
    FAILED,
    SMALL_NODE,
    STARTED,
    FakeRay,
    LostError,
    cluster_config,
    fit_on,
)
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixture_types import Project


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of limits; a test moves its hands."""
    now = [0.0]
    monkeypatch.setattr(clock, "seconds", lambda: now[0])
    return now


def test_a_fit_that_is_tried_again_has_the_time_that_is_left(
    project: Project, node: Path, hands: list[float]
) -> None:
    def fate(_messages: Iterator[Any]) -> Iterator[Any]:
        hands[0] += 30
        raise LostError
        yield

    ray, budget = FakeRay([SMALL_NODE], fate), Budget(100.0)
    config = cluster_config(project, [{"name": "t"}])
    fit_on(config, ray, (0,), {}, budget)
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

    config = cluster_config(
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
    assert fit_on(cluster_config(project, [{"name": "t"}]), ray, (0, 1, 2), failures, budget) == 0
    assert (ray.cancelled, len(budget.undone), failures) == (2, 3, {})
