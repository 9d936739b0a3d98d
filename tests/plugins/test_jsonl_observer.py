from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ensemble.errors import IncompleteRunError
from ensemble.pipeline import run
from tests.fixture_types import Project

TWO: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.3},
]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_fold_stack_and_end_is_a_line(project: Project) -> None:
    config = project.config(TWO, observers=[{"plugin": "jsonl"}])
    place = run(config)
    lines = _lines(place / "observers/events.jsonl")
    events = [line["event"] for line in lines]
    assert events == ["fold_fitted"] * 6 + ["stack_decided", "run_finished"]
    assert [line["learner"] for line in lines[:6]] == [*"pqppqq"]
    assert lines[1]["parameters"] == {"shift": 0.3}
    assert 0.5 < lines[1]["score"] < 3
    assert lines[-2]["verdict"] == json.loads((place / "stack/verdict.json").read_text())
    assert lines[-1]["status"] == "complete"
    run(config)
    again = [line["event"] for line in _lines(place / "observers/events.jsonl")]
    assert again == [*events, "run_finished"]


def test_the_file_is_where_the_config_says_and_failures_are_in_it(project: Project) -> None:
    learners = [*TWO, {"name": "r", "plugin": "raises"}]
    config = project.config(learners, observers=[{"plugin": "jsonl", "path": "log/seen.jsonl"}])
    with pytest.raises(IncompleteRunError, match="no luck today"):
        run(config)
    last = _lines(project.path / "log/seen.jsonl")[-1]
    assert last["status"] == "incomplete" and last["failures"][0]["name"] == "r"
    assert last["error"].startswith("1 of 3 learners failed")
