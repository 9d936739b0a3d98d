"""Verbs on what leaves a run: predictions, models and submissions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.shared import (
    cli,
    echo_json,
    is_standard_output,
    json_option,
    keep_option,
    load,
    only_results,
    option_values,
    path_type,
    quiet_option,
    run_argument,
    terminal,
)
from ensemble.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.config.settings import Config


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
    transformers loads the directory as a sequence classifier, and vLLM by the call in its README.
    Its logits are held against the run's on up to 64 rows; where they are others, nothing is
    written.
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
@click.argument("submission", type=path_type)
@click.option("--test", type=path_type, required=True, help="The test file that it answers.")
@click.option(
    "--config",
    type=path_type,
    help="Read --test as the [test] of this config or run says: columns, format, loader.",
)
@click.option(
    "--ties/--no-ties",
    default=None,
    help="Whether the task has ties; else the form that the file has is taken.",
)
@json_option
def validate(
    submission: Path, test: Path, config: Path | None, ties: bool | None, as_json: bool
) -> None:
    """Check any submission against its test file.

    The header tells its form, which is printed: id with winner_model_a, winner_model_b,
    winner_tie; the same without winner_tie, for a task without ties; or id with winner, which is
    model_a, model_b or tie. All ids have to be there once and no other, with finite numbers within
    [0, 1] and rows that sum to 1, or with a winner each.
    """
    from ensemble.submission.reading import reading_options
    from ensemble.submission.validate import validate_file

    reading = None if config is None else reading_options(load(config))
    found = validate_file(submission, test, ties=ties, reading_as=reading)
    told = {"submission": str(submission), "rows": found.rows, "valid": True}
    told |= {"columns": [*found.form.columns], "form": found.form.told}
    if found.winners:
        told["winners"] = found.winners
    counts = ", ".join(f"{winner} {count:,}" for winner, count in found.winners.items())
    text = f"{submission}: valid, {found.rows:,} rows of {found.form.told}"
    click.echo(json.dumps(told) if as_json else f"{text}{f' ({counts})' if counts else ''}")
