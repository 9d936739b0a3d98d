"""What a person sees on the terminal: lines, progress bars, a summary. Quiet when piped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ensemble.artifacts import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Terminal:
    """Shows a run on standard error, so that standard output stays free for results.

    Parameters
    ----------
    quiet
        Show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Show one line."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[..., None]]:
        """Show a progress bar where the console is a terminal; it goes when done."""
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(
            *columns,
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            task = progress.add_task(label, total=1.0)

            def update(done: float, message: str = "") -> None:
                progress.update(task, completed=done, description=f"{label}  {message}".rstrip())

            yield update


def summary(run: Path) -> dict[str, Any]:
    """Gather the outcome of a run: what the table shows and ``--json`` prints."""
    candidates = read_json(run / "stack" / "candidates.json")
    verdict = read_json(run / "stack" / "verdict.json")
    return {
        "run": str(run),
        "learners": [_scores(item) for item in candidates["learners"]],
        "candidates": [_scores(item) for item in candidates["candidates"]],
        "chosen": verdict["chosen"],
        "sentence": verdict["sentence"],
        "rows_scored": candidates["rows_scored"],
        "rows_missing": candidates["rows_missing"],
        "report": str(run / "report.html"),
        "submission": str(run / "submission.csv") if (run / "submission.csv").exists() else None,
    }


def show_summary(outcome: dict[str, Any]) -> None:
    """Print the outcome of a run as a table on standard output."""
    table = Table(title=f"log loss on {outcome['rows_scored']:,} held-out battles")
    for heading, side in (("", "left"), ("log loss", "right"), ("95% interval", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for item in outcome["learners"]:
        table.add_row(item["name"], *_cells(item))
    table.add_section()
    for item in outcome["candidates"]:
        mark = "  <- chosen" if item["name"] == outcome["chosen"] else ""
        table.add_row(f"{item['name']}{mark}", *_cells(item))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(outcome["sentence"], markup=False)
    if outcome["rows_missing"]:
        console.print(
            f"{outcome['rows_missing']:,} rows are not scored: no fold has predicted them"
        )
    for key in ("submission", "report"):
        if outcome[key]:
            console.print(f"{key}: {outcome[key]}", markup=False)


def _scores(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("name", "log_loss", "low", "high")}


def _cells(item: dict[str, Any]) -> tuple[str, str]:
    return f"{item['log_loss']:.4f}", f"[{item['low']:.4f}, {item['high']:.4f}]".replace("[", "\\[")
