from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ensemble
from ensemble import Run
from ensemble.audit.audit import audit_run
from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.errors import ArtifactError, ConfigError, DataError, IncompleteRunError
from ensemble.run_dir.layout import PROVENANCE
from ensemble_plugins.other_run import read_other
from tests.fixture_types import Project

THEIRS = {"name": "theirs", "plugin": "precomputed", "run": "other", "learner": "p"}
MINE = {"name": "mine", "plugin": "prior", "shift": 0.4}


@pytest.fixture
def other(project: Project) -> Run:
    return ensemble.run(project.config(run_dir="other"))


def _manifest(run: Run, fit: str = "theirs/fold-0") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (run.directory / "learners" / fit / "manifest.json").read_text()
    )
    return found


def test_predictions_of_a_run_with_the_same_plan_are_proven(project: Project, other: Run) -> None:
    run = ensemble.run(project.config([MINE, THEIRS]))
    assert run.oof("theirs").equals(other.oof("p"))
    assert np.allclose(
        run.test("theirs").select(LOGIT_COLUMNS), other.test("p").select(LOGIT_COLUMNS)
    )
    audit = run.audit()
    assert (audit.state, audit.unknown) == ("passed", ())
    checks = [check for check in audit.checks if "no model of the other run saw" in check.name]
    assert len(checks) == 3
    assert all(f"of p in {other.directory}" in check.detail for check in checks)
    assert run.verdict["unproven"] == {"learners": [], "candidates": {}}
    assert _manifest(run)["training_rows"] == "recorded"


HOLDOUT = {"n_splits": 3, "holdout": 0.2}


def test_a_hold_out_that_both_runs_have_stays_proven(project: Project) -> None:
    other = ensemble.run(project.config(run_dir="other", folds=HOLDOUT))
    run = ensemble.run(project.config([MINE, THEIRS], folds=HOLDOUT))
    assert not run.holdout["unproven"]
    mine, theirs = ({o["name"]: o for o in one.holdout["learners"]} for one in (run, other))
    assert mine["theirs"]["log_loss"] == pytest.approx(theirs["p"]["log_loss"])
    assert run.audit().state == "passed"


def test_models_that_were_taught_the_hold_out_are_unproven(project: Project, other: Run) -> None:
    run = ensemble.run(project.config([MINE, THEIRS], folds=HOLDOUT))
    audit = run.audit()
    assert (audit.ok, audit.state) == (True, "unproven")
    assert run.holdout["unproven"] == ("theirs",)


TIME = {"n_splits": 2, "scheme": "time", "time_column": "tstamp"}


def _write_times(project: Project) -> None:
    """Give all rows of a cluster one time, so that no block parts a cluster."""
    plain = ensemble.run(project.config([MINE], run_dir="plain")).folds
    table = pl.read_csv(project.path / "train.csv", infer_schema=False)
    times = table.join(plain.select("id", tstamp="cluster"), on="id", maintain_order="left")
    times.write_csv(project.path / "train.csv")


def test_blocks_of_time_that_both_runs_have_stay_proven(project: Project) -> None:
    _write_times(project)
    ensemble.run(project.config(run_dir="other", folds=TIME))
    run = ensemble.run(project.config([MINE, THEIRS], folds=TIME))
    assert run.audit().state == "passed"
    scored = run.oof("theirs").drop_nulls("fold")
    assert 0 < len(scored) < len(run.oof("theirs"))
    assert scored["logit_a"].is_finite().all()


def test_models_that_were_taught_later_rows_are_unproven(project: Project) -> None:
    _write_times(project)
    planned = ensemble.run(project.config([MINE], run_dir="planned", folds=TIME)).folds
    # The same blocks without their order; the rows before the first are a fold of their own.
    folds = planned.filter(pl.col("role") == "target").select("id", pl.col("fold").fill_null(2))
    folds.write_csv(project.path / "folds.csv")
    ensemble.run(project.config(run_dir="other", folds={"file": "folds.csv"}))
    run = ensemble.run(project.config([MINE, THEIRS], folds=TIME))
    audit = run.audit()
    assert (audit.ok, audit.state) == (True, "unproven")
    assert "are not earlier" in " ".join(audit.unproven)


def test_other_folds_are_judged_row_by_row_and_stay_unproven(project: Project, other: Run) -> None:
    run = ensemble.run(project.config([THEIRS], seed=8, folds={"n_splits": 4}))
    mine = run.folds.select("id", "fold").join(other.folds.select("id", "fold"), on="id")
    assert len(mine.select("fold", "fold_right").unique()) > 5, "the plans cut across each other"
    audit = run.audit()
    assert (audit.ok, audit.state) == (True, "unproven")
    assert "held out other folds than this run does" in " ".join(audit.unproven)
    assert run.verdict["unproven"]["learners"] == ["theirs"]
    assert run.oof("theirs").drop("fold").equals(other.oof("p").drop("fold"))


def test_rows_that_this_run_has_not_are_unproven_until_it_has_them(
    project: Project, other: Run
) -> None:
    arena = {"name": "arena", "path": "train.csv", "role": "target"}
    extra = {"name": "extra", "path": "extra.csv", "role": "ignore"}
    run = ensemble.run(project.config([THEIRS], sources=[arena], run_dir="less"))
    audit = run.audit()
    assert (audit.state, audit.unknown) == ("unproven", ("theirs",))
    assert "are no rows of this run" in audit.unproven[0]
    assert 'role = "ignore"' in audit.unproven[0]
    assert run.verdict["unproven"]["learners"] == ["theirs"]
    again = ensemble.run(project.config([THEIRS], sources=[arena, extra], run_dir="less"))
    assert again.audit().state == "passed"
    assert again.verdict["unproven"]["learners"] == []


def _without_clusters(project: Project) -> Run:
    """Make a run whose plan knows duplicates less well: rows of one prompt in several folds."""
    rows = pl.read_csv(project.path / "train.csv", infer_schema=False)
    stirred = rows.with_columns(
        prompt=pl.Series([json.dumps([f"{i} {'zyxwvutsr'[i % 9] * 40}"]) for i in range(len(rows))])
    )
    stirred.write_csv(project.path / "stirred.csv")
    sources = [{"name": "arena", "path": "stirred.csv", "role": "target"}]
    return ensemble.run(project.config(sources=sources, run_dir="other"))


def test_other_texts_under_the_same_ids_are_refused(project: Project) -> None:
    _without_clusters(project)
    with pytest.raises(ConfigError, match="other texts under these ids"):
        ensemble.run(project.config([THEIRS]))


def test_a_model_that_has_seen_the_cluster_is_refused(project: Project) -> None:
    """A conversation that only this run has makes one cluster of two prompts."""
    rows = pl.read_csv(project.path / "train.csv", infer_schema=False)
    words = np.random.default_rng(0).integers(10**6, size=(20, 18)).astype(str)
    prompts = [" ".join(f"word{number}" for number in line) for line in words]
    asked = [json.dumps([prompts[i % 20]]) for i in range(len(rows))]
    rows.with_columns(prompt=pl.Series(asked)).write_csv(project.path / "train.csv")
    sources = [{"name": "arena", "path": "train.csv", "role": "target"}]
    other = ensemble.run(project.config(run_dir="other", sources=sources))
    folds = dict(zip(rows["id"], other.folds["fold"], strict=False))
    first = prompts[0]
    apart = [i for i in range(20) if folds[rows["id"][i]] != folds[rows["id"][0]]]
    second = prompts[apart[0]]
    answers = json.dumps(["one answer", "another answer"])
    pl.DataFrame(
        {
            "id": ["bridge"],
            "prompt": [json.dumps([first, second])],
            "response_a": [answers],
            "response_b": [answers.replace("answer", "reply")],
            "winner_model_a": [1],
            "winner_model_b": [0],
            "winner_tie": [0],
        }
    ).write_csv(project.path / "bridge.csv")
    bridge = {"name": "bridge", "path": "bridge.csv", "role": "ignore"}
    config = project.config([THEIRS], sources=[*sources, bridge], folds={"n_splits": 3})
    message = "a model that has seen rows of their cluster"
    with pytest.raises(IncompleteRunError, match=message) as error:
        ensemble.run(config)
    assert str(rows["id"][0]) in str(error.value)


def test_the_audit_looks_at_the_kept_rows_by_its_own_clusters(project: Project, other: Run) -> None:
    run = ensemble.run(project.config([THEIRS]))
    directory = run.directory / "learners/theirs/fold-0"
    table = pl.read_parquet(directory / PROVENANCE)
    first = table.filter(pl.col("use") == "predicted")
    text = read_other(other.directory, "p").oof.filter(pl.col("id") == first["id"][0])["text"][0]
    leak = pl.DataFrame(
        {"use": "trained", "model": first["model"][0], "id": first["id"][0], "text": text}
    )
    pl.concat([table, leak]).write_parquet(directory / PROVENANCE)
    _reseal(directory)
    audit = audit_run(run.directory)
    failed = [check for check in audit.checks if not check.ok]
    assert [check.name.split(":")[0] for check in failed] == ["theirs fold 0"]
    assert first["id"][0] in failed[0].ids


def test_a_kept_table_that_is_gone_fails(project: Project, other: Run) -> None:
    run = ensemble.run(project.config([THEIRS]))
    directory = run.directory / "learners/theirs/fold-1"
    pl.read_parquet(directory / PROVENANCE).head(0).write_parquet(directory / PROVENANCE)
    _reseal(directory)
    assert audit_run(run.directory).state == "failed"


def _reseal(directory: Path) -> None:
    from ensemble.storage.hashing import hash_file
    from ensemble.storage.json_files import read_checksummed, write_checksummed

    manifest = read_checksummed(directory / "manifest.json", hint="")
    manifest["files"][PROVENANCE] = hash_file(directory / PROVENANCE)
    write_checksummed(directory / "manifest.json", manifest)


def test_what_a_run_needs_stays_when_the_other_is_gone(project: Project, other: Run) -> None:
    config = project.config([THEIRS])
    run = ensemble.run(config)
    shutil.rmtree(other.directory)
    audit = run.audit(deep=True)
    assert audit.state == "passed without sources"
    assert audit.absent == ("run of learner theirs",)
    known = run.predict(project.path / "test.csv")
    assert known.equals(run.submission.select(known.columns))
    with pytest.raises(Exception, match="there is no complete artifact|cannot be read"):
        ensemble.run(config)


def test_another_fit_of_the_other_run_is_taken_anew(project: Project, other: Run) -> None:
    before = ensemble.run(project.config([THEIRS])).oof("theirs")
    ensemble.run(project.config([{"name": "p", "plugin": "prior", "shift": 2.0}], run_dir="other"))
    assert audit_run(project.path / "run").state == "failed", "its content has changed"
    after = ensemble.run(project.config([THEIRS]))
    assert not after.oof("theirs").equals(before)
    assert after.audit().state == "passed"


def test_a_third_run_is_handed_on(project: Project, other: Run) -> None:
    ensemble.run(project.config([{**THEIRS, "name": "copied"}], run_dir="middle"))
    run = ensemble.run(project.config([{**THEIRS, "run": "middle", "learner": "copied"}]))
    assert run.audit().state == "passed"
    assert run.oof("theirs").equals(other.oof("p"))


def test_predictions_from_files_stay_unproven_through_another_run(
    project: Project, other: Run
) -> None:
    other.oof("p").drop("fold").write_parquet(project.path / "oof.parquet")
    other.test("p").write_parquet(project.path / "test.parquet")
    files = {"plugin": "precomputed", "oof": "oof.parquet", "test": "test.parquet"}
    ensemble.run(project.config([{"name": "q", **files}], run_dir="middle"))
    run = ensemble.run(project.config([{**THEIRS, "run": "middle", "learner": "q"}]))
    audit = run.audit()
    assert (audit.state, audit.unknown) == ("unproven", ("theirs",))
    assert 'does not know what its learner "q" was trained on' in audit.unproven[0]


def test_what_the_other_run_lacks_is_said_before_anything_is_fitted(
    project: Project, other: Run
) -> None:
    for learner, match in (
        ({**THEIRS, "learner": "r"}, 'no learner is called "r"'),
        ({**THEIRS, "run": "nowhere"}, "not a run directory|cannot be read"),
        ({**THEIRS, "oof": "oof.csv"}, "give either `oof`"),
        ({**THEIRS, "kind": "probabilities"}, "are for files"),
        ({"name": "theirs", "plugin": "precomputed"}, "give either `oof`"),
        ({"name": "theirs", "plugin": "precomputed", "run": "other"}, "go together"),
    ):
        with pytest.raises((ConfigError, DataError, ArtifactError), match=match):
            ensemble.run(project.config([learner]))


def test_rows_without_predictions_there_are_named(project: Project, other: Run) -> None:
    rows = pl.read_csv(project.path / "train.csv", infer_schema=False)
    added = rows.head(1).with_columns(id=pl.lit("new"), prompt=pl.lit('["something new here"]'))
    pl.concat([rows, added]).write_csv(project.path / "train.csv")
    with pytest.raises(Exception, match=r"no stored predictions for 'new' \(1\)"):
        ensemble.run(project.config([THEIRS]))


def test_a_damaged_or_unfinished_other_run_is_refused(project: Project, other: Run) -> None:
    fold = other.directory / "learners/p/fold-1"
    kept = (fold / "oof.parquet").read_bytes()
    (fold / "oof.parquet").write_bytes(kept[:-1])
    with pytest.raises(Exception, match="not what was written|damaged|another content|hash"):
        ensemble.run(project.config([THEIRS]))
    shutil.rmtree(fold)
    with pytest.raises(Exception, match="folds are not fitted yet: 1"):
        ensemble.run(project.config([THEIRS]))
