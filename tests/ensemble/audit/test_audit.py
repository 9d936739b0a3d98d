from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import tomli_w

from ensemble import errors, run
from ensemble.audit.audit import audit_run, stored_audit
from ensemble.audit.checks import Check
from ensemble.battles.folds import FoldPlan
from ensemble.battles.prepare import read_battles
from ensemble.stages.fit import fit_stage
from ensemble.stages.predict import predict_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import write_checksummed
from ensemble.submission.new_rows import predict_file
from ensemble.submission.record import remove_submission

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import LogitArray
    from tests.fakes import Prior
    from tests.fixture_types import Project


@pytest.fixture
def place(project: Project) -> Path:
    return run(project.config()).directory


def _rewrite(directory: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a stored table and make the manifest's hash hold, as a dishonest writer would."""
    frame = pl.read_parquet(directory / name)
    change(frame).write_parquet(directory / name)
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = hash_file(directory / name)
    _seal(path, manifest)


def _seal(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with a seal that holds, as a dishonest writer would."""
    write_checksummed(path, value)


def _failed(place: Path) -> dict[str, tuple[str, ...]]:
    return {check.name: check.ids for check in _failing(place)}


def _failing(place: Path) -> list[Check]:
    """Give the checks that fail, but that of a submission, which any other stack fails too."""
    checks = audit_run(place).checks
    return [check for check in checks if not check.ok and not check.name.startswith("submission")]


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
    _seal(path, manifest)
    audit = audit_run(place)
    assert any(key in check.detail for check in audit.checks if not check.ok)
    assert any("p fold 1: rule 2" in check.name for check in audit.checks)


def test_a_held_out_row_among_the_training_rows_is_found(place: Path) -> None:
    fold = place / "learners/p/fold-1"
    leak = pl.read_parquet(fold / "oof.parquet")["id"][0]
    _add_training_row(fold, leak)
    failed = _failed(place)
    assert list(failed) == [
        "p fold 1: rule 2, saw neither a held-out row, nor its cluster, nor its swap"
    ]
    assert failed[next(iter(failed))] == (leak,)


def test_a_cut_row_of_an_external_source_is_found(place: Path) -> None:
    """`extra-0` shares a prompt with target rows of one fold alone."""
    plan = pl.read_parquet(place / "folds.parquet")
    cluster = plan.filter(pl.col("id") == "extra-0")["cluster"][0]
    held = plan.filter((pl.col("cluster") == cluster) & pl.col("fold").is_not_null())["fold"][0]
    _add_training_row(place / f"learners/p/fold-{held}", "extra-0")
    assert list(_failed(place).values()) == [("extra-0",)]


def test_a_test_row_among_the_training_rows_is_found(place: Path) -> None:
    _add_training_row(place / "learners/p/fold-0", "t-3")
    assert "p fold 0: trains on rows of the run, none of the test set" in _failed(place)


def _add_training_row(fold: Path, name: str) -> None:
    row = {"id": [name], "stage": ["train"]}
    _rewrite(
        fold, "train_ids.parquet", lambda f: pl.concat([f, pl.DataFrame(row, schema=f.schema)])
    )
    manifest = json.loads((fold / "manifest.json").read_text())
    manifest["rows"]["train"] += 1
    _seal(fold / "manifest.json", manifest)


def test_a_cluster_torn_between_folds_is_found(place: Path) -> None:
    """A plan whose own clusters were wrong: the audit computes them anew."""
    plan = pl.read_parquet(place / "folds.parquet")
    moved = plan.filter(pl.col("fold") == 0)["id"][0]
    torn = plan.with_columns(
        fold=pl.when(pl.col("id") == moved).then(pl.lit(1, pl.Int32)).otherwise("fold"),
        cluster=pl.when(pl.col("id") == moved).then(pl.lit(999)).otherwise("cluster"),
    )
    _replace_plan(place, torn)
    failed = _failed(place)
    assert moved in failed["no recomputed cluster is split between folds"]


def test_a_validated_external_row_is_found(place: Path) -> None:
    plan = pl.read_parquet(place / "folds.parquet")
    wrong = plan.with_columns(
        fold=pl.when(pl.col("id") == "extra-19").then(pl.lit(0, pl.Int32)).otherwise("fold")
    )
    _replace_plan(place, wrong)
    assert _failed(place)["rule 1: only target rows are validated"] == ("extra-19",)


def _replace_plan(place: Path, frame: pl.DataFrame) -> None:
    """Put another plan in place, with a summary that fits it."""
    frame.write_parquet(place / "folds.parquet")
    path = place / "folds.json"
    files = {"folds.parquet": hash_file(place / "folds.parquet")}
    made = {"fingerprint": FoldPlan(frame, 3).fingerprint, "files": files}
    _seal(path, json.loads(path.read_text()) | made)


def test_predictions_of_another_plan_are_found(place: Path) -> None:
    path = place / "learners/p/fold-2/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"] = "0" * 64
    _seal(path, manifest)
    assert "p fold 2: stored predictions can be trusted" in _failed(place)


@pytest.mark.parametrize("change", ["missing", "foreign", "repeated"])
def test_wrong_rows_in_the_predictions_are_found(place: Path, change: str) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return {
            "missing": frame[1:],
            "foreign": frame.with_columns(id=pl.concat_str(pl.col("id"), pl.lit("x"))),
            "repeated": pl.concat([frame, frame[:1]]),
        }[change]

    _rewrite(place / "learners/p/fold-0", "oof.parquet", edit)
    assert "p fold 0: predicts its held-out rows, each once" in _failed(place)


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
    _rewrite(place / "learners/p/fold-0", "train_ids.parquet", lambda frame: frame.clear())
    assert "p fold 0: all training rows are recorded" in _failed(place)


def test_a_learner_that_trains_cannot_be_unknown(place: Path) -> None:
    path = place / "learners/p/fold-0/manifest.json"
    manifest = json.loads(path.read_text())
    _seal(path, manifest | {"training_rows": "unknown"})
    _add_training_row(place / "learners/p/fold-0", "t-3")
    assert "p fold 0: trains on rows of the run, none of the test set" in _failed(place)


def test_the_refit_is_audited_too(project: Project) -> None:
    place = run(project.config(predict={"refit": True})).directory
    assert audit_run(place).ok
    _add_training_row(place / "learners/p/refit", "t-3")
    assert "p refit: trains on rows of the run, none of the test set" in _failed(place)


def test_a_stack_made_from_other_folds_is_found(project: Project, place: Path) -> None:
    config = project.config(seed=8)
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        fit_stage(config, reporter)
    failed = _failing(place)
    assert failed[0].name == "stack: made with what the config and the plugins say"
    assert failed[0].detail == "made with other values of: seed"
    failed = failed[1:]
    assert failed[0].name == "stack: made from the folds that are there"
    assert "plan, p fold-0, p fold-1" in failed[0].detail


def _config_without(place: Path, learner: str) -> None:
    """Take a learner out of the run's config, as one would who wants it out of sight."""
    raw = tomllib.loads((place / "config.toml").read_text())
    raw["learners"] = [item for item in raw["learners"] if item["name"] != learner]
    (place / "config.toml").write_text(tomli_w.dumps(raw))


def test_a_learner_is_not_hidden_by_taking_it_out_of_the_config(project: Project) -> None:
    """It is still in the stack, and so in the submission."""
    leaky = {"name": "leaky", "plugin": "prior", "shift": 0.3}
    place = run(project.config([{"name": "p", "plugin": "prior"}, leaky])).directory
    _add_training_row(place / "learners/leaky/fold-0", "t-3")
    _config_without(place, "leaky")
    failed = _failed(place)
    assert "leaky fold 0: trains on rows of the run, none of the test set" in failed
    assert "stack: made from the learners that the config stacks" in failed


def test_a_stack_that_lacks_a_learner_of_the_config_is_found(project: Project, place: Path) -> None:
    config = project.config([{"name": "p", "plugin": "prior"}, {"name": "q", "plugin": "prior"}])
    with writing(config) as reporter:
        fit_stage(config, reporter)
    failed = _failing(place)
    assert [check.name for check in failed] == [
        "stack: made from the learners that the config stacks",
        "stack: made with what the config and the plugins say",
    ]
    assert failed[0].detail == "it uses p, records p, and the config asks for p, q"


def test_a_fold_made_anew_under_the_same_key_leaves_no_stack_of_the_former(
    project: Project, place: Path, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the same seed and rows, and other logits."""
    monkeypatch.setattr(fake_learners, "predict_logits", _noisy)
    (place / "learners/p/fold-1/oof.parquet").unlink()
    config = project.config()
    with writing(config) as reporter:
        assert fit_stage(config, reporter) == {"fitted": 1, "kept": 2}
    assert _failing(place)[0].detail == "other: p fold-1"
    with pytest.raises(errors.ArtifactError, match="not one that the stack was made from"):
        predict_file(config, project.path / "test.csv", project.path / "out.csv")
    with writing(config) as reporter:
        with pytest.raises(
            errors.ArtifactError, match="the stack is missing or was made with other"
        ):
            predict_stage(config, reporter)
        stack_stage(config, reporter)
        predict_stage(config, reporter)
    assert audit_run(place).ok


def _noisy(self: Prior, battles: pl.DataFrame) -> LogitArray:
    return np.tile(np.log(self.shares + 0.1), (len(battles), 1)).astype(np.float32)


def _edit_stack(
    place: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True
) -> None:
    path = place / "stack/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    if seal:
        manifest["key"] = fingerprint(manifest["key_parts"])
    _seal(path, manifest)


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        (
            lambda m: m.update(nested=[]),
            "stack: scored by a fit of its own for each fold",
            "3 folds are in the plan, and the manifest records 0",
        ),
        (
            lambda m: m["nested"].pop(),
            "stack: scored by a fit of its own for each fold",
            "3 folds are in the plan, and the manifest records 2",
        ),
        (
            lambda m: m["key_parts"].update(folds={"p": {}}),
            "stack: made from the folds that are there",
            "other: p fold-0, p fold-1, p fold-2",
        ),
        (
            lambda m: m["key_parts"].update(folds={}),
            "stack: made from the learners that the config stacks",
            "it uses p, records none, and the config asks for p",
        ),
        (
            lambda m: m["key_parts"]["folds"]["p"].update({"fold-7": {"key": "k", "oof": "o"}}),
            "stack: made from the folds that are there",
            "other: p fold-7",
        ),
    ],
)
def test_a_stack_that_records_less_or_else_is_found(
    place: Path, change: Callable[[dict[str, Any]], object], name: str, detail: str
) -> None:
    _edit_stack(place, change)
    failed = _failing(place)
    assert [(check.name, check.detail) for check in failed] == [(name, detail)]


def test_a_stack_that_is_not_of_its_own_key_is_found(place: Path) -> None:
    _edit_stack(place, lambda m: m["key_parts"].update(seed=99), seal=False)
    failed = {check.name: check.detail for check in _failing(place)}
    assert failed == {
        "stack: what is stored can be trusted": "the manifest does not hold its own key"
    }


def test_rows_that_were_not_scored_are_found(place: Path) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("fold") != 2)

    _rewrite(place / "stack", "oof.parquet", edit)
    assert "stack: scored by a fit of its own for each fold" in _failed(place)


def test_a_run_without_its_learners_has_measured_nothing(place: Path) -> None:
    shutil.rmtree(place / "learners")
    audit = audit_run(place)
    assert not audit.ok
    assert audit.missing == ("p fold 0", "p fold 1", "p fold 2")


def test_a_row_scored_by_a_stack_that_saw_it_is_found(place: Path) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(fold=(pl.col("fold") + 1) % 3)

    _rewrite(place / "stack", "oof.parquet", edit)
    failed = _failed(place)
    assert "stack: scored on target rows, each once, in its own fold" in failed
    assert "stack fold 0: fitted on the other folds alone" in failed


def test_junk_in_the_stack_is_told_and_no_crash(place: Path) -> None:
    _rewrite(place / "stack", "oof.parquet", lambda frame: frame)
    (place / "stack/oof.parquet").write_bytes(b"junk")
    manifest = json.loads((place / "stack/manifest.json").read_text())
    manifest["files"]["oof.parquet"] = hash_file(place / "stack/oof.parquet")
    _seal(place / "stack/manifest.json", manifest)
    assert "stack: what is stored can be trusted" in _failed(place)


def test_an_audit_is_kept_only_while_nothing_has_changed(place: Path) -> None:
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
