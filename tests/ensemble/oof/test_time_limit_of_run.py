"""A time limit for a whole run: what is started, what is left, and that it goes on from there."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import ensemble
from ensemble import pipeline
from ensemble.battles.held_out import HeldOut
from ensemble.errors import IncompleteRunError
from ensemble.oof.budget import Budget
from ensemble.oof.teaching import PlanShape
from ensemble.oof.workers import Task
from ensemble.run_dir.unfinished_record import read_unfinished
from tests.ensemble.oof.said import Said
from tests.ensemble.oof.slow_learners import Clock, Slow, SlowPlugin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Learners, Project, UsePlugins

AFTER = 5.0
"""Seconds that are set aside for the stack."""
DEAR = {"name": "dear", "plugin": "slow", "takes": 100.0, "shift": 0.3}
PLAIN = {"name": "plain", "plugin": "slow", "takes": 2.0}
TEACHER = {"name": "teacher", "plugin": "slow", "takes": 100.0, "shift": 0.2}
PUPIL = {"name": "pupil", "plugin": "taught", "teachers": ["teacher"], "takes": 2.0}
QUICK = {"name": "quick", "plugin": "quick", "takes": 1.0, "shift": 0.1}


HERE = {"executor": "in-process"}
UNSOUND = """
import numpy as np
from tests.ensemble.oof.slow_learners import Taught

class Unsound(Taught):
    def predict_logits(self, battles):
        return np.full((len(battles), 3), np.inf, dtype=np.float32)
"""


@pytest.fixture
def unsound(project: Project) -> dict[str, Any]:
    """Give a pupil that breaks its contract: it predicts nothing."""
    (project.path / "unsound.py").write_text(UNSOUND)
    return PUPIL | {"name": "unsound", "plugin": "unsound.py:Unsound"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, use_plugins: UsePlugins, project: Project) -> None:
    use_plugins(slow=SlowPlugin())
    monkeypatch.setattr("ensemble.oof.clock.seconds", Clock.seconds)
    monkeypatch.setattr("ensemble.stages.budget.seconds_after_fits", lambda *_: AFTER)
    monkeypatch.setattr(Clock, "now", 0.0)


def _events(run: Path, *names: str) -> list[tuple[str, Any]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [(e["learner"], e.get("fold", e.get("pair"))) for e in found if e["event"] in names]


def _cut(project: Project, learners: Learners, limit: float, **changes: Any) -> IncompleteRunError:
    with pytest.raises(IncompleteRunError, match="the time limit left") as caught:
        ensemble.run(project.config(learners, **changes), time_limit=limit)
    return caught.value


def _manifests(run: Path) -> dict[str, int]:
    found = run.glob("learners/*/*/manifest.json")
    return {str(path): path.stat().st_mtime_ns for path in found}


@pytest.mark.parametrize("executor", ["auto", "in-process"])
def test_one_fold_of_every_learner_is_fitted_first(executor: str, project: Project) -> None:
    config = project.config([PLAIN, QUICK, DEAR], execution={"executor": executor, "threads": 1})
    ensemble.run(config)
    fitted = _events(project.path / "run", "fold fitted")
    assert sorted(fitted[:3]) == [("dear", 0), ("plain", 0), ("quick", 0)]
    assert len(fitted) == 9


def test_what_would_take_longer_is_not_started_and_what_is_complete_is_stacked(
    project: Project,
) -> None:
    error = _cut(project, [PLAIN, DEAR], 150)
    run = project.path / "run"
    # Plain 0, dear 0 as a probe; then plain 1 and 2; for dear 1 there are 41 seconds left.
    assert _events(run, "fold fitted") == [("plain", 0), ("dear", 0), ("plain", 1), ("plain", 2)]
    assert error.unfinished == {"dear": ("fold 1", "fold 2")}
    assert Clock.now == 106
    assert "ensemble run" in str(error)
    assert pl.read_csv(run / "submission.csv").height == 9
    verdict = json.loads((run / "stack/verdict.json").read_text())
    assert "dear is not finished: fold 1, fold 2 are not fitted yet" in verdict["sentence"]
    tables = json.loads((run / "stack/candidates.json").read_text())
    oof = pl.read_parquet(run / "learners/dear/fold-0/oof.parquet")
    assert tables["rows_scored"] == oof.height
    assert tables["missing_by_learner"] == {"dear": 60 - oof.height}
    audit = json.loads((run / "audit.json").read_text())
    assert all(one["ok"] for one in audit["checks"])
    assert {"dear fold 1", "dear fold-1 in the stack"} <= set(audit["missing"])


@pytest.mark.parametrize("models", ["folds", "refit"])
def test_the_same_command_goes_on_and_ends_as_without_a_limit(
    models: str, project: Project
) -> None:
    learners = [PLAIN, QUICK, DEAR]
    _cut(project, learners, 150, predict={"models": models})
    run, before = project.path / "run", _manifests(project.path / "run")
    ensemble.run(project.config(learners, predict={"models": models}))
    after = _manifests(run)
    assert before.items() <= after.items()
    assert not (run / "unfinished.json").exists()
    config = project.config(learners, predict={"models": models}, run_dir="whole")
    whole = ensemble.run(config).directory
    assert (run / "submission.csv").read_bytes() == (whole / "submission.csv").read_bytes()
    assert json.loads((run / "audit.json").read_text())["missing"] == []


def test_with_measured_times_the_next_limit_starts_nothing_that_is_too_long(
    project: Project,
) -> None:
    _cut(project, [PLAIN, DEAR], 150)
    Clock.now = 0.0
    _cut(project, [PLAIN, DEAR], 100)
    assert Clock.now == 0.0
    _cut(project, [PLAIN, DEAR], 120)
    assert Clock.now == 100.0


def test_a_learner_that_says_how_long_it_takes_is_believed(project: Project) -> None:
    error = _cut(project, [PLAIN, DEAR | {"says": 100.0}], 60)
    assert error.unfinished["dear"] == ("fold 0", "fold 1", "fold 2")
    run = project.path / "run"
    assert ("dear", 0) not in _events(run, "fold fitted")
    verdict = json.loads((run / "stack/verdict.json").read_text())
    assert verdict["left_out"] == ["dear"]
    assert "Made without dear: no fold of it is fitted yet." in verdict["sentence"]


def test_what_still_runs_at_the_end_is_stopped_and_has_not_failed(project: Project) -> None:
    error = _cut(project, [PLAIN, DEAR | {"takes": 0.0, "hangs": True}], AFTER + 2.4)
    run = project.path / "run"
    assert _events(run, "fold stopped") == [("dear", 0)]
    assert error.failures == ()
    assert not (run / "learners/dear/failure.json").exists()
    assert error.unfinished["dear"] == ("fold 0", "fold 1", "fold 2")


def test_a_learner_s_own_time_limit_is_still_a_failure(project: Project) -> None:
    learners = [PLAIN, DEAR | {"takes": 0.0, "hangs": True, "time_limit": 0.2}]
    with pytest.raises(IncompleteRunError, match="1 of 2 learners failed") as caught:
        ensemble.run(project.config(learners), time_limit=1000)
    assert caught.value.unfinished == {}


def test_nothing_is_left_undone_where_there_is_time(project: Project) -> None:
    run = ensemble.run(project.config([PLAIN, DEAR]), time_limit="1h")
    assert read_unfinished(run.directory).fits == {}
    assert len(run.oof("dear").drop_nans()) == 60


def test_pairs_of_cheap_learners_come_before_dear_ones(project: Project) -> None:
    _cut(project, [DEAR, QUICK], 120, stack={"meta_learner": "lightgbm", "resamples": 200})
    run = project.path / "run"
    assert len(_events(run, "pair fitted")) == 3
    assert _events(run, "fold fitted")[:3] == [("quick", 0), ("quick", 1), ("quick", 2)]
    assert ("dear", 0) in _events(run, "fold fitted")


def test_folds_of_cheap_learners_are_fitted_where_there_is_no_time_for_their_pairs(
    project: Project,
) -> None:
    learners = [QUICK | {"takes": 10.0, "says": 10.0}, DEAR | {"says": 100.0}]
    error = _cut(project, learners, 40)
    assert error.is_stacked
    folds = [("quick", fold) for fold in range(3)]
    assert _events(project.path / "run", "fold fitted", "pair fitted") == folds
    whole = ensemble.run(project.config(learners))
    assert whole.status()["state"] == "finished"


def test_without_any_complete_fold_there_is_no_stack_and_that_is_said(project: Project) -> None:
    with pytest.raises(IncompleteRunError, match="no learner is complete") as caught:
        ensemble.run(project.config([DEAR | {"says": 900.0}]), time_limit=60)
    assert not caught.value.is_stacked
    assert caught.value.unfinished == {"dear": ("fold 0", "fold 1", "fold 2")}
    assert (project.path / "run/report.html").exists()


def test_a_fold_of_every_learner_comes_first_with_what_it_needs_of_teachers(
    project: Project,
) -> None:
    error = _cut(project, [PLAIN | {"takes": 30.0}, PUPIL, TEACHER], 380)
    run = project.path / "run"
    # 30 and 100; two pairs of 100 and 2; then plain 1, and no more is done in time.
    folds = _events(run, "fold fitted")
    assert folds == [("plain", 0), ("teacher", 0), ("pupil", 0), ("plain", 1)]
    assert [sorted(pair) for _, pair in _events(run, "pair fitted")] == [[0, 1], [0, 2]]
    assert Clock.now == 362
    assert error.unfinished["pupil"] == ("fold 1", "fold 2")
    whole = ensemble.run(project.config([PLAIN | {"takes": 30.0}, PUPIL, TEACHER]))
    assert len(whole.oof("pupil").drop_nans()) == 60


def test_no_teacher_is_fitted_for_pupils_that_would_not_be_done_in_time(project: Project) -> None:
    learners = [PUPIL | {"says": 100.0}, TEACHER | {"says": 100.0}]
    learners.append(PLAIN | {"takes": 30.0, "says": 30.0})
    error = _cut(project, learners, 290)
    run = project.path / "run"
    assert _events(run, "pair fitted") == []
    folds = _events(run, "fold fitted")
    assert folds == [("plain", 0), ("teacher", 0), ("plain", 1), ("teacher", 1)]
    assert error.unfinished["pupil"] == ("fold 0", "fold 1", "fold 2")


def test_a_cheap_pupil_of_a_dear_teacher_waits_for_the_first_folds_of_others(
    project: Project,
) -> None:
    pupil = PUPIL | {"plugin": "quick-taught"}
    _cut(project, [pupil, TEACHER, DEAR | {"takes": 110.0}], 230)
    assert _events(project.path / "run", "fold fitted") == [("teacher", 0), ("dear", 0)]


@pytest.mark.kit
@pytest.mark.parametrize("limit", [None, 9000.0])
def test_no_teacher_is_fitted_for_a_pupil_that_breaks_its_contract(
    limit: float | None, project: Project, unsound: dict[str, Any]
) -> None:
    learners = [unsound, TEACHER, PLAIN]
    with pytest.raises(IncompleteRunError):
        ensemble.run(project.config(learners, execution=HERE), time_limit=limit)
    run = project.path / "run"
    assert _events(run, "pair fitted") == []
    folds = _events(run, "fold fitted")
    assert sorted(folds) == [(name, fold) for name in ("plain", "teacher") for fold in range(3)]


@pytest.mark.kit
def test_what_was_fitted_early_is_counted_once_though_a_learner_fails(
    project: Project, unsound: dict[str, Any]
) -> None:
    learners = [PUPIL, unsound, TEACHER, QUICK]
    with pytest.raises(IncompleteRunError):
        pipeline.run(
            project.config(learners, execution=HERE), said := Said(), budget=Budget(9000.0)
        )
    assert "fits of teachers  3 fitted, 0 kept" in said.lines
    assert "folds  9 fitted, 0 kept" in said.lines


def test_no_teacher_is_fitted_for_a_pupil_whose_contract_there_is_no_time_to_check() -> None:
    specs: list[Any] = [SimpleNamespace(name=name, prototype=Slow()) for name in "tp"]
    teacher, pupil = specs
    tasks = [Task(teacher, HeldOut((0, 1))), Task(pupil, HeldOut((0,)))]
    asked: dict[str, list[Any]] = {"p": [(teacher, HeldOut((0, 1)))], "t": []}
    with pytest.MonkeyPatch.context() as patch:
        for module in ("budget", "order"):
            patch.setattr(f"ensemble.oof.{module}.asked_fits", lambda spec, *_: asked[spec.name])
        budget = Budget(100.0)
        budget.expect(tasks, {}, PlanShape(3, is_ordered=False))
        assert budget.admits(tasks[0], {}, PlanShape(3, is_ordered=False))
        budget.hold(pupil)
        assert not budget.admits(tasks[0], {}, PlanShape(3, is_ordered=False))
