"""What a person sees: the summary's marks and numbers, and silence where it is asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ensemble.cli.terminal import show_summary, summary
from ensemble.run_dir.progress import Terminal


@pytest.fixture(autouse=True)
def usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich takes these for a word on what the terminal is."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def _score(name: str, log_loss: float) -> dict[str, Any]:
    return {
        "name": name,
        "log_loss": log_loss,
        "low": log_loss - 0.01,
        "high": log_loss + 0.01,
        "seconds": 1.0,
    }


@pytest.fixture
def outcome(tmp_path: Path) -> dict[str, Any]:
    candidates = {
        "learners": [_score("tfidf", 1.04321)],
        "candidates": [_score("mean", 1.03456), _score("stack", 1.01234)],
        "rows_scored": 1234,
        "rows_missing": 56,
        "missing_by_learner": {"tfidf": 56},
    }
    verdict = {"chosen": "stack", "rule": "better", "sentence": "The stack [is] used."}
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "candidates.json").write_text(json.dumps(candidates))
    (tmp_path / "stack" / "verdict.json").write_text(json.dumps(verdict))
    (tmp_path / "submission.csv").write_text("id\n")
    source = '[[sources]]\nname = "a"\npath = "a.csv"\nrole = "target"\n'
    (tmp_path / "battles.json").write_text("{}")
    (tmp_path / "config.toml").write_text(f'run_dir = "{tmp_path}"\n{source}')
    return summary(tmp_path)


def test_the_summary_holds_what_json_prints(outcome: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads(json.dumps(outcome)) == outcome
    assert outcome["learners"] == [
        {"name": "tfidf", "log_loss": 1.04321, "low": 1.04321 - 0.01, "high": 1.04321 + 0.01}
    ]
    assert outcome["submission"] == str(tmp_path / "submission.csv")
    (tmp_path / "submission.csv").unlink()
    assert summary(tmp_path)["submission"] is None


def test_the_table_marks_the_chosen_one_and_shows_every_number(
    outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show_summary(outcome)
    shown = capsys.readouterr().out
    cells = [line for line in shown.splitlines() if line.startswith("│")]
    lines = {name: line for line in cells for name in ("tfidf", "mean", "stack") if name in line}
    assert "1.0432" in lines["tfidf"]
    assert "[1.0332, 1.0532]" in lines["tfidf"]
    assert "1.0123" in lines["stack"]
    assert "[1.0023, 1.0223]" in lines["stack"]
    assert [name for name, line in lines.items() if "<- chosen" in line] == ["stack"]
    for text in (
        "log loss on 1,234 held-out battles",
        "The stack [is] used.",
        "56 rows are not scored: tfidf has no prediction of 56",
        f"submission: {outcome['submission']}",
        f"report: {outcome['report']}",
    ):
        assert text in shown


def test_accuracy_stands_beside_log_loss(
    outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = {"mean": 0.61234, "low": 0.59, "high": 0.63}
    outcome["learners"][0]["accuracy"] = accuracy
    show_summary(outcome | {"metric": "accuracy"})
    shown = capsys.readouterr().out
    assert "0.6123" in shown
    assert "[0.5900, 0.6300]" in shown
    assert "accuracy (by which candidates are compared)" in shown


def test_what_is_not_there_is_not_shown(
    outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show_summary(outcome | {"rows_missing": 0, "submission": None})
    shown = capsys.readouterr().out
    assert "not scored" not in shown
    assert "submission" not in shown


def _show(terminal: Terminal) -> None:
    terminal.log("one [line] of text")
    with terminal.progress("fit") as progress:
        progress(0.25, "fold 1")


def test_a_quiet_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _show(Terminal(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_lines_go_to_standard_error_and_no_bar_where_it_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show(Terminal())
    assert capsys.readouterr() == ("", "one [line] of text\n")


def test_where_it_is_no_terminal_a_line_a_minute_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ensemble.run_dir.progress.time.monotonic", lambda: now)
    with Terminal().progress("fit") as progress:
        for share, now in ((0.1, 1059.0), (0.2, 1060.0), (0.3, 1119.0), (0.4, 1190.0)):  # noqa: B007
            progress(share, "fold 1")
    assert capsys.readouterr() == ("", "fit  20%  fold 1\nfit  40%  fold 1\n")


def test_a_terminal_shows_a_bar_and_takes_it_away() -> None:
    terminal, screen = Terminal(), io.StringIO()
    terminal.console = Console(file=screen, force_terminal=True, width=80)
    _show(terminal)
    shown = screen.getvalue()
    assert "fit  fold 1" in shown
    assert "\x1b[2K" in shown.rpartition("fit  fold 1")[2]  # the line is erased in the end


def test_a_small_sample_has_no_interval_in_the_table(
    outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    small = [{**item, "low": None, "high": None} for item in outcome["candidates"]]
    show_summary(outcome | {"candidates": small})
    assert capsys.readouterr().out.count("small sample") == 2


def test_the_prior_and_doubts_stand_beside_the_scores(
    tmp_path: Path, outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stack" / "candidates.json"
    more = {"class_prior": 1.04, "doubts": ["tfidf is worse than the class prior"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    show_summary(summary(tmp_path))
    shown = capsys.readouterr().out
    assert "class prior" in shown and "1.0400" in shown
    assert "warning: tfidf is worse than the class prior" in shown
    show_summary(outcome)
    assert "class prior" not in capsys.readouterr().out
