"""Doubt about predictions from outside, and runs whose sources or folds changed since."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from click.testing import CliRunner

from ensemble import run
from ensemble.audit.audit import audit_run
from ensemble.cli import cli
from ensemble.report.write import write_report
from ensemble.run_dir.status.status import run_status
from ensemble.run_dir.status.text import lines
from tests.ensemble.audit.audited_learners import LEARNERS
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from ensemble import Config
    from tests.fixture_types import Project


def test_splitting_with_another_config_leaves_no_score_that_passes(project: Project) -> None:
    place = run(project.config(LEARNERS)).directory
    config = project.config([LEARNERS[0], {**LEARNERS[1], "shift": 0.9}])
    prepare_and_split(config)
    failed = {check.name: check.detail for check in audit_run(place).checks if not check.ok}
    name = "q fold 0: made with what the config and the plugin say"
    assert failed[name] == "shift was 0.2, and now is 0.9"
    page = write_report(place).read_text(encoding="utf-8")
    assert (
        "q, fold 0: its predictions were made otherwise than the config now says: shift was" in page
    )


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_a_source_that_changed_after_the_run_fails_the_audit(project: Project, name: str) -> None:
    place = run(project.config(LEARNERS)).directory
    path = project.path / name
    path.write_text(path.read_text().replace("of side a", "of side c"))
    failed = {check.name: check.detail for check in audit_run(place).checks if not check.ok}
    source = "arena" if name == "train.csv" else "test"
    assert failed["sources have the content that was prepared"].endswith(f"prepared: {source}")
    path.unlink()
    found = audit_run(place)
    assert found.state == "passed without sources"
    assert f"their content was not compared (source {source})" in found.sentence
    assert found.proved


def _outside(project: Project, names: tuple[str, ...] = ("mine",), **other: Any) -> Config:
    for name in ("train", "test"):
        ids = pl.read_csv(project.path / f"{name}.csv").select("id")
        logits = ids.with_columns(
            logit_a=pl.int_range(pl.len()) % 3 * 0.4, logit_b=0.2, logit_tie=0.3
        )
        logits.write_csv(project.path / f"{name}_logits.csv")
    files = {"oof": "train_logits.csv", "test": "test_logits.csv"}
    brought = [{"name": name, "plugin": "precomputed", **files} for name in names]
    return project.config([*brought, {"name": "p", "plugin": "prior"}], **other)


def test_the_doubt_reaches_all_that_is_built_on_predictions_from_outside(project: Project) -> None:
    stack = {"meta_learner": "none", "resamples": 200, "choose": "mean"}
    place = run(_outside(project, stack=stack)).directory
    found = audit_run(place)
    assert found.state == "unproven"
    verdict = json.loads((place / "stack/verdict.json").read_text())
    assert verdict["unproven"]["learners"] == ["mine"]
    assert {"mean", "vector_scaling"} <= set(verdict["unproven"]["candidates"])
    assert "Unproven: nobody knows which rows mine was trained on" in verdict["sentence"]
    page = write_report(place).read_text(encoding="utf-8")
    assert "passed" not in page.lower()
    assert f"<title>mean, log loss {verdict['candidates'][1]['log_loss']:.4f}, unproven:" in page
    assert "that its model did not see" not in page
    assert 'mine <span class="tag">unproven</span>' in page
    outcome = CliRunner().invoke(cli, ["audit", str(place), "--json"])
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout)["state"] == "unproven"
    assert CliRunner().invoke(cli, ["audit", str(place), "--partial"]).exit_code == 1


def test_the_page_says_the_doubt_of_a_verdict_once_in_its_words(project: Project) -> None:
    stack = {"meta_learner": "none", "resamples": 200, "choose": "mean"}
    place = run(_outside(project, ("z", "b"), stack=stack)).directory
    sentence = json.loads((place / "stack/verdict.json").read_text())["sentence"]
    doubt = "nobody knows which rows z, b were trained on, so that nothing vouches for their scores"
    assert doubt in sentence
    page = write_report(place).read_text(encoding="utf-8")
    header = page[: page.index("</header>")]
    assert header.count("nobody knows which rows") == 1


def test_a_status_marks_scores_that_nothing_vouches_for(project: Project) -> None:
    stack = {"meta_learner": "none", "resamples": 200, "choose": "mean"}
    place = run(_outside(project, stack=stack)).directory
    status = run_status(place)
    assert {one["name"]: one["unproven"] for one in status["learners"]} == {
        "mine": True,
        "p": False,
    }
    told = [line for line in lines(status) if "unproven" in line]
    assert len(told) == 2 and told[0].startswith("  mine") and told[0].endswith("unproven")
    assert told[1].startswith("best so far  mean") and told[1].endswith("; unproven: mine")
    shutil.rmtree(place / "stack")
    best = run_status(place)["best"]
    assert (best["kind"], best["name"], best["unproven"]) == ("learner", "mine", ["mine"])
    (place / "folds.json").unlink()
    assert all(one["unproven"] for one in run_status(place)["learners"]), "who knows the plan?"


def test_a_candidate_that_gives_no_weight_to_them_is_free_of_doubt(project: Project) -> None:
    from ensemble.stacking.doubt import doubted_candidates

    told = {
        "best_single": {"weights": {"p": 1.0, "mine": 0.0}},
        "blend": {"weights": {"p": 0.5, "mine": 0.5}},
        "other": {"weights": {"p": 1.0, "mine": 0.0}},
    }
    assert doubted_candidates(told, ["mine"]) == {"blend": ["mine"], "other": ["mine"]}
    assert doubted_candidates(told, []) == {}
    # Each owes only to those that it uses; of what is no simple one nobody knows.
    both = doubted_candidates(told, ["p", "mine"])
    assert both == {"best_single": ["p"], "blend": ["p", "mine"], "other": ["p", "mine"]}
