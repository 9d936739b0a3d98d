"""What the audit and the report say of fits without a pair of folds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import run
from ensemble.audit.audit import audit_run
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_json, write_checksummed
from tests.ensemble.oof.cheap_learners import Cheap

if TYPE_CHECKING:
    from ensemble.audit.result import Audit
    from tests.fixture_types import Learners, Project


def _run_of_two(project: Project) -> Path:
    learners: Learners = [
        {"name": "pupil", "plugin": "cheap", "teachers": ["teacher"]},
        {"name": "teacher", "plugin": "cheap", "shift": 1.0},
    ]
    stack = {"meta_learner": "none", "learners": ["pupil"], "resamples": 200}
    return run(project.config(learners, stack=stack, folds={"n_splits": 4})).directory


def _forge(directory: Path, name: str, frame: pl.DataFrame, **changes: Any) -> None:
    """Write a file of an artifact anew, and its hash into the manifest."""
    frame.write_parquet(directory / name)
    manifest = read_json(directory / "manifest.json")
    manifest["files"][name] = hash_file(directory / name)
    write_checksummed(directory / "manifest.json", {**manifest, **changes})


def test_the_audit_proves_pairs_and_says_which_are_missing(
    project: Project, cheap: type[Cheap]
) -> None:
    place = _run_of_two(project)
    audit = audit_run(place)
    assert audit.ok
    assert audit.complete
    names = {check.name for check in audit.checks}
    assert (
        "pupil pair 0-2: rule 2, saw neither a held-out row, nor its cluster, nor its swap" in names
    )
    assert "pupil pair 0-2: taught by teacher triple 0-1-2" in names
    assert "teacher pair 1-2: predicts its held-out rows, each once" in names
    assert "stack: nested on the pairs of folds that are there" in names
    shutil.rmtree(place / "learners/teacher/pair-0-1")
    after = audit_run(place)
    assert after.missing == ("teacher pair 0-1",)
    assert "pupil fold 0: taught by teacher pair 0-1" in _failed(after)


def _failed(audit: Audit) -> list[str]:
    return [check.name for check in audit.checks if not check.ok]


def test_a_report_without_pairs_says_that_nothing_was_measured(
    project: Project, cheap: type[Cheap]
) -> None:
    stack = {"meta_learner": "none", "nesting": "plain", "resamples": 200}
    place = run(project.config([{"name": "one", "plugin": "cheap"}], stack=stack)).directory
    assert not list(place.glob("learners/*/pair-*"))
    html = " ".join((place / "report.html").read_text().split())
    assert "Open for one." in html
    assert "The gap measured" not in html


@pytest.mark.parametrize("fold", [0, 2])
def test_the_audit_catches_a_pair_that_was_trained_on_a_row_of_either_fold(
    project: Project, cheap: type[Cheap], fold: int
) -> None:
    place = _run_of_two(project)
    directory = place / "learners/pupil/pair-0-2"
    used = pl.read_parquet(directory / "train_ids.parquet")
    plan = pl.read_parquet(place / "folds.parquet")
    leaked = plan.filter(fold=fold)["id"][0]
    swapped = used.with_columns(
        id=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(leaked)).otherwise("id")
    )
    _forge(directory, "train_ids.parquet", swapped)
    found = [check for check in audit_run(place).checks if not check.ok]
    assert [check.name for check in found] == [
        "pupil pair 0-2: rule 2, saw neither a held-out row, nor its cluster, nor its swap",
        "pupil pair 0-2: what each label was is recorded",
    ]
    assert found[0].ids == (leaked,)


@pytest.mark.slow
def test_the_audit_catches_pairs_that_predict_other_rows_or_are_not_those_of_the_stack(
    project: Project, cheap: type[Cheap]
) -> None:
    place = _run_of_two(project)
    directory = place / "learners/pupil/pair-0-2"
    _forge(directory, "oof.parquet", pl.read_parquet(directory / "oof.parquet")[1:])
    assert _failed(audit_run(place)) == [
        "stack: nested on the pairs of folds that are there",
        "pupil pair 0-2: predicts its held-out rows, each once",
    ]
    shutil.rmtree(directory)
    shutil.copytree(place / "learners/pupil/pair-0-1", directory)
    assert "pupil pair 0-2: stored predictions can be trusted" in _failed(audit_run(place))
