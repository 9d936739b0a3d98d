"""Verbs that ask: of a run, or of a config before it is run."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.shared import (
    cli,
    config_argument,
    echo_json,
    fold_numbers,
    json_option,
    load,
    only_results,
    option_values,
    path_type,
    quiet_option,
    run_argument,
    terminal,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.oof.check import Finding


@cli.command()
@config_argument
@click.option("--learner", help="A learner of the config; without it, a cheap one.")
@click.option("--folds", multiple=True, help="Score these folds only: 0,1; may be repeated.")
@click.option("--rows", type=click.IntRange(min=1), help="Most rows of the target, and a source.")
@click.option("--source", "names", multiple=True, help="Only this source; may be repeated.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2, max=100),
    default=4,
    show_default=True,
    help="Most seeds for a treatment whose effect is near zero.",
)
@click.option(
    "--treatment",
    "treatments",
    multiple=True,
    help='Only this way to train on it, such as "train, logit adjustment"; may be repeated.',
)
@click.option("--curve/--no-curve", default=True, help="Measure parts of a source too.")
@click.option("--shift/--no-shift", default=True, help="Measure how a source differs.")
@quiet_option
@json_option
def sources(
    config: Path,
    learner: str | None,
    folds: tuple[str, ...],
    rows: int | None,
    names: tuple[str, ...],
    seeds: int,
    treatments: tuple[str, ...],
    curve: bool,
    shift: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say of each source whether it helps on the target, and in which role.

    What it holds, what it repeats, how it differs, and what it does to the log loss of a learner
    that is fitted with and without it. Nothing of a run is changed.
    """
    from ensemble.sources.settings import StudySettings
    from ensemble.stages.sources import sources_stage
    from ensemble.stages.work import working

    wanted = fold_numbers(folds)
    with only_results():
        settings = load(config)
        asked = StudySettings(
            learner=learner,
            folds=None if wanted is None else tuple(wanted),
            rows=rows,
            sources=names or None,
            treatments=treatments or None,
            most_seeds=seeds,
            curve=curve,
            shift=shift,
        )
        with working(settings, terminal(quiet=quiet)) as reporter:
            studies = [study.to_json() for study in sources_stage(settings, reporter, asked)]
    if as_json:
        echo_json(studies)
    else:
        from ensemble.cli.terminal_sources import show_sources

        show_sources(studies)


@cli.command()
@run_argument
@click.option("--partial", is_flag=True, help="Let a run pass that is not complete yet.")
@click.option("--deep", is_flag=True, help="Ask stored models again for what is stored.")
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="With --deep: held-out, and test, rows that each stored model is asked for.",
)
@json_option
def audit(run: Path, partial: bool, deep: bool, rows: int, as_json: bool) -> None:
    """Prove a run honest from its files; exit with 1 if not.

    The result is stored in the run, and the report written anew. Its state is `passed`, `passed
    without sources` (they are not here to be compared), `incomplete` (a fold or the stack is not
    there; --partial lets such a run pass), `unproven` (predictions from outside, or plugins that
    are not installed), or `failed`. All but the first two exit with 1.
    """
    from ensemble.config.load import load_run_config
    from ensemble.errors import printable
    from ensemble.stages.audit import prove_stage

    load_run_config(
        run, is_judged=True
    )  # exits with 2 where there is no run: that is not a dishonest one
    with only_results():
        result, report, fault = prove_stage(run, deep=deep, rows=rows)
    stored = {"report": report and str(report), "not_stored": fault}
    if as_json:
        echo_json(result.to_json() | stored)
    else:
        for check in result.checks:
            told = f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}"
            click.echo(printable(told))
        click.echo(result.sentence)
        told = f"report: {report}" if report else f"the report is as it was: {fault}"
        click.echo(printable(told))
    if not (result.proved or (partial and result.state == "incomplete")):
        sys.exit(1)


@cli.command()
@click.argument("config_or_name", metavar="CONFIG|NAME")
@click.option("--learner", "learners", multiple=True, help="Only this learner; may be repeated.")
@click.option("--rows", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--path", type=path_type, help="A file that the loader NAME reads.")
@click.option("--option", "options", multiple=True, help="Parameter of NAME: KEY=VALUE.")
@quiet_option
@json_option
def check(
    config_or_name: str,
    learners: tuple[str, ...],
    rows: int,
    path: Path | None,
    options: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Check learners on a few battles, before hours are spent; exit with 1 if one fails.

    Of a CONFIG first what is known to fail: columns, ids, files, tokenizers. Then each learner is
    held to its contract on sixty generated battles: parameters, order, batch, ids, labels of other
    rows, weights, odd texts, resuming, save and load in another process. Language models compute
    battles of the config in every way that they will instead: as transformers does, packed, as in
    training. Models that are stored already are asked again for what they predicted.

    NAME is anything registered: a learner, a meta-learner, a feature set or a loader.
    """
    with only_results():
        found = (
            _check_config(config_or_name, learners, rows, quiet=quiet)
            if _is_config(config_or_name)
            else _check_name(config_or_name, path, options)
        )
    if as_json:
        click.echo(json.dumps([finding.to_json() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(finding.line())
    if any(finding.ok is False for finding in found):
        sys.exit(1)


def _is_config(text: str) -> bool:
    """Say whether a config or a run is meant, by what is there or how it is called."""
    from pathlib import Path

    from ensemble.run_dir.layout import CONFIG

    path = Path(text)
    return path.is_file() or (path / CONFIG).is_file() or text.endswith(".toml")


def _check_config(
    config: str, learners: tuple[str, ...], rows: int, *, quiet: bool
) -> list[Finding]:
    from pathlib import Path

    from ensemble.stages.check import check_stage
    from ensemble.stages.work import working

    settings = load(Path(config))
    with working(settings, terminal(quiet=quiet)) as reporter:
        return check_stage(settings, reporter, learners or None, rows)


def _check_name(name: str, path: Path | None, options: tuple[str, ...]) -> list[Finding]:
    from ensemble.testing import check_registered

    reports = check_registered(name, path=path, parameters=option_values(options))
    return [finding for report in reports for finding in report.findings]


@cli.command()
@run_argument
@click.argument("names", nargs=-1, required=True, metavar="A B ...")
@click.option("--by", multiple=True, help="Slice by this feature column too; may be repeated.")
@json_option
def compare(run: Path, names: tuple[str, ...], by: tuple[str, ...], as_json: bool) -> None:
    """Hold learners against each other on the same target rows.

    A is the reference; each other name is compared with it, over all rows and in slices by source,
    label, length, turns and language. A name is a learner of RUN, a candidate of its stack (`stack`
    is the chosen one), or OTHER_RUN:NAME where that run has the same battles and fold plan.

    --by takes the name of a feature column, which is cut into quartiles, or a pattern over columns,
    of which a row belongs to the largest: 'prompt_in_*', say.
    """
    from ensemble.cli.terminal import show_comparison
    from ensemble.stages.compare import compare_stage

    with only_results():
        result, stored, fault = compare_stage(run, names, by)
    outcome = {**result, "stored": stored and str(stored)}
    if fault:
        outcome["not_stored"] = fault
    if as_json:
        echo_json(outcome)
    else:
        show_comparison(outcome)


@cli.command()
@run_argument
@click.option("--by", help="Learner or candidate that labels are held against.")
@click.option("--rows", type=click.IntRange(min=0), default=200, show_default=True)
@click.option("--output", type=path_type, help="Where the list goes; else review.csv in the run.")
@click.option("--measure", type=path_type, help="Measure what this list does to the log loss.")
@click.option("--shares", is_flag=True, help="Measure leaving out the most contradicted rows.")
@click.option("--learner", help="A learner of the config to measure with; without it, a cheap one.")
@quiet_option
@json_option
def review(run: Path, quiet: bool, as_json: bool, **options: Any) -> None:
    """List labels worth a second look, and measure what comes of changing them.

    Listed are labels that out-of-fold predictions contradict most (--rows of them, those of the
    chosen candidate unless --by names another), duplicates that have different labels, and
    identical answers that are no tie. Fill in the column `action` (exclude, a, b, tie; empty keeps
    a row), and name the file under the source: `labels = "review.csv"`. It changes what is trained
    on, and never what is scored. Actions that a list has are kept when it is written again.
    """
    from ensemble.cli.terminal_review import show_review
    from ensemble.stages.review import review_stage

    with only_results():
        _, record = review_stage(run, display=terminal(quiet=quiet), **options)
    if as_json:
        echo_json(record.told())
    else:
        show_review(record)
