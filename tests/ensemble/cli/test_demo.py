"""The demonstration, whose truth is known: its numbers are computed here once more, by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble import CLASSES
from ensemble.cli.demo import against_truth, demo

TRUTH = {
    "id": ["t1", "t2", "x1", "n1", "n2", "n3"],
    "source": ["target", "target", "external", "test", "test", "test"],
    "p_a": [1.0, 0.25, 0.5, 0.5, 0.25, 0.2],
    "p_b": [0.0, 0.25, 0.5, 0.25, 0.25, 0.2],
    "p_tie": [0.0, 0.5, 0.0, 0.25, 0.5, 0.6],
    "label": [0, 2, 1, 0, 1, 2],
}


def test_a_submission_is_scored_on_the_drawn_labels_by_id(tmp_path: Path) -> None:
    submission = tmp_path / "submission.csv"
    # In another order than the truth, and columns too.
    submission.write_text(
        "winner_tie,id,winner_model_a,winner_model_b\n0.1,n3,0.4,0.5\n0.2,n2,0.1,0.7\n0,n1,1,0\n"
    )
    told = against_truth(pl.DataFrame(TRUTH), submission)
    assert told["best_log_loss_target"] == pytest.approx((0 + 1.5 * math.log(2)) / 2)
    assert told["target"] == {"best_log_loss": pytest.approx((0 + math.log(2)) / 2)}
    assert told["test"] == {
        "log_loss": pytest.approx(-(math.log(1) + math.log(0.7) + math.log(0.1)) / 3),
        "best_log_loss": pytest.approx(-(math.log(0.5) + math.log(0.25) + math.log(0.6)) / 3),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo(tmp_path_factory.mktemp("demo"), rows=200, seed=3)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_numbers_of_the_truth_are_those_of_the_files(place: Path) -> None:
    truth = pl.read_parquet(place.parent / "data" / "truth.parquet").rows(named=True)
    target = [row for row in truth if row["source"] == "target"]
    test = {row["id"]: row for row in truth if row["source"] == "test"}
    entropies = [
        -sum(p * math.log(p) for p in (row["p_a"], row["p_b"], row["p_tie"]) if p > 0)
        for row in target
    ]
    drawn = [-math.log((row["p_a"], row["p_b"], row["p_tie"])[row["label"]]) for row in target]
    submission = _rows(place / "submission.csv")
    ours, best = [], []
    for row in submission:
        true = test[row["id"]]
        ours.append(-math.log(float(row[CLASSES[true["label"]]])))
        best.append(-math.log((true["p_a"], true["p_b"], true["p_tie"])[true["label"]]))
    told = _json(place / "truth.json")
    assert (len(target), len(test), len(submission)) == (200, 50, 50)
    assert told["best_log_loss_target"] == pytest.approx(math.fsum(entropies) / 200)
    assert told["target"]["best_log_loss"] == pytest.approx(math.fsum(drawn) / 200)
    assert told["test"]["log_loss"] == pytest.approx(math.fsum(ours) / 50)
    assert told["test"]["best_log_loss"] == pytest.approx(math.fsum(best) / 50)
    assert told["test"]["log_loss"] < math.log(3)  # something has been learned


@pytest.mark.slow
def test_the_submission_answers_the_test_file_in_its_order(place: Path) -> None:
    submission = _rows(place / "submission.csv")
    asked = _rows(place.parent / "data" / "test.csv")
    assert [row["id"] for row in submission] == [row["id"] for row in asked]
    assert list(submission[0]) == ["id", *CLASSES]
    for row in submission:
        assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_the_report_and_the_audit_are_of_this_run(place: Path) -> None:
    told = _json(place / "truth.json")
    page = (place / "report.html").read_text(encoding="utf-8")
    start = page.index("Best possible")
    for number in told["test"].values():
        assert f"{number:.4f}" in page[start : start + 1000]
    names = [item["name"] for item in _json(place / "stack" / "candidates.json")["learners"]]
    assert sorted(names) == ["handcrafted", "length", "tfidf"]
    assert all(check["ok"] for check in _json(place / "audit.json")["checks"])


@pytest.mark.slow
def test_a_demonstration_resumes(place: Path) -> None:
    made = place / "learners" / "tfidf" / "fold-0" / "manifest.json"
    before = made.stat().st_mtime_ns, (place / "submission.csv").read_bytes()
    assert demo(place.parent, rows=200, seed=3) == place
    assert (made.stat().st_mtime_ns, (place / "submission.csv").read_bytes()) == before
