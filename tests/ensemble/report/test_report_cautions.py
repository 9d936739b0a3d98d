"""What a report says is to be known before trusting its numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from ensemble import CLASSES
from tests.ensemble.report.made_up_runs import Run, make_run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


def test_a_stack_file_that_contradicts_the_json_is_pointed_out(run: Run) -> None:
    place = run.path / "stack" / "oof.parquet"
    stacked = pl.read_parquet(place)
    stacked.with_columns(pl.lit(1 / 3).alias(c) for c in CLASSES).write_parquet(place)
    assert "stack/oof.parquet scores 1.098612, but the recorded log loss" in run.report()


def test_an_override_of_the_evidence_is_pointed_out(run: Run) -> None:
    write_json(run.path / "stack" / "verdict.json", run.verdict | {"would_have_chosen": "blend"})
    assert "The config asks for lightgbm; by the evidence it would be blend." in run.report()


def test_how_far_the_stack_is_from_the_best_possible(run: Run) -> None:
    test = {"log_loss": 0.9901, "best_log_loss": 0.8702}
    write_json(run.path / "truth.json", {"best_log_loss_target": 0.5, "test": test})
    words = Page(run.report()).text
    chosen = next(c for c in run.verdict["candidates"] if c["name"] == "lightgbm")
    prior = float(re.findall(r"Class prior ([\d.]+)", words)[0])
    closed = (prior - chosen["log_loss"]) / (prior - 0.5)
    assert (
        f"Best possible (generated data only) 0.5000 expected over labels; {closed:.0%} of the way"
        in words
    )
    assert "test rows, same labels: 0.9901, best 0.8702" in words


def test_the_best_possible_is_that_of_the_same_labels_where_it_is_known(run: Run) -> None:
    truth = {"best_log_loss_target": 0.5, "target": {"best_log_loss": 0.6}}
    write_json(run.path / "truth.json", truth)
    assert "data only) 0.6000 on the same labels;" in Page(run.report()).text


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (
            ["unsupported", "unsupported"],
            "75 rows of source feedback are for pre-training, and no learner of this run "
            "pre-trains: they were not used.",
        ),
        (
            ["used", "unsupported"],
            "75 rows of source feedback are for pre-training, and learner-1 cannot pre-train: "
            "not used there.",
        ),
    ],
)
def test_rows_that_no_learner_pretrains_on_are_pointed_out(
    tmp_path: Path, states: list[str], words: str
) -> None:
    made = make_run(tmp_path / "run", learners=2, rows=150)
    made.drop("stack")
    _as_pretraining(made.path / "battles.parquet")
    for name, state in zip(("learner-0", "learner-1"), states, strict=True):
        for place in (made.path / "learners" / name).glob("*/manifest.json"):
            write_json(place, json.loads(place.read_text()) | {"pretrain": state})
    assert words in Page(made.report()).text


def _as_pretraining(place: Path) -> None:
    role = pl.when(pl.col("source") == "feedback").then(pl.lit("pretrain")).otherwise("role")
    pl.read_parquet(place).with_columns(role=role).write_parquet(place)


def test_rows_that_some_learner_pretrains_on_are_no_caution(whole: tuple[Run, str]) -> None:
    assert "are for pre-training" not in Page(whole[1]).text


def test_unusable_rows_are_announced_only_where_there_are_any(run: Run) -> None:
    assert "Sources, and rows that could not be used" in section(run.report(), "folds")
    sources = json.loads((run.path / "battles.json").read_text())
    sources["sources"][0] |= {"dropped_rows": 0, "bad_rows": []}
    write_json(run.path / "battles.json", sources)
    assert "could not be used" not in Page(run.report()).text


def test_pretraining_has_a_column_where_rows_are_for_it(run: Run) -> None:
    assert "pre-training" not in section(run.report(), "folds")
    folds = json.loads((run.path / "folds.json").read_text())
    folds["folds"][1]["pretraining_rows"] = 1234
    write_json(run.path / "folds.json", folds)
    words = section(run.report(), "folds")
    assert "Available for pre-training" in words
    assert "1,234" in words


def test_unknown_training_rows_are_pointed_out(run: Run) -> None:
    for place in (run.path / "learners" / "learner-0").glob("*/manifest.json"):
        write_json(
            place, json.loads(place.read_text()) | {"training_rows": "unknown", "seconds": {}}
        )
    html = run.report()
    assert "The training rows of learner learner-0 are unknown" in html
    assert "learner-0 3 not measured not measured not measured" in section(html, "timing")
