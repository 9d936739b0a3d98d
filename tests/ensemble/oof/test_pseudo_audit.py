"""The audit follows soft labels to the learners that gave them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import run
from ensemble.audit.audit import audit_run
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import write_checksummed
from tests.ensemble.audit.forging import add_training_row
from tests.ensemble.oof.pseudo_config import PUPIL, TEACHER, pseudo_config

if TYPE_CHECKING:
    from tests.fixture_types import Project


def test_the_audit_follows_the_chain(project: Project) -> None:
    result = audit_run(run(pseudo_config(project)).directory)
    names = [check.name for check in result.checks]
    assert result.ok
    assert "pupil fold 0: extra labeled by teacher of the same fold" in names
    assert (
        "pupil fold 2, labeler teacher of extra: rule 2, saw neither a held-out row, nor its "
        "cluster, nor its swap" in names
    )
    assert "pupil fold 1, labeler teacher of extra: learned from no pseudo-labels" in names


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("another fold's", "pupil fold 0: extra labeled by teacher of the same fold"),
        ("saw a held-out row", "pupil fold 0, labeler teacher of extra: rule 2"),
        ("saw a pseudo row", "pupil fold 0, labeler teacher of extra: learned from no pseudo"),
    ],
)
def test_the_audit_finds_a_dishonest_labeler(project: Project, how: str, found: str) -> None:
    place = run(pseudo_config(project)).directory
    folds = [place / "learners" / "teacher" / f"fold-{fold}" for fold in range(2)]
    if how == "another fold's":
        shutil.rmtree(folds[0])
        shutil.copytree(folds[1], folds[0])
    elif how == "saw a held-out row":
        add_training_row(folds[0], pl.read_parquet(folds[0] / "oof.parquet")["id"][0])
    else:
        add_training_row(folds[0], "extra-19")
    failed = [check.name for check in audit_run(place).checks if not check.ok]
    assert any(name.startswith(found) for name in failed)


def test_the_audit_finds_a_labeler_that_is_another_by_now(project: Project) -> None:
    place = run(pseudo_config(project)).directory
    changed = pseudo_config(project, PUPIL, TEACHER | {"shift": 1.0})
    fit_fold(open_workspace(changed), learner_specs(changed)[1], 0)
    failed = [check.name for check in audit_run(place).checks if not check.ok]
    assert "pupil fold 0: extra labeled by teacher of the same fold" in failed
    assert "pupil fold 1: extra labeled by teacher of the same fold" not in failed


@pytest.mark.parametrize("labelers", [{}, {"extra": {}}])
def test_the_audit_finds_labels_that_nobody_is_said_to_have_given(
    project: Project, labelers: dict[str, Any]
) -> None:
    place = run(pseudo_config(project)).directory
    _forge(place / "learners" / "pupil" / "fold-0", labelers=labelers)
    failed = {check.name: check for check in audit_run(place).checks if not check.ok}
    found = failed["pupil fold 0: who labeled its pseudo rows is recorded"]
    assert all(name.startswith("extra-") for name in found.ids)
    assert not any(name.startswith(("pupil fold 1", "teacher")) for name in failed)


def test_the_audit_follows_the_chain_to_its_end(project: Project) -> None:
    """Those behind a labeler are looked at too, though no config names them any more."""
    place = run(pseudo_config(project)).directory
    folds = {name: place / "learners" / name / "fold-0" for name in ("pupil", "teacher", "behind")}
    shutil.copytree(folds["teacher"], folds["behind"])
    behind = _forge(folds["behind"], learner="behind")
    teacher = _forge(folds["teacher"], teachers={"behind": {"fold-0": behind}})
    _forge(folds["pupil"], labelers={"extra": {"teacher": teacher}})
    name = "pupil fold 0, labeler teacher of extra"
    held = [check.name for check in audit_run(place).checks if check.ok]
    assert f"{name}: taught by behind fold 0" in held
    assert f"{name}, teacher behind fold 0: learned from no pseudo-labels" in held
    add_training_row(folds["behind"], "extra-19")
    add_training_row(folds["behind"], pl.read_parquet(folds["pupil"] / "oof.parquet")["id"][0])
    failed = [check.name for check in audit_run(place).checks if not check.ok]
    assert f"{name}, teacher behind fold 0: learned from no pseudo-labels" in failed
    assert any(each.startswith(f"{name}, teacher behind fold 0: rule 2") for each in failed)


def _forge(fold: Path, learner: str | None = None, **parts: Any) -> str:
    """Make a manifest say something else, and hold its own key; gives the key."""
    manifest = json.loads((fold / "manifest.json").read_text())
    manifest["learner"] = learner or manifest["learner"]
    manifest["key_parts"] |= parts | {"learner": manifest["learner"]}
    manifest["key"] = fingerprint(manifest["key_parts"])
    write_checksummed(fold / "manifest.json", manifest)
    return str(manifest["key"])
