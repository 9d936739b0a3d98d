"""What ``ensemble init`` prints: files with their roles, learners, the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ensemble.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble.setup.advice import Advice
    from ensemble.setup.plan import Plan
    from ensemble.setup.sources import NamedSource


def show_plan(plan: Plan, output: Path) -> None:
    """Print what was found, what was chosen and why."""
    for line in _lines(plan, output):
        click.echo(printable(line))


def _lines(plan: Plan, output: Path) -> Iterator[str]:
    for one in plan.sources:
        yield from _source(one)
    if plan.left:
        yield "used for nothing:"
        yield from (f"    {one.path}: {one.reason}" for one in plan.left)
    yield ""
    yield f"this machine: {plan.machine}"
    yield from map(_learner, plan.learners)
    yield f"    all of them: {plan.told_minutes()}"
    yield ""
    yield from (f"note: {note}" for note in plan.notes)
    yield from (f"TODO: {todo} (the lines with TODO)" for todo in plan.todo)
    yield f"wrote {output}"
    yield f"next: `ensemble check {output}`, then `ensemble run {output}`"


def _source(one: NamedSource) -> Iterator[str]:
    look = one.placed.look
    yield f"{look.table.named}: {'left open' if one.is_comment else one.placed.role}"
    yield f"    why: {one.placed.why}"
    if look.facts is not None:
        yield f"    {look.told()}"
    if look.read_as:
        yield f"    read as {look.read_as}"


def _learner(one: Advice) -> str:
    if one.fits:
        return f"    {one.name}: {one.told_minutes() or 'no estimate'}"
    return f"    {one.name} is a comment: {one.suggestion.unfit}"
