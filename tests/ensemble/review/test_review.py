from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from ensemble import Run
from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.cli import cli
from ensemble.errors import DataError
from ensemble.oof.workspace import open_workspace
from ensemble.pipeline import run
from ensemble.review.effect import SHARES, measure_list, measure_shares
from ensemble.run_dir.review_record import ReviewRecord
from ensemble.run_dir.tables import read_table
from ensemble.stages.review import review_stage
from tests.fixture_types import Project

Make = Callable[..., pl.DataFrame]


@pytest.fixture
def place(project: Project) -> Path:
    return run(project.config())


def test_the_list_is_made_from_the_chosen_candidate(place: Path) -> None:
    found, record = review_stage(place, rows=5)
    assert record.by == "stack"
    assert found.counts["predictions disagree"] == 5
    written = pl.read_csv(place / "review.csv", infer_schema=False)
    assert written.columns == [
        "id", "source", "role", "reason", "label", "suggestion", "doubt", "others", "action",
        "prompt", "response_a", "response_b",
    ]  # fmt: skip
    assert set(written["source"]) <= {"arena", "extra"}
    assert isinstance(json.loads(written["prompt"][0]), list)


def test_python_gives_the_rows_and_the_summary_that_the_verb_writes(place: Path) -> None:
    rows, summary = Run(place).review(rows=5)
    written = pl.read_csv(place / "review.csv", infer_schema=False)
    assert rows.columns == written.columns
    assert rows["id"].to_list() == written["id"].to_list()
    told = CliRunner().invoke(cli, ["review", str(place), "--rows", "5", "--json", "--quiet"])
    assert json.loads(told.output) == json.loads(json.dumps(summary))
    assert summary["counts"]["predictions disagree"] == 5
    other = Run(place).review(by="p", rows=2, output=place / "mine.csv")
    assert (other.summary["by"], other.summary["path"]) == ("p", str(place / "mine.csv"))
    assert "predictions disagree" in other._repr_html_()


@pytest.mark.parametrize("ties", [True, False])
def test_identical_answers_have_to_be_ties_only_where_there_are_any(
    project: Project, ties: bool
) -> None:
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False).filter(pl.col("winner_tie").cast(float) == 0)
    same = pl.int_range(pl.len()) < 3
    answers = pl.when(same).then("response_a").otherwise("response_b").alias("response_b")
    table.with_columns(answers).write_csv(path)
    sources = [{"name": "arena", "path": "train.csv", "role": "target"}]
    config = project.config(sources=sources, task={"ties": ties})
    found, _ = review_stage(run(config), rows=0)
    assert found.counts["identical answers, no tie"] == (3 if ties else 0)


def test_what_a_person_has_written_is_kept(place: Path) -> None:
    review_stage(place, rows=5)
    path = place / "review.csv"
    written = pl.read_csv(path, infer_schema=False)
    chosen = written["id"][0]
    acted = written.with_columns(
        action=pl.when(pl.col("id") == chosen).then(pl.lit("exclude")).otherwise("action")
    )
    pl.concat(
        [acted, pl.DataFrame({"id": ["arena-59"], "action": ["tie"]})], how="diagonal"
    ).write_csv(path)
    review_stage(place, rows=1)
    again = pl.read_csv(path, infer_schema=False)
    kept = dict(again.filter(pl.col("action") != "").select("id", "action").iter_rows())
    assert kept == {chosen: "exclude", "arena-59": "tie"}


def test_a_file_of_somebody_else_is_not_written_over(place: Path) -> None:
    other = place.parent / "notes.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column id"):
        review_stage(place, output=other)
    assert other.read_text() == "a,b\n1,2\n"


def test_before_there_is_a_stack_duplicates_are_listed(project: Project) -> None:
    from ensemble.stages.prepare import prepare_stage
    from ensemble.stages.split import split_stage
    from ensemble.stages.work import working

    config = project.config()
    with working(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
    found, record = review_stage(Path(config.run_dir))
    assert record.by is None
    assert found.counts["predictions disagree"] == 0


def test_rows_that_a_fold_leaves_out_are_chosen_without_it(project: Project, place: Path) -> None:
    found = measure_shares(project.config(), "p", lambda _: None)
    assert [one["share"] for one in found["shares"]] == list(SHARES)
    fits = place / "review" / "pairs" / "seed-0" / "learners" / "p"
    held_out = open_workspace(project.config()).plan.frame
    folds = {k: set(held_out.filter(pl.col("fold") == k)["id"]) for k in range(3)}
    for one in range(3):
        for other in range(one + 1, 3):
            trained = set(read_table(fits / f"pair-{one}-{other}" / "train_ids.parquet")["id"])
            assert trained
            assert not trained & (folds[one] | folds[other])


def test_in_time_only_what_a_fold_learns_from_is_left_out(project: Project) -> None:
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False)
    table.with_columns(day=pl.int_range(pl.len()) % 10).write_csv(path)
    time = {"n_splits": 3, "scheme": "time", "time_column": "day"}
    sources = [{"name": "arena", "path": "train.csv", "role": "target"}]
    config = project.config(folds=time, sources=sources)
    run(config)
    found = measure_shares(config, "p", lambda _: None)
    frame = open_workspace(config).plan.frame
    assert found["scored_rows"] == len(frame.filter(pl.col("fold") >= 1))
    fits = project.path / "run" / "review"
    for fold in (1, 2):
        trained = {
            name: len(read_table(fits / name / f"seed-0/learners/p/fold-{fold}/train_ids.parquet"))
            for name in ("as-they-are", "share-0.1")
        }
        # Rows of the block before the first fold are learned from, and nobody has predicted them.
        plan = open_workspace(config).plan
        known = int((plan.training(fold) & frame["fold"].is_not_null()).sum())
        assert known
        assert trained["as-they-are"] - trained["share-0.1"] == round(0.1 * known)
    assert not (fits / "share-0.1" / "seed-0/learners/p/fold-0").exists()


def test_a_list_is_scored_on_all_rows_with_their_own_labels(
    project: Project, place: Path, make_battles: Make
) -> None:
    """Everything relabeled as a tie: what was learned is worse, and the scored labels stay."""
    path = project.path / "mine.csv"
    ids = make_battles(60, prompts=10)["id"]
    path.write_text("id,action\n" + "".join(f"{one},tie\n" for one in ids))
    found = measure_list(project.config(), path, "p", lambda _: None)
    assert found["rows"] == {"excluded": 0, "relabeled": 60}
    assert found["scored_rows"] == 60
    assert found["gain"]["mean"] < -0.3
    assert found["exact"] is False


def test_a_list_that_changes_nothing_is_refused(project: Project, place: Path) -> None:
    path = project.path / "mine.csv"
    path.write_text("id,action\narena-1,\narena-2,keep\n")
    with pytest.raises(DataError, match="changes no row(.|\n)*fill in"):
        measure_list(project.config(), path, "p", lambda _: None)


def test_the_verb_and_the_report_say_what_was_found(project: Project, place: Path) -> None:
    path = project.path / "mine.csv"
    path.write_text("id,action\narena-1,exclude\n")
    asked = ["review", str(place), "--rows", "3", "--measure", str(path), "--learner", "p"]
    shown = CliRunner().invoke(cli, [*asked, "--quiet"])
    assert shown.exit_code == 0, shown.output
    assert "this list (1 excluded, 0 relabeled) gains" in shown.output
    assert CliRunner().invoke(cli, ["report", str(place)]).exit_code == 0
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "a list: 1 rows left out, 0 relabeled" in page
    stored = ReviewRecord.read_checksummed(place / "review.json")
    assert stored.of_list is not None
    assert np.isfinite(stored.of_list.gain.mean)  # type: ignore[union-attr, arg-type]


def test_a_review_of_other_battles_is_not_shown(
    project: Project, place: Path, make_battles: Make, write_csv: Callable[..., None]
) -> None:
    review_stage(place)
    changed = make_battles(60, prompts=10).with_columns(
        pl.col(LABEL_COLUMNS).shift(1, fill_value=0.0)
    )
    write_csv(changed[1:], project.path / "train.csv")
    run(project.config())
    assert "Labels to look at" not in (place / "report.html").read_text(encoding="utf-8")
