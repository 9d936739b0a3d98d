"""Predictions from outside of A and B alone, for a task without ties."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, FitContext, errors, run
from ensemble_plugins.precomputed import Precomputed
from tests.plugins.outside_files import FORMS, IDS, LOGITS, battles_of, oof_table, predict_from

if TYPE_CHECKING:
    from tests.fixture_types import Project

TWO = {"logits": ("logit_a", "logit_b"), "probabilities": CLASSES[:2]}


def _two(name: str, kind: str, path: Path) -> None:
    """Write predictions of A and B alone, each kind in either form."""
    values = LOGITS[:, :2] if kind == "logits" else np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    FORMS[name](oof_table(values=values, names=TWO[kind]), path / name)


@pytest.mark.parametrize("kind", TWO)
@pytest.mark.parametrize("name", ["oof.csv", "oof.npz"])
def test_files_of_two_classes_serve_a_task_without_ties_alone(
    tmp_path: Path, name: str, kind: str
) -> None:
    _two(name, kind, tmp_path)
    learner = Precomputed(oof=tmp_path / name)
    learner.check_ids(IDS)
    learner.fit(battles_of(["x"]), np.eye(3)[:1], context=FitContext(ties=False))
    found = learner.predict_logits(battles_of(IDS))
    expected = LOGITS[:, :2] if kind == "logits" else np.log([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-6)
    assert (found[:, 2] < found[:, :2].min(axis=1) - 50).all()
    with pytest.raises(errors.DataError, match="A and B alone, and the task has ties") as error:
        predict_from(oof=tmp_path / name)
    assert "ties = false" in str(error.value)


def test_a_tie_that_is_mapped_has_to_be_there(tmp_path: Path) -> None:
    _two("oof.csv", "probabilities", tmp_path)
    with pytest.raises(errors.DataError, match="columns are missing: p_tie"):
        predict_from(oof=tmp_path / "oof.csv", columns={"winner_tie": "p_tie"})


def test_files_of_two_classes_are_scored_as_they_are(project: Project) -> None:
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False).filter(pl.col("winner_tie").cast(float) == 0)
    table.write_csv(path)
    shares = np.tile([0.75, 0.25], (len(table), 1))
    oof_table(table["id"].to_list(), shares, CLASSES[:2]).write_csv(project.path / "two.csv")
    tests = pl.read_csv(project.path / "test.csv", infer_schema=False)["id"].to_list()
    np.savez(project.path / "two.npz", id=np.array(tests), p=np.tile([0.6, 0.4], (len(tests), 1)))
    outside = {"name": "o", "plugin": "precomputed", "oof": "two.csv", "test": "two.npz"}
    learners = [outside, {"name": "p", "plugin": "prior"}]
    with pytest.raises(errors.EnsembleError, match="A and B alone, and the task has ties"):
        run(project.config(learners, run_dir="with-ties"))
    config = project.config(learners, task={"ties": False}, stack={"meta_learner": "none"})
    done = run(config)
    a = table["winner_model_a"].cast(float).to_numpy()
    loss = -(a * np.log(0.75) + (1 - a) * np.log(0.25)).mean()
    scores = {row["name"]: row["log_loss"] for row in done.scores().iter_rows(named=True)}
    assert scores["o"] == pytest.approx(loss, abs=1e-6)
