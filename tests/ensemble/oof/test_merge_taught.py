"""Fits of teachers, of pupils and of several folds at once, taken from another run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import run
from ensemble.stages.merge import merge_stage
from ensemble.stages.shared import record_config
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from tests.fixture_types import Project


@pytest.mark.slow
def test_a_whole_run_with_a_privileged_teacher_is_taken_and_ends_in_the_same_bytes(
    project: Project,
) -> None:
    for name in ("train", "extra", "test"):
        path = project.path / f"{name}.csv"
        frame = pl.read_csv(path)
        names = np.random.default_rng(0).choice(["x", "y", "z"], (len(frame), 2))
        frame.with_columns(
            model_a=pl.Series(names[:, 0]), model_b=pl.Series(names[:, 1])
        ).write_csv(path)
    learners: list[dict[str, Any]] = [
        {"name": "teacher", "plugin": "tfidf", "privileged": ["model_a", "model_b"]},
        {"name": "pupil", "plugin": "tfidf", "teachers": ["teacher"], "distillation": 0.5},
        {"name": "plain", "plugin": "prior"},
    ]
    other = Path(run(project.config(learners, run_dir="other")).directory)
    config = project.config(learners, run_dir="own")
    own = prepared(config).run
    record_config(config)
    (own / "events.jsonl").touch()
    offers = merge_stage(own, [other])
    assert {one.outcome for one in offers} == {"taken"}, [one.reason for one in offers]
    assert {"pair-0-1", "fold-0"} <= {one.fit for one in offers if one.learner == "teacher"}
    stored = {path: path.stat().st_mtime_ns for path in own.glob("learners/*/*/manifest.json")}
    run(config)
    again = {path: path.stat().st_mtime_ns for path in own.glob("learners/*/*/manifest.json")}
    assert again == stored, "nothing is fitted anew"
    same = [(place / "submission.csv").read_bytes() for place in (own, other)]
    assert same[0] == same[1]
