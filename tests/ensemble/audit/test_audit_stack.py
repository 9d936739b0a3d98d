"""What the audit finds of a stack."""

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
from ensemble.audit.audit import audit_run
from ensemble.stages.fit import fit_stage
from ensemble.stages.predict import predict_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.submission.new_rows import predict_file
from tests.ensemble.audit.forging import (
    add_training_row,
    failed_checks,
    failing_checks,
    rewrite_table,
    seal_manifest,
)
from tests.ensemble.stages import prepare_and_fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import LogitArray
    from tests.fakes import Prior
    from tests.fixture_types import Project


def test_a_stack_made_from_other_folds_is_found(project: Project, place: Path) -> None:
    config = project.config(seed=8)
    prepare_and_fit(config)
    failed = failing_checks(place)
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
    add_training_row(place / "learners/leaky/fold-0", "t-3")
    _config_without(place, "leaky")
    failed = failed_checks(place)
    assert "leaky fold 0: trains on rows of the run, none of the test set" in failed
    assert "stack: made from the learners that the config stacks" in failed


def test_a_stack_that_lacks_a_learner_of_the_config_is_found(project: Project, place: Path) -> None:
    config = project.config([{"name": "p", "plugin": "prior"}, {"name": "q", "plugin": "prior"}])
    with writing(config) as reporter:
        fit_stage(config, reporter)
    failed = failing_checks(place)
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
    assert failing_checks(place)[0].detail == "other: p fold-1"
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
    seal_manifest(path, manifest)


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        (
            lambda m: m.update(nested=[]),
            "stack: scored by a fit of its own for each fold",
            "3 folds have predictions, and the manifest records 0",
        ),
        (
            lambda m: m["nested"].pop(),
            "stack: scored by a fit of its own for each fold",
            "3 folds have predictions, and the manifest records 2",
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
    failed = failing_checks(place)
    assert [(check.name, check.detail) for check in failed] == [(name, detail)]


@pytest.mark.parametrize("name", ["index.json", "0000.parquet"])
def test_tries_that_are_gone_are_named(place: Path, name: str) -> None:
    (lost,) = (place / "tries").glob(f"*/{name}")
    lost.unlink()
    (failed,) = failing_checks(place)
    assert failed.name == "stack: all that it was corrected for is remembered"
    assert f"{lost.relative_to(place).as_posix()} is gone or damaged" in (failed.detail or "")


def test_a_stack_that_is_not_of_its_own_key_is_found(place: Path) -> None:
    _edit_stack(place, lambda m: m["key_parts"].update(seed=99), seal=False)
    failed = {check.name: check.detail for check in failing_checks(place)}
    assert failed == {
        "stack: what is stored can be trusted": "the manifest does not hold its own key (run/stack)"
    }


def test_rows_that_were_not_scored_are_found(place: Path) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("fold") != 2)

    rewrite_table(place / "stack", "oof.parquet", edit)
    assert "stack: scored by a fit of its own for each fold" in failed_checks(place)


def test_a_run_without_its_learners_has_measured_nothing(place: Path) -> None:
    shutil.rmtree(place / "learners")
    audit = audit_run(place)
    assert not audit.ok
    assert audit.missing == ("p fold 0", "p fold 1", "p fold 2")


def test_a_row_scored_by_a_stack_that_saw_it_is_found(place: Path) -> None:
    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(fold=(pl.col("fold") + 1) % 3)

    rewrite_table(place / "stack", "oof.parquet", edit)
    failed = failed_checks(place)
    assert "stack: scored on target rows, each once, in its own fold" in failed
    assert "stack fold 0: fitted on the other folds alone" in failed


def test_junk_in_the_stack_is_told_and_no_crash(place: Path) -> None:
    rewrite_table(place / "stack", "oof.parquet", lambda frame: frame)
    (place / "stack/oof.parquet").write_bytes(b"junk")
    manifest = json.loads((place / "stack/manifest.json").read_text())
    manifest["files"]["oof.parquet"] = hash_file(place / "stack/oof.parquet")
    seal_manifest(place / "stack/manifest.json", manifest)
    assert "stack: what is stored can be trusted" in failed_checks(place)
