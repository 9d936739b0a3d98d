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
    is_standard_output,
    json_option,
    keep_option,
    load,
    naming,
    only_results,
    option_values,
    path_type,
    print_summary,
    quiet_option,
    refit_option,
    run_argument,
    terminal,
    time_limit_option,
)
from ensemble.errors import printable

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
@click.option("--folds", help="Only these: folds, a refit, pairs of folds: 0,1,refit,0-1")
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
    folds: str | None,
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
@click.option("--test", type=path_type, help="Score the rows of this file instead of the config's.")
@click.option("--output", type=path_type, help="Where the submission goes; needed with --test.")
@keep_option
@click.option("--text-format", type=click.Choice(["json", "plain"]), help="Of --test's text cells.")
@click.option("--loader", help='Loader plugin that reads --test; "none" for the built-in readers.')
@click.option("--option", "options", multiple=True, help="Of the loader: KEY=VALUE; repeatable.")
@quiet_option
@json_option
def predict(
    config_or_run: Path,
    test: Path | None,
    output: Path | None,
    keep: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Write the submission, or score new rows by a saved run.

    With --test, the saved models of a RUN score the rows of FILE: no network, no training data. The
    file is read as the run's own test file is, unless options say otherwise. The output may be a
    device, a pipe or a link; it never replaces an input or a file of a run.
    """
    if (test is None) != (output is None):
        raise click.UsageError("--test and --output go together")
    if test is None and (keep or any(reading.values())):
        raise click.UsageError("--text-format, --loader, --option and --keep are for --test")
    config = load(config_or_run)
    if test is not None and output is not None:
        rows: int | None = _score(config, config_or_run, test, output, keep, reading)
    else:
        from ensemble.stages.holdout import holdout_stage
        from ensemble.stages.predict import predict_stage
        from ensemble.stages.work import writing

        with only_results(), writing(config, terminal(quiet=quiet)) as reporter:
            output, rows = predict_stage(config, reporter), None
            holdout_stage(config, reporter)
    outcome = {"submission": output and str(output), "rows": rows}
    # Where the table itself went to standard output, nothing else may.
    apart = output is not None and is_standard_output(output)
    if as_json:
        click.echo(json.dumps(outcome), err=apart)
    elif rows is not None:
        click.echo(printable(f"{output}: {rows:,} rows"), err=apart)


def _score(
    config: Config,
    config_file: Path,
    test: Path,
    output: Path,
    keep: tuple[str, ...],
    reading: dict[str, Any],
) -> int:
    """Score new rows; the table is written when standard output is open for results again."""
    from ensemble.submission.new_rows import score_file
    from ensemble.submission.output import check_output, write_output
    from ensemble.submission.reading import reading_options

    if config_file.is_file():
        check_output(output, [config_file], "the config")
    options = option_values(reading.pop("options"))
    with only_results():
        asked = reading_options(config, options=options, **reading)
        text, rows = score_file(config, test, output, asked, keep)
    write_output(output, text)
    return rows


@cli.command()
@run_argument
@click.argument("learner")
@click.option("--fold", type=click.IntRange(min=0), help="The model of this fold.")
@click.option("--soup", is_flag=True, help="The mean of the models of all folds.")
@click.option("--refit", is_flag=True, help="The model that was fitted on everything.")
@click.option("--seed", type=click.IntRange(min=0), help="Of a learner with several.")
@click.option("--output", type=path_type, required=True, help="A directory that is not there yet.")
@json_option
def export(
    run: Path,
    learner: str,
    fold: int | None,
    soup: bool,
    refit: bool,
    seed: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write a language model of a run for other programs.

    Weights with the adapters merged, head, tokenizer, template and the code that builds the input:
    transformers loads the directory as a sequence classifier, and vLLM in its classify mode. Its
    logits are held against the run's on up to 64 rows; where they are others, nothing is written.
    """
    from ensemble.config.load import load_run_config
    from ensemble.submission.export import export_fit, which_model

    with only_results():
        asked = which_model(fold=fold, soup=soup, refit=refit)
        outcome = export_fit(load_run_config(run), learner, asked, output, seed=seed)
    if as_json:
        echo_json(outcome)
    else:
        told = (
            f"{learner}, {outcome['fit']}: {outcome['output']}\n"
            f"logits of {outcome['rows']} rows differ from the run's by up to "
            f"{outcome['max_difference']:.2g} (allowed: {outcome['allowed']:.2g})"
        )
        click.echo(printable(told))


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
