"""Labels of a task without ties: refused in the target, halved in other sources."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.corrections import corrections_of
from ensemble.battles.loading import load_battles
from ensemble.battles.prepare import prepare
from ensemble.battles.prepared import read_battles, read_summary
from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.battles.staleness import check_settings
from ensemble.battles.ties import without_ties

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

HEADER = "id,prompt,response_a,response_b,winner\n"
ROWS = 'a,"q one","x","y",model_a\nb,"q two","x","y",tie\nc,"q three","x","y",model_b\n'
NO_TIES = {"ties": False}


def write(path: Path, text: str = HEADER + ROWS) -> Path:
    path.write_text(text)
    return path


def test_ties_of_the_target_are_an_error_that_names_file_rows_and_count(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv")
    with pytest.raises(errors.DataError, match="1 of 3 rows of the target are ties") as caught:
        load_battles(path, source="s", role="target", ties=False)
    assert '"b" (line 3)' in caught.value.message
    assert str(path) in str(caught.value.where)
    assert "ties = true" in str(caught.value.hint)
    assert load_battles(path, source="s", role="target").battles["label_tie"].sum() == 1


def test_a_part_of_a_label_is_a_tie_too(tmp_path: Path) -> None:
    path = write(
        tmp_path / "soft.csv",
        "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        "a,q,x,y,0.6,0.4,0\nb,r,x,y,0.5,0.3,0.2\nc,s,x,y,0,0,1\n",
    )
    with pytest.raises(errors.DataError, match="2 of 3 rows .*in 1 of them a part of the label"):
        load_battles(path, source="s", role="target", ties=False)


def test_rows_of_several_files_are_named_with_their_file(tmp_path: Path) -> None:
    first = write(tmp_path / "one.csv", HEADER + 'z,"q zero","x","y",model_a\n')
    second = tmp_path / "two.csv.gz"
    second.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    with pytest.raises(errors.DataError, match=r'"b" \(two.csv.gz, row 3\)'):
        load_battles([str(first), str(second)], source="s", role="target", ties=False)


@pytest.mark.parametrize("role", ["train", "pretrain", "ignore"])
def test_a_tie_of_another_source_counts_half_for_either_side(tmp_path: Path, role: str) -> None:
    found = load_battles(write(tmp_path / "v.csv"), source="s", role=role, ties=False)
    rows = found.battles.select(LABEL_COLUMNS).rows()
    assert rows == [(1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 1.0, 0.0)]
    assert found.notes == ("ties in 1 rows count half for either side: the task has none",)


def test_labels_that_nobody_knows_stay_unknown() -> None:
    frame = pl.DataFrame({"label_a": [None, 0.2], "label_b": [None, 0.2], "label_tie": [None, 0.6]})
    left, tied = without_ties(frame)
    assert tied == 1
    assert left.row(0) == (None, None, None)
    assert left.row(1) == pytest.approx((0.5, 0.5, 0.0))


def test_rows_with_unknown_labels_can_be_dropped_where_no_row_is_a_tie(tmp_path: Path) -> None:
    rows = "".join(f'{i},"q {i}","x","y",{"?" if i % 4 == 0 else "model_a"}\n' for i in range(20))
    path = write(tmp_path / "v.csv", HEADER + rows + 'b,"q","x","y",model_b\n')
    with pytest.raises(errors.DataError, match="no row with winner_tie is left"):
        load_battles(path, source="s", role="target", on_bad_rows="drop")
    found = load_battles(path, source="s", role="target", on_bad_rows="drop", ties=False)
    assert len(found.battles) == 16


def without(project: Project) -> pl.DataFrame:
    """Take the ties out of the target's file, and keep those of the other source."""
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False)
    kept = table.filter(pl.col("winner_tie").cast(pl.Float64) == 0)
    kept.write_csv(path)
    return kept


def test_another_task_prepares_the_battles_anew(project: Project) -> None:
    without(project)
    assert prepare(project.config())
    before = read_summary(project.path / "run")
    assert before.ties
    config = project.config(task=NO_TIES)
    with pytest.raises(errors.ArtifactError, match="other sources or settings"):
        check_settings(config)
    assert prepare(config)
    after = read_summary(project.path / "run")
    assert not after.ties
    assert after.data != before.data
    battles, _ = read_battles(project.path / "run")
    assert (battles["label_tie"].fill_null(0) == 0).all()
    extra = next(one for one in after.sources if one.name == "extra")
    assert any("rows count half for either side" in note for note in extra.notes)
    assert not prepare(config)
    # What it is chosen by, and what is handed in, changes no battle.
    assert not prepare(project.config(task=NO_TIES | {"metric": "accuracy"}))
    assert not prepare(project.config(task=NO_TIES | {"submission": "winner"}))


def test_the_target_of_a_run_may_have_no_tie(project: Project) -> None:
    with pytest.raises(errors.DataError, match="rows of the target are ties") as caught:
        prepare(project.config(task=NO_TIES))
    assert "train.csv" in str(caught.value)


def test_a_list_of_labels_makes_no_ties(project: Project) -> None:
    kept = without(project)
    path = project.path / "review.csv"
    path.write_text(f"id,action\n{kept['id'][0]},tie\n{kept['id'][1]},a\n")
    source = {"name": "arena", "path": "train.csv", "role": "target", "labels": "review.csv"}
    config = project.config(task=NO_TIES, sources=[source])
    with pytest.raises(errors.DataError, match="1 rows are to become ties") as caught:
        prepare(config)
    assert kept["id"][0] in caught.value.message
    path.write_text(f"id,action\n{kept['id'][0]},exclude\n{kept['id'][1]},a\n")
    prepare(config)
    battles, _ = read_battles(project.path / "run")
    found = corrections_of(config, battles)
    assert found is not None
    assert len(found) == 2


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ({"tie": False}, "ties"),
        ({"ties": "no"}, "ties"),
        ({"metric": "acuracy"}, "metric"),
        ({"submission": "winners"}, "submission"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(
    project: Project, task: dict[str, object], fault: str
) -> None:
    with pytest.raises(errors.ConfigError, match=rf"task\.{fault}|task.*{fault}"):
        project.config(task=task)


TWO = "id,prompt,response_a,response_b,winner_model_a,winner_model_b\n"


@pytest.mark.parametrize("ties", [True, False])
def test_labels_of_two_columns_are_of_battles_without_ties(tmp_path: Path, ties: bool) -> None:
    rows = "a,q one,x,y,1,0\nb,q two,x,y,0.25,0.75\nc,q three,x,y,0,1.0\n"
    path = write(tmp_path / "two.csv", TWO + rows)
    found = load_battles(path, source="s", role="target", ties=ties)
    assert found.battles.select(LABEL_COLUMNS).rows() == [(1, 0, 0), (0.25, 0.75, 0), (0, 1, 0)]


def test_a_column_of_ties_that_got_lost_is_noticed(tmp_path: Path) -> None:
    rows = "".join(f"r{i},q {i},x,y,{int(i % 3 == 0)},{int(i % 3 == 1)}\n" for i in range(60))
    path = write(tmp_path / "lost.csv", TWO + rows)
    with pytest.raises(
        errors.DataError, match="20 of 60 rows(.|\n)*0, 0, 0 do not sum to 1, and there is no col"
    ):
        load_battles(path, source="s", role="target")
    with pytest.raises(errors.DataError, match="no row with winner_tie is left"):
        load_battles(path, source="s", role="target", on_bad_rows="drop")
