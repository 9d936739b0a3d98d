"""Verbs for runs on several machines."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from ensemble.cli.shared import (
    cli,
    config_argument,
    echo_json,
    json_option,
    load,
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


@cli.command()
@config_argument
@click.option("--output", type=path_type, metavar="DIR", help="Of the scripts; RUN/slurm.")
@click.option("--learner", "learners", multiple=True, help="Only this learner; may be repeated.")
@click.option(
    "--option", "options", multiple=True, help='Of sbatch, for every job: "--partition=gpu".'
)
@click.option("--setup", multiple=True, help='A line every job begins with: "module load cuda".')
@json_option
def slurm(
    config: Path,
    output: Path | None,
    learners: tuple[str, ...],
    options: tuple[str, ...],
    setup: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write scripts that have Slurm fit what is missing.

    The run must be prepared and split. Each job fits into a copy of the run, by the resources that
    the learner declares, and a last job merges the copies. Then `ensemble run CONFIG` goes on.
    """
    from ensemble.stages.slurm import slurm_stage

    with only_results():
        told = slurm_stage(load(config), config, output, learners or None, options, setup)
    if as_json:
        echo_json(told)
    elif told["submit"] is None:
        click.echo("nothing is to be fitted")
    else:
        for learner, jobs in told["jobs"].items():
            click.echo(f"{learner}: {len(jobs)} jobs")
        click.echo(f"submit with: bash {shlex.quote(told['submit'])}")
