from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ensemble.audit.audit import audit_run
from ensemble.battles.corrections import counts_of, excluded, read_corrections
from ensemble.battles.staleness import compare_sources
from ensemble.errors import ArtifactError, ConfigError, DataError
from ensemble.oof.workspace import open_workspace
from ensemble.pipeline import run
from ensemble.run_dir.tables import read_table
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import working
from tests.fixture_types import Project

IDS = [f"arena-{i}" for i in range(60)]
LIST = "arena-1,Exclude\narena-2, TIE \narena-3,\narena-4,keep\narena-5,b\n"


def _write(place: Path, lines: str, header: str = "id,action\n") -> Path:
    path = place / "review.csv"
    path.write_text(header + lines, encoding="utf-8")
    return path


def _sources(**of_target: str) -> list[dict[str, object]]:
    return [
        {"name": "arena", "path": "train.csv", "role": "target", **of_target},
        {"name": "extra", "path": "extra.csv", "role": "train", "weight": 0.5},
    ]


def test_a_list_leaves_out_relabels_and_keeps(tmp_path: Path) -> None:
    found = read_corrections(_write(tmp_path, LIST), "arena", IDS)
    rows = {row[0]: row[2:] for row in found.iter_rows()}
    assert rows == {
        "arena-1": (None, None, None),
        "arena-2": (0.0, 0.0, 1.0),
        "arena-5": (0.0, 1.0, 0.0),
    }
    assert counts_of(found, "arena") == {"excluded": 1, "relabeled": 2}
    assert counts_of(found, "extra") == {}
    assert excluded(pl.Series(IDS[:3]), found).to_list() == [False, True, False]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("arena-1,delete\narena-2,drop\n", "2 actions that nobody knows: arena-1: delete"),
        ("arena-1,a\narena-1,b\n", "2 lines that contradict each other: arena-1: a, arena-1: b"),
        ("arena-1,keep\narena-1,b\n", "contradict each other"),
        ("arena-1,a\nelse,exclude\n", "1 rows not of source arena: else: exclude"),
        (",a\n", "1 rows without an id"),
    ],
)
def test_a_list_that_says_something_else_is_refused(tmp_path: Path, lines: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_corrections(_write(tmp_path, lines), "arena", IDS)


def test_a_row_may_stand_in_a_list_for_several_reasons(tmp_path: Path) -> None:
    found = read_corrections(_write(tmp_path, "arena-1,a\narena-1,\narena-1,A\n"), "arena", IDS)
    assert found["id"].to_list() == ["arena-1"]


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column action"):
        read_corrections(_write(tmp_path, "a,b\n", "id,label\n"), "arena", IDS)
    with pytest.raises(DataError, match="cannot be read(.|\n)*id and action"):
        read_corrections(tmp_path / "nowhere.csv", "arena", IDS)


def test_training_learns_what_a_list_says_and_scores_stay(project: Project) -> None:
    _write(project.path, LIST)
    before = run(project.config())
    plain = open_workspace(project.config())
    scored = plain.eval_set.labels
    config = project.config(sources=_sources(labels="review.csv"), run_dir="other")
    after = run(config)
    workspace = open_workspace(config)
    assert (workspace.eval_set.labels == scored).all()
    assert workspace.eval_set.ids.equals(plain.eval_set.ids)
    for fold in range(3):
        stored = [read_table(place / f"learners/p/fold-{fold}/train_ids.parquet")["id"]
                  for place in (before, after)]  # fmt: skip
        assert set(stored[0]) - set(stored[1]) == set(stored[0]) & {"arena-1"}
        oof = read_table(after / f"learners/p/fold-{fold}/oof.parquet")["id"]
        assert oof.equals(read_table(before / f"learners/p/fold-{fold}/oof.parquet")["id"])
    found = audit_run(after)
    assert (found.ok, found.state) == (True, "unproven")
    assert "labels of arena" in found.unproven[0]


def test_a_learner_is_given_the_labels_of_the_list(project: Project, fake_learners: type) -> None:
    _write(project.path, "".join(f"{one},tie\n" for one in IDS))
    run(project.config(sources=_sources(labels="review.csv")))
    seen = [
        (one, label.tolist())
        for fit in fake_learners.seen  # type: ignore[attr-defined]
        for one, label in zip(fit["ids"], fit["labels"], strict=True)
    ]
    assert {tuple(label) for one, label in seen if one.startswith("arena")} == {(0.0, 0.0, 1.0)}
    assert {tuple(label) for one, label in seen if one.startswith("extra")} != {(0.0, 0.0, 1.0)}


def test_a_changed_list_is_another_run(project: Project) -> None:
    path = _write(project.path, LIST)
    config = project.config(sources=_sources(labels="review.csv"))
    run(config)
    assert compare_sources(config) == ([], [])
    path.write_text("id,action\narena-7,exclude\n")
    assert compare_sources(config) == (["labels of arena"], [])
    run(config)
    assert open_workspace(config).corrections is not None
    path.unlink()
    assert compare_sources(config) == ([], ["labels of arena"])


def test_a_list_that_comes_later_asks_for_prepare(project: Project) -> None:
    with working(project.config()) as reporter:
        prepare_stage(project.config(), reporter)
        split_stage(project.config(), reporter)
    _write(project.path, LIST)
    with pytest.raises(ArtifactError, match="ensemble prepare CONFIG` again"):
        open_workspace(project.config(sources=_sources(labels="review.csv")))


def test_a_list_may_take_all_rows_of_a_class(
    project: Project, make_battles: Callable[..., pl.DataFrame]
) -> None:
    ties = make_battles(60, prompts=10).filter(pl.col("label_tie") == 1)["id"]
    _write(project.path, "".join(f"{one},exclude\n" for one in ties))
    run(project.config(sources=_sources(labels="review.csv")))


def test_no_row_is_left_to_learn_from(project: Project) -> None:
    _write(project.path, "".join(f"{one},exclude\n" for one in IDS))
    with pytest.raises((ConfigError, DataError), match="learn"):
        run(project.config(sources=_sources(labels="review.csv")[:1]))
