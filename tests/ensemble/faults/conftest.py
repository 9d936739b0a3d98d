"""A small run, whose learner and report cost next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ensemble.faults.small_runs import SmallRun, cheap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixture_types import Project


@pytest.fixture
def small_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallRun]:
    """Give one learner, two folds and no meta-learner, before anything is run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "xdg"))
    project.config(
        folds={"n_splits": 2},
        stack={"meta_learner": "none", "resamples": 100},
        execution={"threads": 1, "executor": "in-process"},
    )
    with cheap():
        yield SmallRun(project.path)
