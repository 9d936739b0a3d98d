"""``ensemble status``: how far a run is. Nothing heavy is imported: it answers at once."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ensemble.cli.shared import cli, echo_json, json_option, path_type

_SECONDS = 2.0
"""Between two looks with --follow."""


@cli.command()
@click.argument("run", type=path_type, metavar="RUN")
@click.option("--follow", is_flag=True, help="Go on until nobody works on it any more.")
@json_option
def status(run: Path, follow: bool, as_json: bool) -> None:
    """Say how far a run is: while it runs, from another terminal, or after.

    Fits done, running (where, for how long, how far), failed (why, and the command that retries)
    and waiting; the best log loss so far, and the disk used. Nothing is locked or written. RUN is
    the run directory, or the config. With --follow --json there is one line for each change.
    """
    from ensemble.run_dir.status.status import run_status

    command = str(run) if run.is_file() else None
    directory = _run_directory(run)
    if not follow:
        found = run_status(directory, command)
        if as_json:
            echo_json(found)
        else:
            _show(found)
        return
    before: dict[str, Any] = {}
    while True:
        found = run_status(directory, command)
        if _changed(before, found):
            _tell(found, as_json=as_json)
        if found["state"] != "running":
            return
        before = found
        time.sleep(_SECONDS)


def _run_directory(path: Path) -> Path:
    """Give the run directory of a config; a directory is one itself.

    The config that a run keeps is of the run that it lies in, which may be a copy.
    """
    if not path.is_file():
        return path
    import tomllib

    from ensemble.errors import ConfigError
    from ensemble.run_dir.layout import CONFIG, RUN_MARKS

    place = path.resolve()
    if place.name == CONFIG and any((place.parent / mark).exists() for mark in RUN_MARKS):
        return path.parent
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        run = tomllib.loads(path.read_text(encoding="utf-8"))["run_dir"]
        return path.parent / Path(run).expanduser()
    raise ConfigError("it names no run_dir", where=str(path), hint="give the run directory")


def _changed(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Say whether there is more to tell than that time has passed; a terminal shows that too."""
    if sys.stdout.isatty():
        return True
    keys = ("state", "stage", "jobs", "failed", "best", "submission")
    jobs = [
        [(job["label"], job["progress"]) for job in one.get("running", ())] for one in (before, now)
    ]
    return any(before.get(key) != now[key] for key in keys) or jobs[0] != jobs[1]


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    if sys.stdout.isatty():
        click.clear()
    _show(found)
    click.echo("")


def _show(found: dict[str, Any]) -> None:
    from ensemble.errors import printable
    from ensemble.run_dir.status.text import lines

    for line in lines(found):
        click.echo(printable(line))
