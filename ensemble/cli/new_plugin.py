"""The verb that writes a new plugin."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.shared import cli, path_type

_KINDS = ("base-learner", "feature-set", "meta-learner", "loader")


@cli.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(_KINDS), default="base-learner", show_default=True, help="Of what."
)
@click.option("--single-file", is_flag=True, help="One file, which a config names, and its test.")
@click.option("--directory", type=path_type, default=Path(), help="Where it goes; else here.")
def new_plugin(name: str, kind: str, single_file: bool, directory: Path) -> None:
    """Write a plugin to begin with: it installs, passes its test, and beats the class prior.

    NAME is what configs will call it. Nothing is overwritten.
    """
    from ensemble.plugin.scaffold import new_plugin as write

    made = write(name, directory, kind=kind, single_file=single_file)
    for file in made.files:
        click.echo(f"wrote {file}")
    click.echo("\nnext:")
    home = directory if single_file else directory / name
    for command in (*([] if home == Path() else [f"cd {home}"]), *made.commands):
        click.echo(f"  {command}")
    click.echo("\nin a config:")
    for line in made.fragment.splitlines():
        click.echo(f"  {line}")
