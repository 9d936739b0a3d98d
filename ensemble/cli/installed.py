"""Verbs that ask what is installed."""

from __future__ import annotations

import sys

import click

from ensemble.cli.shared import cli, json_option


@cli.command()
@click.argument("name", required=False)
@json_option
def learners(name: str | None, as_json: bool) -> None:
    """List learners, feature sets and what else is installed; of NAME, its parameters.

    NAME is a registered name, or FILE.py:CLASS. Of each parameter its type, its default and what it
    means are shown, as the class says them.
    """
    from ensemble.cli.plugins import show_names, show_parameters

    if name is None:
        show_names(as_json=as_json)
    else:
        show_parameters(name, as_json=as_json)


@cli.command()
@click.option("--strict", is_flag=True, help="Exit with 1 where anything is wrong with one.")
@json_option
def plugins(strict: bool, as_json: bool) -> None:
    """List plugins, with what each brings and what is wrong with it.

    One that something is wrong with is set aside until a config needs it. ENSEMBLE_PLUGINS names
    the installed plugins that are loaded beside the built-ins (empty: none); `ensemble --no-plugin
    NAME ...` leaves one out. What other plugins than the built-ins register is imported here, to
    see whether it can be.
    """
    from ensemble.cli.plugins import show_plugins

    if show_plugins(as_json=as_json) and strict:
        sys.exit(1)
