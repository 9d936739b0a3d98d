"""Text out of files on the terminal: it neither moves the cursor nor counts as markup."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table

from ensemble.cli.shared import echo_json
from ensemble.cli.terminal import show_comparison, show_offers
from ensemble.run_dir.console import SafeConsole
from ensemble.run_dir.progress import Terminal
from ensemble.run_dir.reporter import Reporter

HOSTILE = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil [/nothing] [red]"
MOVES = ("\x1b", "\x07", "\x9b", "\u202e")


def assert_harmless(shown: str) -> None:
    assert not [mark for mark in MOVES if mark in shown], shown
    assert "\\x1b" in shown


def test_a_table_shows_escapes_and_keeps_its_own_colors() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, color_system="standard", width=200)
    table = Table(title="[red]title[/red]")
    table.add_column("a")
    table.add_row(HOSTILE.replace("[", "\\["))
    console.print(table)
    console.print(HOSTILE, markup=False)
    assert "\x1b]0" not in out.getvalue() and "\x07" not in out.getvalue()
    assert "\\x1b]0;title" in out.getvalue()
    assert "\x1b[31m" in out.getvalue() or "\x1b[3;31m" in out.getvalue(), "its own color"


def test_values_of_slices_and_names_of_runs_are_spelled_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {"mean": 0.1, "low": 0.0, "high": 0.2, "conclusion": "worse"}
    part = {"losses": {"a": found, HOSTILE: found}, "differences": {HOSTILE: found}}
    show_comparison(
        {
            "overall": part,
            "rows": 3,
            "reference": HOSTILE,
            "accuracies": {"a": found, HOSTILE: found},
            "slices": [{"by": HOSTILE, "value": HOSTILE, "rows": 1, "clusters": 1, **part}],
            "sentences": [HOSTILE],
            "uniform": {"language": HOSTILE},
            "stored": HOSTILE,
        }
    )
    show_offers([dict.fromkeys(("run", "learner", "fit", "outcome", "reason"), HOSTILE)])
    assert_harmless(capsys.readouterr().out)


def test_json_says_the_same_and_moves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"name": HOSTILE, "é": ["模"]})
    shown = capsys.readouterr().out
    assert not [mark for mark in MOVES if mark in shown]
    assert json.loads(shown) == {"name": HOSTILE, "é": ["模"]}


def test_what_a_plugin_says_of_its_progress_is_no_markup(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    monkeypatch.setenv("HF_TOKEN", "a-token-0123456789")
    terminal, out = Terminal(), io.StringIO()
    terminal.console = SafeConsole(file=out, force_terminal=True, width=200)
    with Reporter(Path(str(tmp_path)), terminal).progress("fit") as update:
        update(0.5, f"{HOSTILE} a-token-0123456789")
    assert "\x1b]0" not in out.getvalue() and "a-token-0123456789" not in out.getvalue()
