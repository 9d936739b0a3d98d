from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.prepare import prepare
from ensemble.battles.prepared import read_battles, read_summary
from ensemble.battles.split import read_split, read_split_summary, split, split_key
from ensemble.config.settings import Folds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project


def _split(run: Path, **changes: Any) -> bool:
    return split(run, Folds(**{"n_splits": 3, **changes}), seed=7)


@pytest.fixture
def run(project: Project) -> Path:
    config = project.config()
    (project.path / "run").mkdir()
    prepare(config)
    return project.path / "run"


def test_prepare_keeps_all_rows_and_does_nothing_twice(project: Project, run: Path) -> None:
    battles, key = read_battles(run)
    assert len(battles) == 60 + 20 + 9
    assert battles["is_test"].sum() == 9
    assert not prepare(project.config())
    assert read_battles(run)[1] == key
    assert [source.rows for source in read_summary(run).sources] == [60, 20, 9]


@pytest.mark.parametrize("file", ["train.csv", "test.csv"])
def test_prepare_notices_changed_files(project: Project, run: Path, file: str) -> None:
    path = project.path / file
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    key = read_summary(run).key
    assert prepare(project.config())
    assert read_summary(run).key != key


def test_weights_do_not_touch_the_battles(project: Project, run: Path) -> None:
    sources = [source.model_dump(exclude_none=True) for source in project.config().sources]
    sources[1]["weight"] = 0.1
    assert not prepare(project.config(sources=sources))


@pytest.mark.parametrize("name", ["battles.parquet", "clusters.parquet", "duplicates.parquet"])
def test_a_damaged_file_is_refused_and_made_anew(project: Project, run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[:-10])
    with pytest.raises(errors.ArtifactError, match="not what was written(.|\n)*prepare"):
        _split(run)
    assert prepare(project.config())
    assert (run / name).read_bytes() == content


def test_a_missing_source_is_named(project: Project) -> None:
    (project.path / "extra.csv").unlink()
    with pytest.raises(errors.DataError, match="cannot be read(.|\n)*extra.csv"):
        prepare(project.config())


def test_splitting_before_preparing_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="have not been prepared(.|\n)*ensemble prepare"):
        _split(tmp_path)


def test_a_record_of_battles_that_is_gone_is_named(run: Path) -> None:
    (run / "battles.json").unlink()
    with pytest.raises(errors.ArtifactError, match=r"is not there(.|\n)*battles.json(.|\n)*again"):
        _split(run)


def test_a_record_of_folds_that_is_gone_is_named(run: Path) -> None:
    _split(run)
    (run / "folds.json").unlink()
    with pytest.raises(errors.ArtifactError, match=r"is not there(.|\n)*folds.json(.|\n)*again"):
        read_split(run)
    assert _split(run), "it is made again"


def test_what_is_made_again_for_a_record_that_is_gone_is_told(run: Path, project: Project) -> None:
    told: list[str] = []
    (run / "battles.json").unlink()
    assert prepare(project.config(), told.append)
    assert split(run, Folds(n_splits=3), seed=7, tell=told.append)
    (run / "folds.json").unlink()
    assert split(run, Folds(n_splits=3), seed=7, tell=told.append)
    battles, folds = told
    assert "battles is not there" in battles and "battles.json" in battles
    assert "fold plan is not there" in folds and "folds.json" in folds


def test_the_plan_is_written_once_and_read_back(run: Path) -> None:
    assert _split(run)
    assert not _split(run)
    plan = read_split(run)
    assert plan.frame["id"].equals(read_battles(run)[0]["id"])
    assert json.loads((run / "folds.json").read_text())["fingerprint"] == plan.fingerprint


def test_other_settings_make_another_plan(run: Path) -> None:
    _split(run)
    assert _split(run, n_splits=4)
    with pytest.raises(errors.ArtifactError, match="with other settings"):
        read_split(run, split_key(run, read_battles(run)[1], Folds(n_splits=3), 7))


def test_cut_rows_are_counted_with_their_reason(run: Path) -> None:
    _split(run)
    cuts = json.loads((run / "folds.json").read_text())["cuts"]
    assert {cut["reason"] for cut in cuts} == {"same prompt"}
    assert {cut["source"] for cut in cuts} == {"extra"}
    # Eight rows of the external source share a prompt with the target; each is cut by one fold.
    assert sum(cut["rows"] for cut in cuts) == 8


def test_test_rows_with_a_labeled_relative_are_counted(project: Project) -> None:
    train, path = pl.read_csv(project.path / "train.csv"), project.path / "test.csv"
    test = pl.read_csv(path)
    prompts = [train["prompt"][0], train["prompt"][1], *test["prompt"][2:]]
    test.with_columns(prompt=pl.Series(prompts)).write_csv(path)
    (project.path / "run").mkdir()
    prepare(project.config())
    _split(project.path / "run")
    overlap = json.loads((project.path / "run" / "folds.json").read_text())["test_overlap"]
    assert (overlap["test_rows"], overlap["of"]) == (2, 9)
    assert overlap["rows"] >= 2


def test_a_target_of_one_class_is_a_warning(project: Project) -> None:
    table = pl.read_csv(project.path / "train.csv")
    only = {"winner_model_a": 0.0, "winner_model_b": 1.0, "winner_tie": 0.0}
    table.with_columns(**{name: pl.lit(value) for name, value in only.items()}).write_csv(
        project.path / "train.csv"
    )
    config = project.config()
    (project.path / "run").mkdir()
    prepare(config)
    _split(project.path / "run")
    warning = read_split_summary(project.path / "run").warnings[0]
    assert warning.startswith("every target row has the label winner_model_b")


def test_a_large_cluster_is_a_warning_that_names_its_text(run: Path) -> None:
    _split(run)
    summary = json.loads((run / "folds.json").read_text())
    assert summary["largest_clusters"][0]["share_of_target"] == pytest.approx(0.1)
    assert "holds 10.0% of the target (6 rows): 'arena question" in summary["warnings"][0]


def test_too_few_clusters_is_an_error(run: Path) -> None:
    with pytest.raises(errors.FoldError, match="10 clusters of target rows cannot fill 11 folds"):
        _split(run, n_splits=11)


def test_an_altered_plan_is_refused(run: Path) -> None:
    _split(run)
    frame = pl.read_parquet(run / "folds.parquet")
    frame.with_columns(fold=pl.lit(0, pl.Int32)).write_parquet(run / "folds.parquet")
    with pytest.raises(errors.ArtifactError, match="not the one that was recorded"):
        read_split(run)
    assert _split(run)


@pytest.mark.parametrize("key", ["warnings", "n_splits", "near_duplicate_threshold", "content"])
def test_a_summary_that_lost_a_key_is_refused_and_made_anew(run: Path, key: str) -> None:
    _split(run)
    whole = (run / "folds.json").read_text()
    summary = json.loads(whole)
    del summary[key]
    (run / "folds.json").write_text(json.dumps(summary))
    for read in (read_split, read_split_summary):
        with pytest.raises(
            errors.ArtifactError, match="not what was written(.|\n)*split CONFIG` again"
        ):
            read(run)
    assert _split(run)
    assert (run / "folds.json").read_text() == whole


@pytest.mark.parametrize("text", ["[1]", "null", "{}", "{"])
def test_a_summary_of_another_shape_is_refused_and_made_anew(run: Path, text: str) -> None:
    (run / "folds.json").write_text(text)
    with pytest.raises(errors.ArtifactError, match="split CONFIG` again"):
        read_split_summary(run)
    assert _split(run)


def test_the_summary_says_how_the_plan_was_made(run: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="there is no fold plan"):
        read_split_summary(run)
    _split(run)
    summary = read_split_summary(run)
    assert (summary.seed, summary.n_splits) == (7, 3)
    assert summary.near_duplicate_threshold == 0.8
    assert summary.fingerprint == read_split(run).fingerprint
