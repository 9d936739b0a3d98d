"""The command line: verbs, and what they print.

Only click is imported here; each verb imports what it needs, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensemble import __version__
from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble.config import Config
    from ensemble.terminal import Terminal

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_path = click.Path(path_type=Path)
_config_argument = click.argument("config", type=_path)
_run_argument = click.argument("run", type=_path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ensemble")
def cli() -> None:
    """Honest out-of-fold predictions and stacking for human-preference prediction."""


def main() -> None:
    """Run the command line; errors of ours are printed without a traceback.

    Exit codes: 0 done, 1 the run failed, 2 the user's input is wrong, 130 interrupted.
    """
    # Threads that wait for each other must not keep the cores busy: beside one other process the
    # same fit took seven times as long. It is read when LightGBM is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli(standalone_mode=False)
    except EnsembleError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"\n  where: {error.filename}" if error.filename else ""
        click.echo(f"error: {error.strerror or error}{where}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted: run the same command again to resume", err=True)
        sys.exit(INTERRUPTED)


def _stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn ``function(config, reporter, **options)`` into a verb on a CONFIG.

    What the function gives is printed with ``--json``.
    """

    @cli.command(name=function.__name__)
    @_config_argument
    @_quiet_option
    @_json_option
    @wraps(function)
    def verb(config: Path, quiet: bool, as_json: bool, **options: Any) -> None:
        from ensemble.pipeline import writing
        from ensemble.stacking.settings import check_plugins

        with _only_results():
            settings = _load(config)
            check_plugins(settings)
            with writing(settings, _terminal(quiet=quiet)) as reporter:
                outcome = function(settings, reporter, **options)
        if as_json:
            click.echo(json.dumps(outcome, indent=2, ensure_ascii=False))

    return verb


@cli.command()
@_config_argument
@_quiet_option
@_json_option
def run(config: Path, quiet: bool, as_json: bool) -> None:
    """Do all of it, from sources to submission and report.

    The same command again resumes the run, and makes anew only what a change of the config touches.
    """
    from ensemble.pipeline import run as run_pipeline

    with _only_results():
        place = run_pipeline(_load(config), _terminal(quiet=quiet))
    _print_summary(place, as_json=as_json)


@_stage
def prepare(config: Config, reporter: Any) -> dict[str, Any]:
    """Load the sources and find clusters of duplicates."""
    from ensemble.pipeline import prepare_stage

    return prepare_stage(config, reporter)


@_stage
def split(config: Config, reporter: Any) -> dict[str, Any]:
    """Make the fold plan."""
    from ensemble.pipeline import split_stage

    return split_stage(config, reporter)


@_stage
@click.option("--learner", "learners", multiple=True, help="Only this learner; may be repeated.")
@click.option("--folds", help="Only these folds, and no refit: 0,1")
def fit(
    config: Config, reporter: Any, learners: tuple[str, ...], folds: str | None
) -> dict[str, Any]:
    """Fit learners fold by fold; store OOF and test logits."""
    from ensemble.pipeline import fit_stage

    return fit_stage(config, reporter, learners or None, _fold_numbers(folds))


@_stage
def stack(config: Config, reporter: Any) -> dict[str, Any]:
    """Compare ways to combine the learners, and decide."""
    from ensemble.pipeline import stack_stage

    return stack_stage(config, reporter)


@cli.command()
@_config_argument
@click.option("--learner", help="A learner of the config; without it, a cheap one.")
@click.option("--folds", help="Score these folds only: 0,1")
@click.option("--rows", type=click.IntRange(min=1), help="Most rows of the target, and a source.")
@click.option("--source", "names", multiple=True, help="Only this source; may be repeated.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    help="Most seeds for a treatment whose effect is near zero.",
)
@_quiet_option
@_json_option
def sources(
    config: Path,
    learner: str | None,
    folds: str | None,
    rows: int | None,
    names: tuple[str, ...],
    seeds: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say of each source whether it helps on the target, and in which role.

    What it holds, what it repeats, how it differs, and what it does to the log loss of a learner
    that is fitted with and without it. Nothing of a run is changed.
    """
    from ensemble.pipeline import sources_stage, writing
    from ensemble.sources.settings import StudySettings
    from ensemble.stacking.settings import check_plugins

    wanted = _fold_numbers(folds)
    with _only_results():
        settings = _load(config)
        check_plugins(settings)
        asked = StudySettings(
            learner=learner,
            folds=None if wanted is None else tuple(wanted),
            rows=rows,
            sources=names or None,
            most_seeds=seeds,
        )
        with writing(settings, _terminal(quiet=quiet)) as reporter:
            studies = [study.to_json() for study in sources_stage(settings, reporter, asked)]
    if as_json:
        click.echo(json.dumps(studies, indent=2, ensure_ascii=False))
    else:
        from ensemble.terminal_sources import show_sources

        show_sources(studies)


@cli.command()
@click.argument("config_or_run", type=_path)
@click.option("--test", type=_path, help="Score the rows of this file instead of the config's.")
@click.option("--output", type=_path, help="Where the submission goes; needed with --test.")
@_quiet_option
@_json_option
def predict(
    config_or_run: Path, test: Path | None, output: Path | None, quiet: bool, as_json: bool
) -> None:
    """Write the submission, or score new rows by a saved run.

    With --test, the saved models of a RUN score the rows of FILE: no network, no training data.
    """
    if (test is None) != (output is None):
        raise click.UsageError("--test and --output go together")
    config = _load(config_or_run)
    if test is not None and output is not None:
        from ensemble.delivery.saved_run import predict_file

        with _only_results():
            rows: int | None = predict_file(config, test, output)
    else:
        from ensemble.pipeline import predict_stage, writing

        with _only_results(), writing(config, _terminal(quiet=quiet)) as reporter:
            output, rows = predict_stage(config, reporter), None
    outcome = {"submission": output and str(output), "rows": rows}
    if as_json:
        click.echo(json.dumps(outcome))
    elif rows is not None:
        click.echo(f"{output}: {rows:,} rows")


@cli.command()
@click.argument("config_or_run", type=_path)
@_json_option
def report(config_or_run: Path, as_json: bool) -> None:
    """Write the HTML report of what there is so far."""
    from ensemble.pipeline import report_stage, writing

    config = _load(config_or_run)
    with writing(config) as reporter:
        path = report_stage(config, reporter)
    click.echo(json.dumps({"report": str(path)}) if as_json else str(path))


@cli.command()
@_run_argument
@click.option("--partial", is_flag=True, help="Let a run pass that is not complete yet.")
@_json_option
def audit(run: Path, partial: bool, as_json: bool) -> None:
    """Prove a run honest from its files; exit with 1 if not.

    What is not there, a fold or the stack, has not been measured: that too exits with 1, unless a
    --partial run is asked for. Learners whose training rows nobody recorded are named.
    """
    from ensemble.config import load_run_config
    from ensemble.delivery.audit import audit_run

    load_run_config(run)  # exits with 2 where there is no run: that is not a dishonest one
    with _only_results():
        result = audit_run(run)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        for check in result.checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
        click.echo(result.sentence)
    if not (result.ok and (result.complete or partial)):
        sys.exit(1)


@cli.command()
@_config_argument
@click.option("--learner", "learners", multiple=True, help="Only this learner; may be repeated.")
@click.option("--rows", type=click.IntRange(min=1), default=6, show_default=True)
@_quiet_option
@_json_option
def check(config: Path, learners: tuple[str, ...], rows: int, quiet: bool, as_json: bool) -> None:
    """Check learners on a few battles, before hours are spent; exit with 1 if one fails.

    Language models compute them in every way that they will: as transformers does, packed, as in
    training, after save and load, in the precision of prediction. Models that are stored already
    are asked again for what they predicted.
    """
    from ensemble.pipeline import check_stage, writing
    from ensemble.stacking.settings import check_plugins

    with _only_results():
        settings = _load(config)
        check_plugins(settings)
        with writing(settings, _terminal(quiet=quiet)) as reporter:
            found = check_stage(settings, reporter, learners or None, rows)
    if as_json:
        click.echo(json.dumps([finding.to_json() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(finding.line())
    if any(finding.ok is False for finding in found):
        sys.exit(1)


@cli.command()
@_run_argument
@click.argument("names", nargs=-1, required=True, metavar="A B ...")
@click.option("--by", multiple=True, help="Slice by this feature column too; may be repeated.")
@_json_option
def compare(run: Path, names: tuple[str, ...], by: tuple[str, ...], as_json: bool) -> None:
    """Hold learners against each other on the same target rows.

    A is the reference; each other name is compared with it, over all rows and in slices by source,
    label, length, turns and script. A name is a learner of RUN, a candidate of its stack (`stack`
    is the chosen one), or OTHER_RUN:NAME where that run has the same battles and fold plan.

    --by takes the name of a feature column, which is cut into quartiles, or a pattern over columns,
    of which a row belongs to the largest: 'stop_words_*_prompt' slices by language.
    """
    from ensemble.pipeline import compare_stage
    from ensemble.terminal import show_comparison

    with _only_results():
        result, stored = compare_stage(run, names, by)
    outcome = {**result, "stored": stored and str(stored)}
    if as_json:
        click.echo(json.dumps(outcome, indent=2, ensure_ascii=False))
    else:
        show_comparison(outcome)


@cli.command()
@click.argument("submission", type=_path)
@click.option("--test", type=_path, required=True, help="The test file that it answers.")
@_json_option
def validate(submission: Path, test: Path, as_json: bool) -> None:
    """Check any submission against its test file.

    All ids once and no other, finite numbers within [0, 1], rows that sum to 1.
    """
    from ensemble.delivery.submission import validate_submission

    rows = validate_submission(submission, test)
    message = {"submission": str(submission), "rows": rows, "valid": True}
    click.echo(json.dumps(message) if as_json else f"{submission}: valid, {rows:,} rows")


@cli.command()
@_json_option
def learners(as_json: bool) -> None:
    """List learners, feature sets and what else is installed."""
    from ensemble.plugin.manager import get_manager

    with _only_results():
        manager = get_manager()
    registries = (
        manager.base_learners,
        manager.meta_learners,
        manager.feature_sets,
        manager.loaders,
    )
    rows = [
        {
            "kind": registry.kind,
            "name": entry.name,
            "plugin": entry.plugin,
            "distribution": entry.distribution,
        }
        for registry in registries
        for entry in registry
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['kind']:<13}  {row['name']:<16}  {row['plugin']} ({row['distribution']})")


@cli.command()
@_json_option
def plugins(as_json: bool) -> None:
    """List plugins, and those skipped with their errors."""
    from ensemble.plugin.manager import get_manager

    with _only_results():
        manager = get_manager()
    found = [{"name": name, "distribution": where} for name, where in manager.plugins()]
    broken = [vars(item) for item in manager.broken]
    if as_json:
        click.echo(json.dumps({"plugins": found, "broken": broken}, indent=2))
        return
    for item in found:
        click.echo(f"{item['name']}  {item['distribution']}")
    for item in broken:
        click.echo(f"{item['name']}  {item['distribution']}  SKIPPED: {item['error']}")


@cli.command()
@click.option("--directory", type=_path, default=Path("runs/demo"), show_default=True)
@click.option("--rows", type=click.IntRange(min=100), default=2_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_quiet_option
@_json_option
def demo(directory: Path, rows: int, seed: int, quiet: bool, as_json: bool) -> None:
    """Run the whole pipeline on generated battles.

    Their true label distributions are known, so the report shows the best possible log loss.
    """
    from ensemble.demo import demo as run_demo

    with _only_results():
        place = run_demo(directory, rows=rows, seed=seed, display=_terminal(quiet=quiet))
    _print_summary(place, as_json=as_json)


@contextmanager
def _only_results() -> Iterator[None]:
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


def _load(path: Path) -> Config:
    """Read a config, or that of a run directory."""
    from ensemble.config import load_config, load_run_config

    return load_run_config(path) if path.is_dir() else load_config(path)


def _terminal(*, quiet: bool) -> Terminal:
    from ensemble.terminal import Terminal

    return Terminal(quiet=quiet)


def _print_summary(run: Path, *, as_json: bool) -> None:
    from ensemble.terminal import show_summary, summary

    outcome = summary(run)
    if as_json:
        click.echo(json.dumps(outcome, indent=2, ensure_ascii=False))
    else:
        show_summary(outcome)


def _fold_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of folds like 0,1") from error


if __name__ == "__main__":
    main()
