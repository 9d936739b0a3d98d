"""What a config asks for, before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ensemble
from ensemble import errors
from tests.ensemble.oof.slow_learners import Clock, SlowPlugin

if TYPE_CHECKING:
    from ensemble.stages.plan import LearnerPlan, Plan
    from tests.fixture_types import Project, UsePlugins

SLOW = {"name": "slow", "plugin": "slow", "takes": 60.0, "shift": 0.1}
QUICK = {"name": "quick", "plugin": "quick", "takes": 30.0}
SAYS = {"name": "says", "plugin": "slow", "says": 7200.0, "seeds": 2}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, use_plugins: UsePlugins, project: Project) -> None:
    use_plugins(slow=SlowPlugin())
    monkeypatch.setattr("ensemble.oof.clock.seconds", Clock.seconds)
    monkeypatch.setattr(Clock, "now", 0.0)


def _of(plan: Plan, name: str) -> LearnerPlan:
    return next(one for one in plan.learners if one.name == name)


def test_nothing_is_written_and_what_nobody_knows_is_called_unknown(project: Project) -> None:
    before = sorted(project.path.rglob("*"))
    config = project.config([SLOW, QUICK, SAYS], predict={"refit": True})
    plan = ensemble.plan(config)
    assert sorted(project.path.rglob("*")) == sorted({*before, project.path / "config.toml"})
    assert not plan.prepared
    slow, quick, says = (_of(plan, name) for name in ("slow", "quick", "says"))
    assert (slow.folds, slow.pairs, slow.refits, slow.missing) == (3, 0, 1, 4)
    assert (slow.seconds, slow.kind) == (None, "unknown")
    assert quick.pairs == 3
    assert (says.seeds, says.seconds, says.kind) == (2, 14400.0, "estimated")
    # A refit learns from three folds of rows where a fold learns from two.
    assert says.seconds_left == pytest.approx(3 * 14400 + 1.5 * 14400)
    assert plan.unknown == ["slow", "quick"]
    assert plan.wall_seconds >= (says.seconds_left or 0.0) > 0


def test_fits_without_several_folds_and_soups_are_counted_apart(project: Project) -> None:
    learners: list[dict[str, Any]] = [
        {"name": "first", "plugin": "tfidf"},
        {"name": "second", "plugin": "tfidf", "teachers": ["first"], "distillation": 0.5},
        {"name": "third", "plugin": "tfidf", "teachers": ["second"], "distillation": 0.5},
    ]
    config = project.config(learners, folds={"n_splits": 4}, stack={"nesting": "plain"})
    plan = ensemble.plan(config)
    first, second, third = (_of(plan, name) for name in ("first", "second", "third"))
    assert (first.folds, first.pairs, first.larger, first.missing) == (4, 6, 4, 14)
    assert (second.folds, second.pairs, second.larger) == (4, 6, 0)
    assert (third.pairs, third.refits, third.soups) == (0, 0, 0)


def test_after_a_run_times_are_measured_and_complete_fits_cost_nothing(project: Project) -> None:
    ensemble.run(project.config([SLOW, QUICK]))
    plan = ensemble.plan(project.config([SLOW, QUICK]))
    assert (_of(plan, "slow").seconds, _of(plan, "slow").kind) == (60.0, "measured")
    assert [(one.complete, one.missing) for one in plan.learners] == [(3, 0), (6, 0)]
    assert plan.wall_seconds == 0
    plan = ensemble.plan(project.config([SLOW, QUICK], seed=8))
    assert [(one.complete, one.missing) for one in plan.learners] == [(0, 3), (0, 6)]
    assert _of(plan, "slow").seconds_left == 180.0
    # Two folds of rows are learned from without one of three, and one without a pair.
    assert _of(plan, "quick").seconds_left == pytest.approx(3 * 30 + 3 * 15)


def test_other_parameters_are_not_measured(project: Project) -> None:
    ensemble.run(project.config([SLOW]))
    plan = ensemble.plan(project.config([SLOW | {"takes": 61.0}]))
    assert _of(plan, "slow").kind == "unknown"


def test_times_of_another_machine_are_estimates(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.oof.crossfit.platform.node", lambda: "elsewhere")
    ensemble.run(project.config([SLOW]))
    monkeypatch.undo()
    one = _of(ensemble.plan(project.config([SLOW], seed=8)), "slow")
    assert (one.seconds, one.kind) == (60.0, "estimated")
    assert "elsewhere" in one.basis


@pytest.mark.parametrize(
    ("executor", "workers", "share"), [("processes", 3, 3), ("in-process", 0, 1)]
)
def test_wall_time_is_that_of_the_workers(
    executor: str, workers: int, share: int, project: Project
) -> None:
    learner = {"name": "says", "plugin": "tfidf"}
    execution = {"executor": executor, "workers": workers, "threads": 1}
    plan = ensemble.plan(project.config([learner], execution=execution))
    (one,) = plan.learners
    assert one.kind == "estimated"
    assert one.at_a_time == share
    assert one.seconds_left is not None
    wall = one.seconds_left / share + plan.seconds_after_fits
    assert plan.wall_seconds == pytest.approx(wall)


def test_faults_of_the_config_are_told(project: Project) -> None:
    with pytest.raises(errors.ConfigError, match='unknown base learner "nobody"'):
        ensemble.plan(project.config([{"name": "x", "plugin": "nobody"}]))


def test_the_verb_prints_a_table_or_json(project: Project) -> None:
    project.config([{"name": "t", "plugin": "tfidf"}, {"name": "s", "plugin": "tfidf", "folds": 1}])
    verb = [sys.executable, "-m", "ensemble", "plan", str(project.path / "config.toml")]
    text = subprocess.run(verb, capture_output=True, text=True, check=True).stdout
    assert "3 folds + 3 pairs" in text
    assert "1 fold " in text
    assert "(estimated)" in text
    assert "wall time" in text
    told: dict[str, Any] = json.loads(
        subprocess.run([*verb, "--json"], capture_output=True, text=True, check=True).stdout
    )
    assert told["total"]["missing"] == 7
    assert not (project.path / "run").exists()
