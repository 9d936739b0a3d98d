"""``ensemble plan``: what a config asks for before any of it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.shared import cli, config_argument, echo_json, json_option, load, only_results
from ensemble.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_HEADINGS = ("learner", "fits", "complete", "missing", "one fold", "left", "CPU h", "GPU h")
_TEXTS = (0, 1, 4)
"""Columns that are not numbers."""


@cli.command()
@config_argument
@json_option
def plan(config: Path, as_json: bool) -> None:
    """Say what a run will take, before anything starts: fits, minutes, CPU and GPU hours, disk.

    Of each learner: folds, pairs of folds, refits and seeds; what is complete already; and how long
    one fold takes, which was measured in this run on this machine, is estimated by the learner, or
    is unknown. Nothing is written, and no learner is fitted. The target is read where an estimate
    needs it.
    """
    from ensemble.stages.plan import make_plan

    with only_results():
        found = make_plan(load(config)).to_json()
    if as_json:
        echo_json(found)
        return
    for line in (*_table(found["learners"]), *_lines(found)):
        click.echo(printable(line))


def _table(learners: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [_HEADINGS, *(tuple(_cells(one)) for one in learners)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADINGS))]
    for row in rows:
        cells = [
            cell.ljust(width) if place in _TEXTS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _cells(one: Mapping[str, Any]) -> Iterator[str]:
    kinds = {"folds": "fold", "pairs": "pair", "refits": "refit", "soups": "soup"}
    told = {name: one[key] for key, name in kinds.items() if one[key]}
    counts = [f"{n} {name}{'s' * (n != 1)}" for name, n in told.items()]
    counts += [f"{one['larger']} without 3 folds or more"] if one["larger"] else []
    fits = " + ".join(counts)
    seeds = f", {one['seeds']} seeds each" if one["seeds"] > 1 else ""
    each = "unknown" if one["seconds"] is None else f"{_told(one['seconds'])} ({one['kind']})"
    yield from (one["name"], f"{fits}{seeds}", str(one["complete"]), str(one["missing"]), each)
    yield "unknown" if one["seconds_left"] is None else _told(one["seconds_left"])
    for key in ("cpu_hours", "gpu_hours"):
        yield "?" if one[key] is None else f"{one[key]:.2f}"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    total, unknown = found["total"], found["unknown"]
    if not found["prepared"]:
        why = f": {found['damaged'][0]}" if found["damaged"] else ""
        yield f"battles and folds are not prepared yet{why}: nothing counts as complete"
    else:
        yield from found["damaged"]
    yield from (f"warning: {one}" for one in found["too_large"])
    missing = [one for one in found["learners"] if one["missing"]]
    yield from dict.fromkeys(f"{one['kind']}: {one['basis']}" for one in missing)
    yield f"stack, submission, audit and report  about {_told(found['seconds_after_fits'])}"
    least = f"at least, without {', '.join(unknown)}: " if unknown else "about "
    yield f"wall time  {least}{_told(total['wall_seconds'])} ({found['executor']})"
    yield f"CPU hours  {total['cpu_hours']:.2f}; GPU hours  {total['gpu_hours']:.2f}"
    yield f"disk  {total['disk_gib']:.3g} GiB more"


def _told(seconds: float) -> str:
    from ensemble.run_dir.status.text import told_seconds

    return told_seconds(seconds)
