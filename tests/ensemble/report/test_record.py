"""A report and a submission that are of what is there are not made again; any change makes them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import run
from ensemble.compare.compare import compare, store_comparison
from ensemble.report.record import is_current_report
from ensemble.run_dir.reporter import Reporter
from ensemble.stages.report import report_stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Learners, Project

LEARNERS: Learners = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.5},
]


@pytest.fixture
def place(project: Project) -> Path:
    return run(project.config(LEARNERS)).directory


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is made."""
    from ensemble.stages import predict, report

    noted: list[str] = []
    for stage, name in ((report, "write_report"), (predict, "write_submission")):
        real = getattr(stage, name)

        def write(*arguments: Any, name: str = name, real: Any = real) -> Any:
            noted.append(name)
            return real(*arguments)

        monkeypatch.setattr(stage, name, write)
    return noted


def test_the_same_command_again_makes_neither(
    place: Path, project: Project, made: list[str]
) -> None:
    before = {name: (place / name).stat() for name in ("report.html", "submission.csv")}
    run(project.config(LEARNERS))
    assert made == []
    for name, status in before.items():
        now = (place / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (lambda run: _append(run / "report.html"), {"write_report"}),
        (lambda run: (run / "report.html").unlink(), {"write_report"}),
        (lambda run: shutil.rmtree(run / "cache"), {"write_report"}),
        (lambda run: store_comparison(run, compare(run, ["p", "q"])), {"write_report"}),
        (lambda run: (run / "truth.json").write_text("{}"), {"write_report"}),
        (lambda run: _append(run / "submission.csv"), {"write_submission"}),
        (lambda run: (run / "submission.csv").unlink(), {"write_submission"}),
        (lambda run: (run / "submission.json").unlink(), {"write_submission"}),
    ],
)
def test_what_is_not_as_it_was_written_is_made_anew(
    change: Callable[[Path], object], anew: set[str], place: Path, project: Project, made: list[str]
) -> None:
    report, submission = ((place / n).read_bytes() for n in ("report.html", "submission.csv"))
    change(place)
    run(project.config(LEARNERS))
    assert anew <= set(made)
    assert (place / "submission.csv").read_bytes() == submission
    comparing = (place / "comparisons").exists() or (place / "truth.json").exists()
    assert ((place / "report.html").read_bytes() == report) != comparing
    assert is_current_report(place)


def test_other_learners_give_another_report_and_submission(
    place: Path, project: Project, made: list[str]
) -> None:
    before = (place / "report.html").read_text(), (place / "submission.csv").read_text()
    run(project.config([*LEARNERS, {"name": "r", "plugin": "prior", "shift": -3.0}]))
    assert set(made) == {"write_report", "write_submission"}
    assert (place / "report.html").read_text() != before[0]


def test_other_code_writes_the_report_anew(
    place: Path, project: Project, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.report.record._writer", lambda: "another")
    run(project.config(LEARNERS))
    assert made == ["write_report"]


def test_whoever_asks_for_a_report_gets_one(place: Path, project: Project, made: list[str]) -> None:
    report_stage(project.config(LEARNERS), Reporter(place))
    assert made == ["write_report"]
