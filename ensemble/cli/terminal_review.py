"""What is known of a run's labels, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ensemble.errors import printable
from ensemble.evaluation.text import signed

if TYPE_CHECKING:
    from ensemble.run_dir.review_record import MeasuredChange, ReviewRecord
    from ensemble.run_dir.stack_records import Interval


def show_review(record: ReviewRecord) -> None:
    """Print counts, where the list is, and what was measured."""
    for reason, count in record.counts.items():
        click.echo(f"{count:>6,}  {reason}")
    if record.by is None:
        click.echo("no predictions yet: run `ensemble run CONFIG` for labels that they contradict")
    elif not record.proven:
        click.echo(f"{record.by} is unproven: see `ensemble audit`")
    click.echo(printable(f"list: {record.path}"))
    if record.of_list is not None:
        show_list(record.of_list)
    if record.of_shares is not None:
        show_shares(record.of_shares)


def show_list(found: MeasuredChange) -> None:
    """Print what a list gains."""
    rows = found.rows
    click.echo(
        f"this list ({rows['excluded']:,} excluded, {rows['relabeled']:,} relabeled) gains "
        f"{_told(found.gain)}, by {found.learner}, {found.seeds} seeds, on all "
        f"{found.scored_rows:,} target rows with the labels of their file; predictions of the same "
        "rows chose what to look at, so the gain is a little too good"
    )


def show_shares(found: MeasuredChange) -> None:
    """Print what it gains to leave out the most contradicted rows."""
    for one in found.shares:
        click.echo(
            f"without the most contradicted {one.share:.0%} of training rows: {_told(one.gain)}"
        )


def _told(gain: Interval | None) -> str:
    if gain is None or gain.mean is None:
        return "not measured"
    if gain.low is None or gain.high is None:
        return f"{signed(gain.mean)} nats a battle (no interval)"
    return f"{signed(gain.mean)} nats a battle ({signed(gain.low)} to {signed(gain.high)})"
