from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import run
from ensemble.submission.new_rows import predict_file

if TYPE_CHECKING:
    from tests.fixture_types import Learners, Project


def test_a_single_row_gets_the_prediction_it_has_in_a_batch(
    project: Project, tmp_path: Path
) -> None:
    learners: Learners = [
        {
            "name": "h",
            "plugin": "handcrafted",
            "features": ["length"],
            "n_estimators": 5,
            "n_models": 2,
        },
        {"name": "t", "plugin": "tfidf"},
    ]
    config = project.config(learners)
    place = run(config).directory
    whole = pl.read_csv(place / "submission.csv")
    lines = pl.read_csv(project.path / "test.csv")
    for row in (0, 4, 8):
        lines[row].write_csv(tmp_path / "one.csv")
        predict_file(config, tmp_path / "one.csv", tmp_path / "out.csv")
        alone = pl.read_csv(tmp_path / "out.csv")
        assert alone["id"][0] == whole["id"][row]
        for name in alone.columns[1:]:
            assert alone[name][0] == pytest.approx(whole[name][row], abs=1e-6)
