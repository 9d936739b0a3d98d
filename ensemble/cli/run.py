"""Verbs that make a run, or a part of it."""

from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.shared import (
    budget_of,
    cli,
    config_argument,
    echo_json,
    fail_fast_option,
    fit_names,
    json_option,
    keep_option,
    load,
    naming,
    only_results,
    path_type,
    print_summary,
    quiet_option,
    refit_option,
    terminal,
    time_limit_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.folds_record import FoldsRecord


def _stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn ``function(config, reporter, **options)`` into a verb on a CONFIG.

    What the function gives is printed with ``--json``.
    """

    @cli.command(name=function.__name__)
    @config_argument
    @quiet_option
    @json_option
    @wraps(function)
    def verb(config: Path, quiet: bool, as_json: bool, **options: Any) -> None:
        from ensemble.run_dir.record import Record
        from ensemble.stages.copies import copied, fill_copy
        from ensemble.stages.work import working

        into = options.pop("into", None)
        with only_results(), naming(config):
            of_run = load(config)
            settings = of_run if into is None else copied(of_run, into)
            with working(settings, terminal(quiet=quiet)) as reporter:
                if into is not None:
                    fill_copy(of_run, settings)
                outcome = function(settings, reporter, **options)
        if as_json:
            echo_json(outcome.model_dump() if isinstance(outcome, Record) else outcome)
        if isinstance(outcome, dict):
            from ensemble.stages.incomplete import refuse_failed

            with naming(config):
                refuse_failed(settings, outcome)

    return verb


@cli.command()
@config_argument
@refit_option
@keep_option
@fail_fast_option
@time_limit_option
@quiet_option
@json_option
def run(
    config: Path,
    refit: tuple[str, ...],
    keep: tuple[str, ...],
    fail_fast: bool,
    time_limit: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Do all of it, from sources to submission and report.

    The same command again resumes the run, and makes anew only what a change of the config touches.
    A learner that fails fails alone: the stack is made of the others, the exit code is 1, and a
    table says what failed, why, and how to retry it.

    With --time-limit no fit is started that would not be done in time, by what others have taken
    here, and what still runs then is stopped. Stack and submission are made of what is complete;
    the exit code is 1 where fits are left, and the same command goes on.
    """
    budget = budget_of(time_limit)
    from ensemble.errors import AuditError, IncompleteRunError
    from ensemble.pipeline import run as run_pipeline

    settings = load(config)
    try:
        with only_results(), naming(config):
            place = run_pipeline(
                settings,
                terminal(quiet=quiet),
                refit=refit,
                keep=keep,
                fail_fast=fail_fast,
                budget=budget,
            )
    except IncompleteRunError as error:
        if error.is_stacked:
            print_summary(Path(settings.run_dir), as_json=as_json)
        raise
    except AuditError:
        if not as_json:  # the scores are there; the error says what they are worth
            print_summary(Path(settings.run_dir), as_json=False)
        raise
    print_summary(place, as_json=as_json)


@_stage
def prepare(config: Config, reporter: Any) -> BattlesRecord:
    """Load the sources and find clusters of duplicates."""
    from ensemble.stages.prepare import prepare_stage

    return prepare_stage(config, reporter)


@_stage
def split(config: Config, reporter: Any) -> FoldsRecord:
    """Make the fold plan."""
    from ensemble.stages.split import split_stage

    return split_stage(config, reporter)


@_stage
@click.option("--learner", "learners", multiple=True, help="Only this learner; may be repeated.")
@click.option(
    "--folds",
    multiple=True,
    help="Only these: folds, a refit, pairs of folds: 0,1,refit,0-1; may be repeated.",
)
@click.option(
    "--into",
    type=path_type,
    metavar="DIR",
    help="Fit in a copy of the run, which `ensemble merge` takes folds from.",
)
@refit_option
@keep_option
@fail_fast_option
@time_limit_option
def fit(
    config: Config,
    reporter: Any,
    learners: tuple[str, ...],
    folds: tuple[str, ...],
    refit: tuple[str, ...],
    keep: tuple[str, ...],
    fail_fast: bool,
    time_limit: str | None,
) -> dict[str, Any]:
    """Fit learners fold by fold; store OOF and test logits.

    One fold of every learner comes first. With --time-limit no fit is started that would not be
    done in time, and what still runs then is stopped; the same command goes on.
    """
    from ensemble.oof.refits import Decisions
    from ensemble.stages.fit import fit_stage

    decided = Decisions(refit, keep)
    chosen = learners or None
    budget, wanted = budget_of(time_limit), fit_names(folds)
    return fit_stage(config, reporter, chosen, wanted, decided, fail_fast=fail_fast, budget=budget)


@_stage
def stack(config: Config, reporter: Any) -> dict[str, Any]:
    """Compare ways to combine the learners, and decide."""
    from ensemble.stages.stack import stack_stage

    return stack_stage(config, reporter)


@cli.command()
@click.argument("config_or_run", type=path_type)
@json_option
def report(config_or_run: Path, as_json: bool) -> None:
    """Write the HTML report of what there is so far."""
    from ensemble.once import one_verb
    from ensemble.stages.report import report_stage
    from ensemble.stages.work import writing

    config = load(config_or_run)
    with one_verb(), writing(config) as reporter:
        path = report_stage(config, reporter)
    click.echo(json.dumps({"report": str(path)}) if as_json else str(path))


@cli.command()
@click.option("--directory", type=path_type, default=Path("runs/demo"), show_default=True)
@click.option(
    "--rows", type=click.IntRange(min=100, max=10_000_000), default=2_000, show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@quiet_option
@json_option
def demo(directory: Path, rows: int, seed: int, quiet: bool, as_json: bool) -> None:
    """Run the whole pipeline on generated battles.

    Their true label distributions are known, so the report shows the best possible log loss.
    """
    from ensemble.cli.demo import demo as run_demo

    with only_results():
        place = run_demo(directory, rows=rows, seed=seed, display=terminal(quiet=quiet))
    print_summary(place, as_json=as_json)
