"""Made-up runs and their reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from markupsafe import Markup

from tests.ensemble.report.made_up_runs import Run, make_run


@pytest.fixture
def drawn_run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "arena")


@pytest.fixture
def run(drawn_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose report has empty figures: drawing takes most of a report's time."""
    empty = Markup("<svg></svg>")
    monkeypatch.setattr("ensemble.report.svg.Drawing.__html__", lambda _: empty)
    return drawn_run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A run that no test changes, with its report."""
    made = make_run(tmp_path_factory.mktemp("whole") / "arena")
    return made, made.report()
