"""What a report shows of the audit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ensemble.report.made_up_runs import NOW, Run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


def test_a_run_without_audit_is_not_called_clean(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "audit")
    assert "not measured: run ensemble audit RUN" in words
    assert "Passed" not in words


def test_a_failed_audit_is_loud(run: Run) -> None:
    checks = [
        {"name": "rule 1", "ok": True, "detail": "fine"},
        {"name": "rule 2", "ok": False, "detail": "3 ids", "ids": ["b1", "b2"]},
    ]
    audit = {"ok": False, "checks": checks, "unknown": ["learner-1"], "missing": ["x fold 0"]}
    write_json(run.path / "audit.json", audit | {"subject": NOW})
    html = run.report()
    words = section(html, "audit")
    assert "Failed. 1 of 2 checks do not hold." in words
    assert "broken: rule 2 3 ids" in words
    assert "b1, b2" in words
    assert "not measured, because they are not there: x fold 0" in words
    assert "The training rows of learner learner-1 are unknown" in Page(html).text
    assert "breaks an honesty rule" in Page(html).text


@pytest.mark.parametrize(
    ("gaps", "state"),
    [
        ({}, "Passed"),
        ({"absent": ["source arena"]}, "Passed without sources"),
        ({"missing": ["x fold 0"]}, "Incomplete"),
        ({"unknown": ["x"]}, "Unproven"),
        ({"unproven": ["x fold 0, model: no plugin"], "missing": ["y fold 0"]}, "Unproven"),
    ],
)
def test_an_audit_with_gaps_has_not_passed(run: Run, gaps: dict[str, Any], state: str) -> None:
    checks = [{"name": "rule 1", "ok": True, "detail": "fine"}]
    audit = {"ok": True, "checks": checks, "subject": NOW}
    write_json(run.path / "audit.json", audit | gaps)
    html = run.report()
    assert f"{state}. 1 checks hold." in section(html, "audit")
    assert f"Audit {state.lower()} 1 checks" in Page(html).text
    assert ("passed" in html.lower()) == state.startswith("Passed")


def test_an_audit_of_what_has_changed_since_is_none(run: Run) -> None:
    audit = {"checks": [{"name": "rule 1", "ok": True, "detail": "fine"}], "subject": NOW}
    write_json(run.path / "audit.json", audit)
    assert "Passed" in section(run.report(), "audit")
    folds = json.loads((run.path / "folds.json").read_text())
    write_json(run.path / "folds.json", folds | {"note": "changed"})
    assert "not measured: run ensemble audit RUN" in section(run.report(), "audit")


@pytest.mark.parametrize("content", ["{", "[]", '{"ok": "perhaps"}'])
def test_a_damaged_audit_is_none(run: Run, content: str) -> None:
    (run.path / "audit.json").write_text(content)
    assert "not measured: run ensemble audit RUN" in section(run.report(settle=False), "audit")
