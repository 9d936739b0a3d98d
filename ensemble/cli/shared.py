"""What verbs share: the command itself, its arguments, and how results reach standard output.

Only click is imported here; each verb imports what it needs, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensemble import __version__
from ensemble.cli.verb import Verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ensemble.config.settings import Config
    from ensemble.oof.budget import Budget
    from ensemble.run_dir.progress import Terminal

_STARTED = time.monotonic()
"""When the program started, or nearly so."""

_CURSOR = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor or turns text around, and JSON leaves as it is."""

path_type = click.Path(path_type=Path)
config_argument = click.argument("config", type=path_type)
run_argument = click.argument("run", type=path_type)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
refit_option = click.option(
    "--refit",
    multiple=True,
    metavar="LEARNER",
    help="Make anew what other code of its plugin has made; may be repeated.",
)
keep_option = click.option(
    "--keep",
    multiple=True,
    metavar="LEARNER",
    help="Keep what other code of its plugin has made; may be repeated.",
)
time_limit_option = click.option(
    "--time-limit",
    metavar="TIME",
    help="How long all of it may take: 90m, 1.5h, 5400 (s). Starts no fit that would take longer.",
)
fail_fast_option = click.option(
    "--fail-fast", is_flag=True, help="End with the first learner that fails."
)


@click.group(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--plugin",
    "files",
    type=path_type,
    multiple=True,
    metavar="FILE.py",
    help="Load the hooks of a file too, and keep it in the run; may be repeated.",
)
@click.option(
    "--no-plugin",
    "left_out",
    multiple=True,
    metavar="NAME",
    help="Load no installed plugin of this name; may be repeated.",
)
@click.version_option(__version__, prog_name="ensemble")
def cli(files: tuple[Path, ...], left_out: tuple[str, ...]) -> None:
    """Honest out-of-fold predictions and stacking for human-preference prediction."""
    if left_out:
        from ensemble.plugin.adoption import check_left_out

        check_left_out(left_out)
    if files:
        from ensemble.config.plugin_files import add_files

        add_files(files)


@contextmanager
def only_results() -> Iterator[None]:
    """Keep standard output for results: what plugins and their children print goes to the other.

    Of the file descriptor too, since worker processes and programs that plugins start inherit it.
    """
    if sys.stdout is None or sys.stderr is None:  # closed by the caller: there is nothing to keep
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def naming(config: Path) -> Iterator[None]:
    """Name the config in the commands that an error tells to retry what failed."""
    from ensemble.errors import IncompleteRunError

    try:
        yield
    except IncompleteRunError as error:
        error.config = str(config)
        raise


def load(path: Path) -> Config:
    """Read a config, or that of a run directory."""
    from ensemble.config.load import load_config, load_run_config

    return load_run_config(path) if path.is_dir() else load_config(path)


def terminal(*, quiet: bool) -> Terminal:
    """Give the terminal that shows a run's progress."""
    from ensemble.run_dir.progress import Terminal

    return Terminal(quiet=quiet)


def echo_json(outcome: object) -> None:
    """Print JSON, in ASCII where the output holds no more: nothing of it may be replaced."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(outcome, indent=2, ensure_ascii=not unicode)
    click.echo(_CURSOR.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def print_summary(run: Path, *, as_json: bool) -> None:
    """Print the outcome of a run."""
    from ensemble.cli.terminal import show_summary, summary

    outcome = summary(run)
    if as_json:
        echo_json(outcome)
    else:
        show_summary(outcome)


def budget_of(text: str | None) -> Budget | None:
    """Read ``--time-limit``, which starts with the program; None where there is none."""
    if text is None:
        return None
    from ensemble.config.time_limit import parse_time_limit

    limit = parse_time_limit(text)
    from ensemble.oof.budget import Budget

    return Budget(limit, time.monotonic() - _STARTED)


def fold_numbers(texts: Sequence[str]) -> list[int] | None:
    """Read folds as ``0,1``, each once; None where none are given."""
    return _listed(texts, int)


def fit_names(texts: Sequence[str]) -> list[Any] | None:
    """Read fits as ``0,1,refit,0-1``, each once; None where none are given."""
    if not texts:
        return None
    from ensemble.battles.held_out import REFIT, HeldOut

    def fit(part: str) -> HeldOut:
        return REFIT if part == "refit" else HeldOut(tuple(map(int, part.split("-"))))

    return _listed(texts, fit)


def _listed(texts: Sequence[str], read: Callable[[str], Any]) -> list[Any] | None:
    """Read the parts of all lists that an option was given; what is there twice counts once."""
    parts = [(text, part.strip()) for text in texts for part in text.split(",")]
    found: dict[Any, None] = {}
    for text, part in parts:
        try:
            found[read(part)] = None
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a list of folds like 0,1") from error
    return list(found) or None


def option_values(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE``: what is a value of TOML counts as one, anything else as a string."""
    import tomllib

    values: dict[str, Any] = {}
    for pair in pairs:
        key, mark, text = pair.partition("=")
        if not mark or not key.strip():
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            values[key.strip()] = text
    return values


def is_standard_output(path: Path) -> bool:
    """Say whether a path leads to where results are printed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except (OSError, ValueError):
        return False
