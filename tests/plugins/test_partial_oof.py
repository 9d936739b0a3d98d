"""Whole runs with predictions from outside of some folds, or of the hold-out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, errors, run
from ensemble.battles.schema import LOGIT_COLUMNS
from tests.plugins.outside_files import oof_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Project

FULL = {"name": "h", "plugin": "handcrafted", "n_models": 2}


def _of_fold(project: Project, folds: list[int], name: str) -> dict[str, Any]:
    """Write what an outside model would say of the rows of some folds of the project's plan."""
    first = run(project.config([FULL], run_dir="first"))
    rows = first.folds.filter(pl.col("fold").is_in(folds)).select("id", "fold")
    noise = np.random.default_rng(0).normal(size=(len(rows), 3))
    rows.with_columns(**dict(zip(LOGIT_COLUMNS, noise.T, strict=True))).write_csv(
        project.path / f"{name}.csv"
    )
    tests = first.battles.filter(pl.col("is_test"))["id"].to_list()
    oof_table(tests, np.tile([0.1, 0, 0], (len(tests), 1))).write_csv(project.path / "outside.csv")
    return {"name": name, "plugin": "precomputed", "oof": f"{name}.csv", "test": "outside.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("folds", [[0], [0, 2]])
def test_a_learner_of_some_folds_ends_in_a_verdict_on_the_rows_that_all_have(
    project: Project, folds: list[int]
) -> None:
    outside = _of_fold(project, folds, "outside-oof")
    done = run(project.config([FULL, outside], run_dir="second"))
    rows = done.folds.filter(pl.col("fold").is_not_null())
    due = rows.filter(pl.col("fold").is_in(folds))["id"].to_list()
    logits = done.oof("outside-oof")
    has = logits.filter(pl.col("logit_a").is_not_nan())
    assert sorted(has["id"]) == sorted(due)
    assert (
        logits.filter(~pl.col("id").is_in(due))
        .select(pl.all_horizontal(pl.col(LOGIT_COLUMNS).is_nan().all()))
        .item()
    )
    stacked = done.probabilities()
    assert sorted(stacked.filter(pl.col(CLASSES[0]).is_not_nan())["id"]) == sorted(due)
    tables = json.loads((done.directory / "stack" / "candidates.json").read_text())
    lacking = len(rows) - len(due)
    assert (tables["rows_scored"], tables["rows_missing"]) == (len(due), lacking)
    assert tables["missing_by_learner"] == {"outside-oof": lacking}
    for fold in range(3):
        manifest = json.loads(
            (done.directory / f"learners/outside-oof/fold-{fold}/manifest.json").read_text()
        )
        assert manifest["rows"]["missing"] == (0 if fold in folds else manifest["rows"]["held_out"])
        assert manifest["brought"]["folds"] == "as the run"
    assert len(done.submission) == done.battles["is_test"].sum()
    assert done.submission.select(pl.all_horizontal(pl.col(CLASSES).is_finite().all())).item()
    audit = done.audit(deep=True)
    assert (audit.ok, audit.state) == (True, "unproven"), audit
    report = (done.directory / "report.html").read_text()
    assert f"outside-oof has no prediction of {lacking:,} target rows" in report


def _with_holdout(project: Project, ids: Callable[[list[str]], list[str]]) -> Any:
    """Make a run with a hold-out, and predictions from outside of some of the target's rows."""
    table = pl.read_csv(project.path / "train.csv", infer_schema=False)
    chosen = ids(table["id"].to_list())
    noise = np.random.default_rng(0).normal(size=(len(chosen), 3))
    oof_table(chosen, noise).write_csv(project.path / "whole.csv")
    tests = pl.read_csv(project.path / "test.csv", infer_schema=False)["id"].to_list()
    oof_table(tests, np.tile([0.1, 0, 0], (len(tests), 1))).write_csv(project.path / "outside.csv")
    outside = {"name": "o", "plugin": "precomputed", "oof": "whole.csv", "test": "outside.csv"}
    learners = [{"name": "p", "plugin": "prior"}, outside]
    return project.config(learners, folds={"n_splits": 3, "holdout": 0.2})


def test_predictions_of_the_hold_out_are_looked_up_for_the_last_score(project: Project) -> None:
    done = run(_with_holdout(project, lambda ids: ids))
    kept = done.folds.filter(pl.col("role") == "holdout")["id"]
    assert len(kept)
    assert done.holdout["rows"] == len(kept)
    assert [one["name"] for one in done.holdout["learners"]] == ["p", "o"]
    assert done.holdout["unproven"] == ("o",)
    assert not done.oof("o")["id"].is_in(kept.implode()).any()
    audit = done.audit(deep=True)
    assert (audit.ok, audit.state) == (True, "unproven"), audit


def test_predictions_that_lack_rows_of_the_hold_out_are_refused(project: Project) -> None:
    config = _with_holdout(project, lambda ids: ids)
    with pytest.raises(errors.ConfigError, match=r"rows of the hold-out have no prediction"):
        run(_with_holdout(project, lambda ids: [i for i in ids if i not in _kept(config)]))


def _kept(config: Any) -> set[str]:
    done = run(config)
    return set(done.folds.filter(pl.col("role") == "holdout")["id"])
