"""Nothing is shown in a report that is not of the run as it is now."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from ensemble.storage.hashing import hash_file
from tests.ensemble.report.made_up_runs import DATA, KEY, N_SPLITS, PLAN, Run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


@pytest.mark.parametrize(
    ("made_from", "reason"),
    [
        ({"plan": "0" * 64}, "it was made from another fold plan"),
        ({"data": "0" * 64}, "it was made from another set of battles"),
        (
            {"key_parts": {"folds": {"learner-1": {"fold-2": {"key": "old"}}}}},
            "it was made from other predictions of learner learner-1",
        ),
        (
            {"key_parts": {"folds": {"learner-1": {"fold-0": {"key": KEY, "oof": "former"}}}}},
            "it was made from other predictions of learner learner-1",
        ),
    ],
)
def test_a_stack_of_something_else_is_not_shown(
    run: Run, made_from: dict[str, Any], reason: str
) -> None:
    manifest = {"plan": PLAN, "data": DATA} | made_from
    write_json(run.path / "stack" / "manifest.json", manifest)
    html = run.report()
    words = Page(html).text
    assert f"The stack is not of this run as it is now: {reason}. Its verdict" in words
    assert "Log loss not measured no candidate has been chosen" in words
    assert section(html, "candidates").startswith("Candidates and verdict not measured: the stack")
    assert run.verdict["evidence"] not in words
    assert "the best learner so far" in section(html, "errors")


def test_a_stack_of_the_learners_as_they_are_is_shown(run: Run) -> None:
    places = [run.path / "learners" / "learner-1" / f"fold-{k}" for k in range(N_SPLITS)]
    origins = {p.name: {"key": KEY, "oof": hash_file(p / "oof.parquet")} for p in places}
    made_from = {"folds": {"learner-1": origins}}
    manifest = {"plan": PLAN, "data": DATA, "key_parts": made_from}
    write_json(run.path / "stack" / "manifest.json", manifest)
    assert run.verdict["evidence"] in Page(run.report()).text


def test_a_stack_without_its_manifest_is_not_shown(run: Run) -> None:
    run.drop("stack/manifest.json")
    assert "The stack is not of this run as it is now: it is incomplete." in run.report()


def test_predictions_of_other_battles_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "manifest.json"
    write_json(place, json.loads(place.read_text()) | {"data": "0" * 64})
    html = run.report()
    assert "learner-0, fold 1: its predictions belong to another set of battles." in html


def test_a_learner_that_left_the_config_is_left_out_and_named(run: Run) -> None:
    (run.path / "learners" / "learner-0").rename(run.path / "learners" / "former")
    html = run.report()
    assert "Left out. former: the config has no such learner." in html
    assert "former" not in section(html, "learners")


def test_predictions_of_another_plan_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "manifest.json"
    write_json(place, json.loads(place.read_text()) | {"plan": "0" * 64})
    html = run.report()
    assert "learner-0, fold 1: its predictions belong to another fold plan." in html
    assert "learner-0 2 of 3" in section(html, "learners")


def test_altered_predictions_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "oof.parquet"
    table = pl.read_parquet(place)
    table.with_columns(logit_a=pl.lit(9.0, pl.Float32)).write_parquet(place)
    html = run.report(settle=False)
    assert "learner-0, fold 1: its predictions are missing or were altered." in html
