"""Every stage after ``prepare`` stands on battles that the config still describes."""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import errors, run
from ensemble.audit.audit import audit_run
from ensemble.battles.prepared import read_summary
from ensemble.stages.fit import fit_stage
from ensemble.stages.predict import predict_stage
from ensemble.stages.split import split_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble import Config
    from ensemble.run_dir.reporter import Reporter
    from tests.fixture_types import Project, RunOnce

LATER: list[Any] = [split_stage, fit_stage, stack_stage, predict_stage]
OTHER = "other sources or settings than the config now says(.|\n)*ensemble prepare CONFIG"
REPLACED = 'source "{}" is not the one that was prepared(.|\n)*ensemble prepare CONFIG'


@pytest.fixture
def place(run_once: RunOnce) -> Path:
    return Path(run_once().run_dir)


def _sources(config: Config, **changes: Any) -> list[dict[str, Any]]:
    first, second = (source.model_dump(exclude_none=True) for source in config.sources)
    return [first, second | changes]


@pytest.mark.parametrize("stage", LATER)
def test_another_threshold_asks_for_other_battles(
    project: Project, place: Path, stage: Callable[[Config, Reporter], object]
) -> None:
    recorded = (place / "config.toml").read_text()
    config = project.config(folds={"n_splits": 3, "near_duplicate_threshold": 0.5})
    with writing(config) as reporter, pytest.raises(errors.ArtifactError, match=OTHER):
        stage(config, reporter)
    assert (place / "config.toml").read_text() == recorded
    assert audit_run(place).ok


@pytest.mark.parametrize(
    "change",
    [
        {"role": "ignore"},
        {"name": "more"},
        {"id_prefix": "x-"},
        {"on_bad_rows": "drop"},
        {"text_format": "plain"},
    ],
)
def test_a_source_that_is_read_in_another_way_is_another(
    project: Project, place: Path, change: dict[str, str]
) -> None:
    assert place.exists()
    config = project.config(sources=_sources(project.config(), **change))
    with writing(config) as reporter, pytest.raises(errors.ArtifactError, match=OTHER):
        fit_stage(config, reporter)


def test_a_test_file_that_comes_or_goes_is_noticed(project: Project, place: Path) -> None:
    assert place.exists()
    config = project.config().model_copy(update={"test": None})
    with writing(config) as reporter, pytest.raises(errors.ArtifactError, match=OTHER):
        predict_stage(config, reporter)


@pytest.mark.parametrize(
    "use",
    [{"weight": 0.1}, {"share": 0.4}, {"reweight": "labels"}],
    ids=lambda use: next(iter(use)),
)
def test_another_use_of_the_rows_needs_no_other_battles(
    project: Project, place: Path, use: dict[str, Any]
) -> None:
    config = project.config(sources=_sources(project.config(), **use))
    with writing(config) as reporter:
        assert fit_stage(config, reporter) == {"fitted": 3, "kept": 0}
    written = tomllib.loads((place / "config.toml").read_text())["sources"][1]
    assert use.items() <= written.items()


@pytest.mark.parametrize("stage", LATER)
@pytest.mark.parametrize(("file", "source"), [("train.csv", "arena"), ("test.csv", "test")])
def test_a_file_that_has_changed_is_noticed(
    project: Project,
    place: Path,
    stage: Callable[[Config, Reporter], object],
    file: str,
    source: str,
) -> None:
    assert place.exists()
    path = project.path / file
    path.write_text(path.read_text().replace("answer", "ANSWER"))
    config = project.config()
    with (
        writing(config) as reporter,
        pytest.raises(errors.ArtifactError, match=REPLACED.format(source)),
    ):
        stage(config, reporter)


def test_files_that_are_gone_are_no_matter(project: Project, place: Path) -> None:
    for name in ("train.csv", "extra.csv", "test.csv"):
        (project.path / name).unlink()
    config = project.config()
    with writing(config) as reporter:
        assert not any(stage(config, reporter) is None for stage in LATER)
    assert audit_run(place).ok


def test_the_threshold_on_record_is_the_one_that_made_the_clusters(
    project: Project, place: Path
) -> None:
    config = project.config(folds={"n_splits": 3, "near_duplicate_threshold": 0.9})
    prepare_and_split(config)
    assert json.loads((place / "folds.json").read_text())["near_duplicate_threshold"] == 0.9
    assert read_summary(place).settings["near_duplicate_threshold"] == 0.9


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": {"n_splits": 3, "near_duplicate_threshold": 0.5}},
        {"folds": {"n_splits": 4}},
        {"seed": 8},
    ],
)
def test_the_audit_fails_under_a_config_that_describes_something_else(
    project: Project, place: Path, changes: dict[str, Any]
) -> None:
    project.config(**changes)
    text = (project.path / "config.toml").read_text()
    (place / "config.toml").write_text(text.replace('"run"', f'"{place}"'))
    failed = [check for check in audit_run(place).checks if not check.ok]
    assert failed[0].name == "battles and fold plan are those that the config describes"
    assert "run `ensemble " in failed[0].detail


def test_a_torn_pair_cannot_be_hidden_behind_a_lax_plan(project: Project) -> None:
    """Clusters of threshold 1.0, a config of 0.8, and two prompts that differ by a letter."""
    path = project.path / "train.csv"
    frame = pl.read_csv(path)
    draw = random.Random(3)
    words = [" ".join("".join(draw.choices("aeioustnr", k=6)) for _ in range(4)) for _ in range(20)]
    prompts = [json.dumps([f"{words[i // 3]} {'xyz'[i % 3]}"]) for i in range(60)]
    frame.with_columns(prompt=pl.Series(prompts)).write_csv(path)
    config = project.config(folds={"n_splits": 3, "near_duplicate_threshold": 1.0})
    place = run(config).directory
    recorded = place / "config.toml"
    recorded.write_text(recorded.read_text().replace("threshold = 1.0", "threshold = 0.8"))
    failed = {check.name for check in audit_run(place).checks if not check.ok}
    assert {
        "battles and fold plan are those that the config describes",
        "no recomputed cluster is split between folds",
    } <= failed
