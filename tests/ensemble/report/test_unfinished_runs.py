"""Reports of runs of which a part has not been made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from ensemble.storage.hashing import hash_file
from tests.ensemble.report.made_up_runs import Run, make_run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


STAGES = {
    "nothing": [
        *("config.toml", "battles.json", "battles.parquet", "folds.json", "folds.parquet"),
        *("learners", "stack", "submission.csv"),
    ],
    "prepare": ["folds.json", "folds.parquet", "learners", "stack", "submission.csv"],
    "split": ["learners", "stack", "submission.csv"],
    "fit": ["stack", "submission.csv"],
    "stack": ["submission.csv"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_has_got_only_so_far_has_a_report(drawn_run: Run, stage: str) -> None:
    drawn_run.drop(*STAGES[stage])
    html = drawn_run.report()
    Page(html)
    assert ("not measured" in section(html, "candidates")) == (stage != "stack")
    assert ("not measured" in section(html, "errors")) == (stage in {"nothing", "prepare", "split"})
    assert ("not measured" in section(html, "labels")) == (stage == "nothing")
    assert "Submission: not written yet." in section(html, "test")
    assert "None" not in Page(html).text
    assert "nan" not in Page(html).text


def test_before_the_stack_the_best_learner_leads(run: Run) -> None:
    run.drop("stack")
    html = run.report()
    best = min(run.candidates["learners"], key=lambda learner: learner["log_loss"])["name"]
    assert f"The best so far is {best}." in html
    assert f"predictions of {best}, the best learner so far" in section(html, "errors")
    assert "Log loss not measured no candidate has been chosen" in Page(html).text


def test_missing_folds_are_counted_and_in_no_score(drawn_run: Run) -> None:
    drawn_run.drop("stack", "learners/learner-1/fold-0")
    held_out = pl.read_parquet(drawn_run.path / "folds.parquet").filter(pl.col("fold") == 0).height
    words = Page(drawn_run.report()).text
    assert (
        f"Learner learner-1: 2 of 3 folds are complete; {held_out} target rows have no prediction"
        in words
    )
    assert f"learner-1 2 of 3 folds, {150 - held_out} rows" in words


def test_a_learner_that_has_not_begun_is_listed(run: Run) -> None:
    run.drop("stack", "learners/learner-2")
    words = section(run.report(), "learners")
    assert "learner-2 0 of 3 folds, 0 rows not measured not measured" in words


def test_half_written_folds_do_not_count(run: Run) -> None:
    source = run.path / "learners" / "learner-0" / "fold-0"
    shutil.copytree(source, source.with_name(".tmp-1234-fold-0"))
    run.drop("learners/learner-0/fold-0/manifest.json")
    assert "learner-0 2 of 3" in section(run.report(), "learners")


def test_rows_with_nan_logits_are_missing_not_zero(run: Run) -> None:
    directory = run.path / "learners" / "learner-0" / "fold-0"
    table = pl.read_parquet(directory / "oof.parquet")
    values = [float("nan"), *table["logit_tie"].to_list()[1:]]
    table.with_columns(logit_tie=pl.Series(values, dtype=pl.Float32)).write_parquet(
        directory / "oof.parquet"
    )
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["oof.parquet"] = hash_file(directory / "oof.parquet")
    write_json(directory / "manifest.json", manifest)
    run.drop("stack")
    html = run.report()
    assert "Learner learner-0 has no prediction of 1 target rows" in html
    assert "learner-0 3 of 3 folds, 149 rows" in section(html, "learners")


def test_one_row_and_one_learner_are_enough(tmp_path: Path) -> None:
    made = make_run(tmp_path / "tiny", rows=6, learners=1)
    made.drop("stack")
    html = made.report()
    Page(html)
    assert "not measured: it takes two learners" in section(html, "agreement")
