"""The command line: verbs, and what they print."""

from __future__ import annotations

import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from signal import SIGINT
from typing import NoReturn

import click

from ensemble.cli import init, inspect, installed, new_plugin, outputs, plan, run, several, status
from ensemble.cli.shared import cli
from ensemble.errors import EnsembleError, printable
from ensemble.interrupts import Endings, exit_code, told
from ensemble.redact import redact

__all__ = [
    "cli",
    "init",
    "inspect",
    "installed",
    "main",
    "new_plugin",
    "outputs",
    "plan",
    "run",
    "several",
    "status",
]


def main() -> None:
    """Run the command line; errors of ours are printed without a traceback.

    Exit codes: 0 done, 1 the run failed, 2 the user's input is wrong, 130 interrupted, 143
    terminated, 129 hung up.
    """
    endings = Endings()
    endings.install()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a minus sign must not end a run whose work is done.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        cli(standalone_mode=False)
    except EnsembleError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UnicodeEncodeError as error:
        click.echo(printable(f"error: a name is not UTF-8: {error.object}; rename it"), err=True)
        sys.exit(2)
    except OSError as error:
        _refused(error)
    except SystemExit as error:  # of ours, with a code; or of somebody who ends the program
        if error.code:
            raise
        click.echo("error: something ended the program before its work was done", err=True)
        sys.exit(1)
    except MemoryError as error:
        _no_memory(error)
    except (KeyboardInterrupt, click.exceptions.Abort):
        _interrupted(endings.received or SIGINT)


def _refused(error: OSError) -> NoReturn:
    from ensemble.storage.atomic import how_to_mend

    what, mended = f"{error.strerror or error}", how_to_mend(error)
    if error.filename is None and _is_nowhere():
        what, mended = "the working directory is not there any more", "change to one that is"
    where = f"\n  where: {error.filename}" if error.filename else ""
    hint = f"\n  hint:  {mended}" if mended else ""
    click.echo(printable(redact(f"error: {what}{where}{hint}")), err=True)
    sys.exit(1)


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _interrupted(number: int) -> NoReturn:
    with suppress(OSError):  # a terminal that has hung up
        click.echo(f"{told(number)}: run the same command again to resume", err=True)
    sys.exit(exit_code(number))


def _no_memory(error: MemoryError) -> None:
    reason = f": {error}" if str(error) else ""
    click.echo(
        f"error: there is not enough memory{reason}\n"
        "  hint:  set fewer workers under [execution], give less data or a machine with more; run "
        "the same command again: what is complete is kept",
        err=True,
    )
    sys.exit(1)
