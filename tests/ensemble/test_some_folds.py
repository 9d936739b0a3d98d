"""Learners that are fitted on some folds alone, to see how good they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ensemble
from ensemble import errors
from ensemble.cli.terminal import show_summary, summary
from ensemble.evaluation.losses import row_log_loss, softmax
from tests.ensemble.oof.cheap_learners import CheapPlugin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project, UsePlugins

WHOLE: dict[str, Any] = {"name": "whole", "plugin": "prior"}
SOME: dict[str, Any] = {"name": "some", "plugin": "prior", "shift": 0.2}


def _fits(run: Path, name: str) -> list[str]:
    return sorted(path.parent.name for path in run.glob(f"learners/{name}/*/manifest.json"))


@pytest.mark.parametrize(
    ("folds", "fits"), [(1, ["fold-0"]), ([2], ["fold-2"]), ([0, 2], ["fold-0", "fold-2"])]
)
def test_a_learner_is_fitted_on_these_folds_alone_and_scored_there(
    folds: Any, fits: list[str], project: Project
) -> None:
    run = ensemble.run(project.config([WHOLE, SOME | {"folds": folds}]))
    assert _fits(run.directory, "some") == fits
    oof = run.oof("some")
    known = np.isfinite(oof["logit_a"].to_numpy())
    wanted = [int(name.removeprefix("fold-")) for name in fits]
    assert np.array_equal(known, np.isin(oof["fold"].to_numpy(), wanted))
    score = next(row for row in run.scores().to_dicts() if row["name"] == "some")
    labels = oof.join(run.battles, on="id", maintain_order="left")
    losses = row_log_loss(
        labels.select("label_a", "label_b", "label_tie").to_numpy()[known],
        softmax(oof.select("logit_a", "logit_b", "logit_tie").to_numpy()[known]),
    )
    assert score["rows"] == known.sum()
    assert score["log_loss"] == pytest.approx(losses.mean())
    assert score["folds"] == len(fits)


def test_it_takes_no_part_in_the_stack_unless_it_is_named_and_then_on_its_rows(
    project: Project,
) -> None:
    learners: list[dict[str, Any]] = [WHOLE, SOME | {"folds": 1}]
    run = ensemble.run(project.config(learners))
    stack = json.loads((run.directory / "stack/manifest.json").read_text())
    assert stack["learners"] == ["whole"]
    assert run.audit().state == "passed"
    named = {"meta_learner": "none", "resamples": 200, "learners": ["whole", "some"]}
    run = ensemble.run(project.config(learners, stack=named))
    stack = json.loads((run.directory / "stack/manifest.json").read_text())
    assert stack["learners"] == ["whole", "some"]
    assert list(stack["key_parts"]["folds"]["some"]) == ["fold-0"]
    tables = json.loads((run.directory / "stack/candidates.json").read_text())
    rows = (run.folds["fold"] == 0).sum()
    assert tables["rows_scored"] == rows
    assert tables["missing_by_learner"] == {"some": 60 - rows}
    assert run.audit().state == "passed"
    assert run.submission.height == 9


def test_where_all_learners_have_some_folds_they_are_stacked(project: Project) -> None:
    run = ensemble.run(project.config([WHOLE | {"folds": 2}, SOME | {"folds": 1}]))
    stack = json.loads((run.directory / "stack/manifest.json").read_text())
    assert stack["learners"] == ["whole", "some"]


def test_without_folds_again_what_is_there_is_kept(project: Project) -> None:
    run = ensemble.run(project.config([WHOLE, SOME | {"folds": 1}])).directory
    before = (run / "learners/some/fold-0/manifest.json").stat().st_mtime_ns
    ensemble.run(project.config([WHOLE, SOME]))
    assert (run / "learners/some/fold-0/manifest.json").stat().st_mtime_ns == before
    assert _fits(run, "some") == ["fold-0", "fold-1", "fold-2"]
    whole = ensemble.run(project.config([WHOLE, SOME], run_dir="other")).directory
    assert (run / "submission.csv").read_bytes() == (whole / "submission.csv").read_bytes()


def test_further_folds_that_lie_there_do_not_count(project: Project) -> None:
    run = ensemble.run(project.config([WHOLE, SOME])).directory
    again = ensemble.run(project.config([WHOLE, SOME | {"folds": 1}]))
    assert _fits(run, "some") == ["fold-0", "fold-1", "fold-2"]
    score = next(row for row in again.scores().to_dicts() if row["name"] == "some")
    assert score["rows"] == (again.folds["fold"] == 0).sum()


@pytest.mark.parametrize("folds", [0, 4, -1, [], [3], [0, 0], [-1], "1", 1.5, True])
def test_folds_that_there_are_not_are_refused(folds: Any, project: Project) -> None:
    with pytest.raises(errors.ConfigError, match="folds"):
        project.config([WHOLE | {"folds": folds}])


def test_pairs_of_folds_cannot_be_had_of_some(project: Project) -> None:
    full = {"meta_learner": "none", "nesting": "full", "learners": ["some"]}
    config = project.config([WHOLE, SOME | {"folds": 2}], stack=full)
    with pytest.raises(errors.ConfigError, match="some cannot be fitted without pairs of folds"):
        ensemble.run(config)


def test_a_pupil_needs_the_folds_of_its_teacher(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(cheap=CheapPlugin())
    teacher = {"name": "teacher", "plugin": "cheap", "folds": 2}
    pupil = {"name": "pupil", "plugin": "cheap", "teachers": ["teacher"]}
    with pytest.raises(errors.ConfigError, match='learns from "teacher", whose `folds` lacks 2'):
        ensemble.run(project.config([teacher, pupil]))
    run = ensemble.run(project.config([teacher, pupil | {"folds": 1}]))
    assert _fits(run.directory, "pupil") == ["fold-0"]


def test_the_summary_says_how_good_it_is_and_that_it_is_not_stacked(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ensemble.run(project.config([WHOLE, SOME | {"folds": 1}]))
    show_summary(summary(run.directory))
    assert "some, not in the stack: log loss" in capsys.readouterr().out
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "It takes no part in the stack." in page
