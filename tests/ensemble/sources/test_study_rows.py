from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.workspace import Workspace, open_workspace
from ensemble.sources.rows import take_rows

if TYPE_CHECKING:
    from tests.fixture_types import MakeBattles, Project, WriteCsv


@pytest.fixture
def workspace(project: Project) -> Workspace:
    return _open(project)


def _open(project: Project, **changes: Any) -> Workspace:
    config = project.config(**changes)
    prepare(config)
    split(Path(config.run_dir), config.folds, seed=config.seed)
    return open_workspace(config)


def test_the_target_alone_holds_nothing_else(workspace: Workspace) -> None:
    alone = take_rows(workspace, None, None)
    assert set(alone.workspace.battles["role"]) == {"target"}
    assert len(alone.workspace.battles) == 60
    assert len(alone.workspace.test_rows()) == 0
    folds = alone.workspace.plan.frame.select("id", "fold")
    assert folds.equals(
        workspace.plan.frame.filter(pl.col("role") == "target").select("id", "fold")
    )


def test_a_treatment_cuts_what_the_plan_cuts(workspace: Workspace, tmp_path: Path) -> None:
    material = take_rows(workspace, "extra", None)
    assert (
        material.workspace.training(0).sum()
        == take_rows(workspace, None, None).workspace.training(0).sum()
    )
    used = material.workspace.with_uses({"extra": SourceSettings("train")}, run=tmp_path)
    kept = used.battles.filter(used.training(0))["id"]
    expected = workspace.battles.filter(workspace.training(0))["id"]
    assert kept.to_list() == expected.to_list()


def test_keys_do_not_depend_on_other_sources_nor_on_the_role_in_the_config(
    project: Project,
    make_battles: MakeBattles,
    write_csv: WriteCsv,
) -> None:
    arena = {"name": "arena", "path": "train.csv", "role": "target"}
    extra = {"name": "extra", "path": "extra.csv", "role": "train"}
    first = _open(project, sources=[arena, extra])
    write_csv(make_battles(30, source="more", role="train", seed=5), project.path / "more.csv")
    more = {"name": "more", "path": "more.csv", "role": "train"}
    second = _open(project, sources=[more, arena, {**extra, "role": "ignore", "weight": 0.2}])
    assert first.data_key != second.data_key
    for source in (None, "extra"):
        assert take_rows(first, source, None).key == take_rows(second, source, None).key
    assert take_rows(first, None, None).key != take_rows(first, "extra", None).key


def test_a_changed_row_changes_the_key(project: Project) -> None:
    before = take_rows(_open(project), "extra", None).key
    path = project.path / "extra.csv"
    path.write_text(path.read_text().replace("answer 3 of side a", "another of side a"))
    assert take_rows(_open(project), "extra", None).key != before


def test_a_budget_takes_whole_clusters_and_a_smaller_one_is_part_of_it(
    workspace: Workspace,
) -> None:
    larger, smaller = (take_rows(workspace, "extra", rows).workspace for rows in (24, 12))
    for taken, rows in ((larger, 24), (smaller, 12)):
        counts = dict(taken.plan.frame["role"].value_counts().iter_rows())
        assert rows <= counts["target"] < rows + 6
    assert set(smaller.battles["id"]) < set(larger.battles["id"])
    whole = workspace.plan.frame.filter(pl.col("role") == "target")
    taken_ids = larger.plan.frame.filter(pl.col("role") == "target")["id"].to_list()
    clusters = whole.filter(pl.col("id").is_in(taken_ids))["cluster"].unique().to_list()
    assert set(whole.filter(pl.col("cluster").is_in(clusters))["id"]) == set(taken_ids)


def test_rows_without_a_label_are_counted_and_left_out(workspace: Workspace) -> None:
    blank = pl.when(pl.col("id").is_in(["extra-1", "extra-2"])).then(None)
    labels = [blank.otherwise(pl.col(f"label_{c}")).alias(f"label_{c}") for c in ("a", "b", "tie")]
    object.__setattr__(workspace, "battles", workspace.battles.with_columns(labels))
    material = take_rows(workspace, "extra", None)
    assert material.rows_without_label == 2
    assert len(material.part(of_source=True)) == 18
    assert len(take_rows(workspace, "extra", None, labeled=False).part(of_source=True)) == 20


def test_nothing_that_says_the_same_as_the_hold_out_is_studied(project: Project) -> None:
    workspace = _open(project, folds={"n_splits": 3, "holdout": 0.3})
    kept = workspace.plan.frame.filter(pl.Series(workspace.plan.kept_to_the_end()))
    linked = workspace.plan.frame.filter(pl.col("cluster").is_in(kept["cluster"].implode()))
    assert "extra" in linked["source"].to_list()
    for labeled in (True, False):
        taken = take_rows(workspace, "extra", None, labeled=labeled).workspace.battles
        assert not taken["id"].is_in(linked["id"].implode()).any()
        assert taken["source"].unique().sort().to_list() == ["arena", "extra"]
