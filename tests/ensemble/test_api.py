from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import ensemble
from ensemble import CLASSES, Run, errors
from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import working

if TYPE_CHECKING:
    from tests.fixture_types import Project

LEARNERS: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.4},
]


@pytest.fixture
def made(project: Project) -> Run:
    return ensemble.run(project.config(LEARNERS))


def test_every_public_name_is_there_whatever_was_imported_before() -> None:
    code = (
        "import ensemble, ensemble.api, ensemble.cli, ensemble.run_dir.layout\n"
        "assert callable(ensemble.run), ensemble.run\n"
        "assert all(getattr(ensemble, name) is not None for name in ensemble.__all__)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_gives_what_its_files_hold(made: Run) -> None:
    stored = pl.concat(
        pl.read_parquet(path)
        for path in sorted(made.directory.glob("learners/q/fold-*/oof.parquet"))
    )
    found = made.oof("q")
    assert found.columns == ["id", "fold", *LOGIT_COLUMNS]
    assert found.sort("id").select("id", *LOGIT_COLUMNS).equals(stored.sort("id"))
    assert made.learners == ["p", "q"]
    assert set(found["id"]) == set(made.folds.filter(pl.col("fold").is_not_null())["id"])
    assert made.verdict["chosen"] in {one["name"] for one in made.verdict["candidates"]}
    chosen = pl.read_parquet(made.directory / "stack/oof.parquet").select("id", *CLASSES)
    assert made.probabilities().sort("id").equals(chosen.sort("id"))


def test_new_battles_are_scored_from_a_path_and_from_tables(made: Run, project: Project) -> None:
    path = project.path / "test.csv"
    by_path = made.predict(path)
    assert by_path.equals(made.submission.select(by_path.columns))
    assert made.predict(pl.read_csv(path)).equals(by_path)
    assert made.predict(pd.read_csv(path)).equals(by_path)
    assert np.allclose(by_path.select(CLASSES).sum_horizontal(), 1.0)


def test_cells_that_pandas_calls_missing_are_missing(project: Project) -> None:
    path = project.path / "train.csv"
    table = pd.read_csv(path)
    table["note"] = pd.array([pd.NA] * len(table), dtype="Int64")
    assert ensemble.load_battles(table).equals(ensemble.load_battles(path))


def test_what_is_no_table_is_named() -> None:
    with pytest.raises(errors.InputError, match="a path or a table, and not a dict"):
        ensemble.load_battles({"id": []})


def test_a_config_may_be_a_dictionary(
    project: Project, monkeypatch: pytest.MonkeyPatch, made: Run
) -> None:
    monkeypatch.chdir(project.path)
    raw = {
        "run_dir": Path("run"),
        "sources": [source.model_dump(exclude_none=True) for source in made.config.sources],
        "test": made.config.test.model_dump(exclude_none=True) if made.config.test else {},
        "folds": {"n_splits": made.config.folds.n_splits},
        "seed": made.config.seed,
        "learners": LEARNERS,
        "stack": made.config.stack.model_dump(exclude_none=True),
    }
    again = ensemble.run(raw)
    assert again.directory == made.directory
    with pytest.raises(errors.ConfigError, match="unknown key lerners"):
        ensemble.run({**raw, "lerners": []})


def test_audit_compare_and_report_are_those_of_the_verbs(made: Run) -> None:
    assert made.audit().state == "passed"
    assert made.compare("p", "q")["reference"] == "p"
    assert made.report() == made.directory / "report.html"


def test_what_is_not_there_says_which_command_makes_it(project: Project, made: Run) -> None:
    with pytest.raises(errors.ConfigError, match="not a run directory"):
        Run(project.path)
    with pytest.raises(errors.ConfigError, match='no learner is called "r"'):
        made.oof("r")
    begun = project.config(LEARNERS, run_dir=str(project.path / "begun"))
    from ensemble.stages.prepare import prepare_stage
    from ensemble.stages.work import writing

    with writing(begun) as reporter:
        prepare_stage(begun, reporter)
    with pytest.raises(errors.ArtifactError, match="ensemble split CONFIG"):
        _ = Run(begun.run_dir).folds
    with pytest.raises(errors.ArtifactError, match="ensemble stack CONFIG"):
        _ = Run(begun.run_dir).verdict


def test_progress_is_shown_where_it_is_asked_for(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    ensemble.run(project.config(LEARNERS), progress=True)
    assert "fold plan" in capsys.readouterr().err
    ensemble.run(project.config(LEARNERS))
    assert capsys.readouterr().err == ""


def test_a_config_made_in_python_is_checked_as_one_that_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    config = project.config(LEARNERS)
    twice = config.model_copy(update={"sources": [config.sources[0], config.sources[0]]})
    with pytest.raises(errors.ConfigError, match='two sources are called "arena"'):
        ensemble.run(twice)
    relative = config.model_copy(update={"run_dir": "begun"})
    assert ensemble.run(relative).config.run_dir == str(project.path / "begun")


def test_folds_of_different_settings_are_not_put_together(made: Run, project: Project) -> None:
    changed = project.config([LEARNERS[0], {**LEARNERS[1], "shift": 0.9}])
    with working(changed) as reporter:
        fit_stage(changed, reporter, ["q"], [0])
    for ask in (made.oof, made.test):
        with pytest.raises(errors.ArtifactError, match="made with different settings"):
            ask("q")
    with pytest.raises(errors.ArtifactError, match="other predictions of learner q"):
        _ = made.verdict
    with pytest.raises(errors.ArtifactError, match="another stack, other test logits"):
        _ = made.submission


def test_a_candidate_that_is_none_is_named(made: Run) -> None:
    with pytest.raises(errors.UnknownNameError, match='unknown candidate "meen"'):
        made.probabilities("meen")


def test_a_run_is_what_its_directory_holds_now(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    made = ensemble.run(project.config(LEARNERS))
    relative = Run("run")
    monkeypatch.chdir("/")
    assert relative.verdict == made.verdict
    ensemble.run(project.config(LEARNERS, seed=11))
    assert made.config.seed == 11
    assert made.oof("p").height == made.folds["fold"].is_not_null().sum()


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (
            pd.DataFrame([["x", "y"]], columns=["prompt", "prompt"]),
            'two columns are called "prompt"',
        ),
        (pd.DataFrame({"prompt": ["hello", ["y", "z"]]}), 'column "prompt" are of several kinds'),
    ],
)
def test_pandas_tables_that_cannot_be_meant_are_refused(table: pd.DataFrame, what: str) -> None:
    with pytest.raises(errors.DataError, match=what):
        ensemble.load_battles(table)
