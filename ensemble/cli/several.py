"""Verbs for runs on several machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ensemble.cli.shared import (
    cli,
    echo_json,
    json_option,
    only_results,
    path_type,
    quiet_option,
    run_argument,
    terminal,
)

if TYPE_CHECKING:
    from pathlib import Path


@cli.command()
@run_argument
@click.argument("others", type=path_type, nargs=-1, required=True, metavar="OTHER...")
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and write nothing.")
@quiet_option
@json_option
def merge(run: Path, others: tuple[Path, ...], dry_run: bool, quiet: bool, as_json: bool) -> None:
    """Take folds that were fitted elsewhere into RUN, with proof.

    A fold of another run is taken where this run would have made the same one: same battles, fold
    plan, learner, parameters and code; where its files are whole; and where it was trained on the
    rows that this run's plan says. Others are refused, with the reason, and the exit code is 1.
    """
    from ensemble.oof.merge import refused
    from ensemble.stages.merge import merge_stage

    with only_results():
        offers = merge_stage(run, others, dry_run=dry_run, display=terminal(quiet=quiet))
    if as_json:
        echo_json([offer.to_json() for offer in offers])
    else:
        from ensemble.cli.terminal import show_offers

        show_offers([offer.to_json() for offer in offers])
    if refused(offers):
        sys.exit(1)
