from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import errors, run
from ensemble.audit.audit import audit_run, stored_audit
from ensemble.battles.fold_plan import FoldPlan
from ensemble.battles.prepared import read_battles
from ensemble.storage.hashing import hash_file
from ensemble.submission.record import remove_submission
from tests.ensemble.audit.forging import (
    add_training_row,
    failed_checks,
    rewrite_table,
    seal_manifest,
)

if TYPE_CHECKING:
    from tests.fixture_types import Project


def test_an_honest_run_passes_and_says_what_was_checked(place: Path) -> None:
    audit = audit_run(place)
    assert audit.ok
    assert audit.complete
    assert not audit.unknown
    assert not audit.missing
    assert audit.state == "passed"
    assert audit.sentence == f"passed: {len(audit.checks)} checks hold"
    assert sum("rule 2" in check.name for check in audit.checks) == 3


@pytest.mark.parametrize("directory", ["learners/p/fold-0", "stack"])
@pytest.mark.parametrize(
    "content", [b"[1]", b"{nope", b"", b"\xff\xfe\x00", b"{}", b'{"files": 1}']
)
def test_a_manifest_that_is_none_fails_and_the_other_checks_go_on(
    place: Path, directory: str, content: bytes
) -> None:
    (place / directory / "manifest.json").write_bytes(content)
    audit = audit_run(place)
    name = "stack: what is stored" if directory == "stack" else "p fold 0: stored predictions"
    failed = [check.name for check in audit.checks if not check.ok]
    assert failed[0] == f"{name} can be trusted"
    assert sum("rule 2" in check.name for check in audit.checks) == (2 if name[0] == "p" else 3)


@pytest.mark.parametrize(
    ("directory", "key"),
    [
        ("learners/p/fold-0", "rows"),
        ("learners/p/fold-0", "training_rows"),
        ("stack", "learners"),
        ("stack", "nested"),
    ],
)
def test_a_manifest_that_lacks_a_key_fails_and_the_other_checks_go_on(
    place: Path, directory: str, key: str
) -> None:
    path = place / directory / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[key]
    seal_manifest(path, manifest)
    audit = audit_run(place)
    assert any(key in check.detail for check in audit.checks if not check.ok)
    assert any("p fold 1: rule 2" in check.name for check in audit.checks)


def test_a_held_out_row_among_the_training_rows_is_found(place: Path) -> None:
    fold = place / "learners/p/fold-1"
    leak = pl.read_parquet(fold / "oof.parquet")["id"][0]
    add_training_row(fold, leak)
    failed = failed_checks(place)
    assert list(failed) == [
        "p fold 1: rule 2, saw neither a held-out row, nor its cluster, nor its swap"
    ]
    assert failed[next(iter(failed))] == (leak,)


def test_a_cut_row_of_an_external_source_is_found(place: Path) -> None:
    """`extra-0` shares a prompt with target rows of one fold alone."""
    plan = pl.read_parquet(place / "folds.parquet")
    cluster = plan.filter(pl.col("id") == "extra-0")["cluster"][0]
    held = plan.filter((pl.col("cluster") == cluster) & pl.col("fold").is_not_null())["fold"][0]
    add_training_row(place / f"learners/p/fold-{held}", "extra-0")
    assert list(failed_checks(place).values()) == [("extra-0",)]


def test_a_test_row_among_the_training_rows_is_found(place: Path) -> None:
    add_training_row(place / "learners/p/fold-0", "t-3")
    assert "p fold 0: trains on rows of the run, none of the test set" in failed_checks(place)


def test_a_cluster_torn_between_folds_is_found(place: Path) -> None:
    """A plan whose own clusters were wrong: the audit computes them anew."""
    plan = pl.read_parquet(place / "folds.parquet")
    moved = plan.filter(pl.col("fold") == 0)["id"][0]
    torn = plan.with_columns(
        fold=pl.when(pl.col("id") == moved).then(pl.lit(1, pl.Int32)).otherwise("fold"),
        cluster=pl.when(pl.col("id") == moved).then(pl.lit(999)).otherwise("cluster"),
    )
    _replace_plan(place, torn)
    failed = failed_checks(place)
    assert moved in failed["no recomputed cluster is split between folds"]


def test_a_validated_external_row_is_found(place: Path) -> None:
    plan = pl.read_parquet(place / "folds.parquet")
    wrong = plan.with_columns(
        fold=pl.when(pl.col("id") == "extra-19").then(pl.lit(0, pl.Int32)).otherwise("fold")
    )
    _replace_plan(place, wrong)
    assert failed_checks(place)["rule 1: only target rows are validated"] == ("extra-19",)


def _replace_plan(place: Path, frame: pl.DataFrame) -> None:
    """Put another plan in place, with a summary that fits it."""
    frame.write_parquet(place / "folds.parquet")
    path = place / "folds.json"
    files = {"folds.parquet": hash_file(place / "folds.parquet")}
    made = {"fingerprint": FoldPlan(frame, 3).fingerprint, "files": files}
    seal_manifest(path, json.loads(path.read_text()) | made)


def test_predictions_of_another_plan_are_found(place: Path) -> None:
    path = place / "learners/p/fold-2/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"] = "0" * 64
    seal_manifest(path, manifest)
    assert "p fold 2: stored predictions can be trusted" in failed_checks(place)


@pytest.mark.parametrize("change", ["missing", "foreign", "repeated"])
def test_wrong_rows_in_the_predictions_are_found(place: Path, change: str) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return {
            "missing": frame[1:],
            "foreign": frame.with_columns(id=pl.concat_str(pl.col("id"), pl.lit("x"))),
            "repeated": pl.concat([frame, frame[:1]]),
        }[change]

    rewrite_table(place / "learners/p/fold-0", "oof.parquet", edit)
    assert "p fold 0: predicts its held-out rows, each once" in failed_checks(place)


def test_what_was_not_made_is_not_called_clean(place: Path) -> None:
    shutil.rmtree(place / "learners/p/fold-1")
    shutil.rmtree(place / "stack")
    remove_submission(place)
    audit = audit_run(place)
    assert audit.state == "incomplete"
    assert audit.ok
    assert not audit.complete
    assert audit.missing == ("p fold 1", "stack")
    assert "the run is not complete, not measured: p fold 1, stack" in audit.sentence
    assert audit.to_json()["complete"] is False


def test_unknown_training_rows_are_said_to_be_unknown(project: Project) -> None:
    target = pl.read_csv(project.path / "train.csv")
    test = pl.read_csv(project.path / "test.csv")
    for name, frame in (("oof", target), ("test", test)):
        logits = frame.select("id", logit_a=0.1, logit_b=0.2, logit_tie=0.3)
        logits.write_csv(project.path / f"{name}_logits.csv")
    mine = {"name": "mine", "plugin": "precomputed"}
    files = {"oof": "oof_logits.csv", "test": "test_logits.csv"}
    place = run(project.config([{**mine, **files}, {"name": "p", "plugin": "prior"}])).directory
    audit = audit_run(place)
    assert audit.ok
    assert audit.unknown == ("mine",)
    assert audit.state == "unproven"
    assert "training rows unknown for mine" in audit.sentence


def test_damaged_battles_cannot_be_audited(place: Path) -> None:
    (place / "battles.parquet").write_bytes(b"nothing")
    with pytest.raises(errors.ArtifactError, match="not what was written"):
        audit_run(place)


def test_an_empty_list_of_training_rows_is_found(place: Path) -> None:
    rewrite_table(place / "learners/p/fold-0", "train_ids.parquet", lambda frame: frame.clear())
    assert "p fold 0: all training rows are recorded" in failed_checks(place)


def test_a_learner_that_trains_cannot_be_unknown(place: Path) -> None:
    path = place / "learners/p/fold-0/manifest.json"
    manifest = json.loads(path.read_text())
    seal_manifest(path, manifest | {"training_rows": "unknown"})
    add_training_row(place / "learners/p/fold-0", "t-3")
    assert "p fold 0: trains on rows of the run, none of the test set" in failed_checks(place)


def test_the_refit_is_audited_too(project: Project) -> None:
    place = run(project.config(predict={"refit": True})).directory
    assert audit_run(place).ok
    add_training_row(place / "learners/p/refit", "t-3")
    assert "p refit: trains on rows of the run, none of the test set" in failed_checks(place)


def test_an_audit_is_kept_only_while_nothing_has_changed(project: Project) -> None:
    place = run(project.config()).directory
    stored = stored_audit(place)
    assert stored == audit_run(place)
    edited = json.loads((place / "audit.json").read_text()) | {"checks": []}
    (place / "audit.json").write_text(json.dumps(edited))
    assert stored_audit(place) is None


def test_the_audit_reads_and_writes_nothing(place: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    audit_run(place)
    assert {p: p.stat().st_mtime_ns for p in place.rglob("*")} == before
    assert read_battles(place)
