"""The verb that writes a config from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble.cli.shared import cli, echo_json, json_option, only_results, path_type
from ensemble.run_dir.layout import CONFIG

if TYPE_CHECKING:
    from ensemble.setup.questions import Question

_OPEN = 2
"""Exit code where the config is written and something in it is left to decide."""


@cli.command()
@click.argument("files", nargs=-1, required=True, type=path_type)
@click.option(
    "--output",
    type=path_type,
    default=Path(CONFIG),
    show_default=True,
    help="Where the config goes.",
)
@click.option("--yes", is_flag=True, help="Ask nothing; what cannot be known is left as a TODO.")
@click.option("--force", is_flag=True, help="Write over a config that is there.")
@json_option
def init(files: tuple[Path, ...], output: Path, yes: bool, force: bool, as_json: bool) -> None:
    """Write a config for FILES: which is target, external, test or predictions of another model.

    FILES are files, patterns and directories. Each is recognized as `prepare` does it. Learners
    are chosen by what this machine has; those that do not fit it are written as comments.

    What files do not tell is asked. With --yes, or where there is no terminal, the default is taken
    where it cannot make labels wrong; else the lines are written as comments with a TODO, they are
    named, and the exit code is 2.
    """
    from ensemble.setup.plan import make_plan
    from ensemble.setup.questions import assume
    from ensemble.storage.json_files import write_text

    _refuse_existing(output, force=force)
    ask = assume if yes or not _is_terminal() else _asked
    with only_results():
        plan = make_plan(files, output, ask, _tell)
        _refuse_existing(output, force=force)
        write_text(output, plan.text)
    if as_json:
        from ensemble.setup.plan_json import plan_json

        echo_json({"config": str(output), **plan_json(plan)})
    else:
        from ensemble.cli.terminal_init import show_plan

        show_plan(plan, output)
    if plan.todo:
        sys.exit(_OPEN)


def _refuse_existing(output: Path, *, force: bool) -> None:
    from ensemble.errors import ConfigError

    if output.is_dir():
        raise ConfigError(
            "this is a directory", where=str(output), hint="give --output a file: config.toml"
        )
    if not force and (output.exists() or output.is_symlink()):
        raise ConfigError(
            "the file is there already, and nothing is written over",
            where=str(output),
            hint="give another --output, or --force to replace it",
        )


def _tell(text: str) -> None:
    from ensemble.errors import printable

    click.echo(printable(text), err=True)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _asked(question: Question) -> str | None:
    """Ask on the terminal; a number chooses, and nothing takes the default."""
    from ensemble.errors import printable

    click.echo(printable(f"\n{question.text}"), err=True)
    for number, option in enumerate(question.options, 1):
        click.echo(printable(f"  {number}  {option}"), err=True)
    names = {str(at): option for at, option in enumerate(question.options, 1)}
    known = names | {option: option for option in question.options}
    default = None
    if question.default is not None:
        default = str(question.options.index(question.default) + 1)
    while True:
        answer = str(click.prompt("choose", default=default, err=True)).strip()
        if answer in known:
            return known[answer]
        click.echo(f"that is none of 1 to {len(names)}", err=True)
