"""What a run lacks because something failed: told at its end, when all else is done."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, IncompleteRunError
from ensemble.failure import Failure
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import STACK
from ensemble.run_dir.stack_files import read_verdict
from ensemble.stacking.left_out import failed_learners
from ensemble.stages.report import report_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import Reporter


def failures_of(config: Config) -> list[Failure]:
    """Give what has failed in a run as its config is now: learners, then the meta-learner."""
    learners = failed_learners(config, open_workspace(config)).values()
    return [*learners, *_failed_candidates(Path(config.run_dir))]


def refuse_incomplete(config: Config) -> None:
    """End a run that is done but for what failed.

    Raises
    ------
    IncompleteRunError
        Something failed.
    """
    failures = failures_of(config)
    if failures:
        raise IncompleteRunError(_told(config, failures), failures)


def refuse_failed(config: Config, outcome: Mapping[str, Any]) -> None:
    """End a stage that is done but for what failed in it.

    Parameters
    ----------
    config
        The config.
    outcome
        What the stage gave; ``failed`` lists failures as JSON, ``left_out`` names learners that
        failed before.

    Raises
    ------
    IncompleteRunError
        Something failed.
    """
    failures = [Failure(**one) for one in outcome.get("failed", ())]
    if outcome.get("left_out"):
        failures = failures_of(config)
    if failures:
        raise IncompleteRunError(_told(config, failures), failures)


@contextmanager
def reported(config: Config, reporter: Reporter) -> Iterator[None]:
    """Write the report where a stage finds that no learner is complete: it says why."""
    try:
        yield
    except IncompleteRunError:
        report_stage(config, reporter)
        raise


def _failed_candidates(run: Path) -> list[Failure]:
    try:
        return [Failure(**one) for one in read_verdict(run / STACK).get("failed", ())]
    except ArtifactError:
        return []


def _told(config: Config, failures: Sequence[Failure]) -> str:
    learners = [one for one in failures if not one.is_meta_learner]
    said = [f"{len(learners)} of {len(config.learners)} learners failed"] if learners else []
    said += [f"the meta-learner {one.name} failed" for one in failures if one.is_meta_learner]
    return f"{' and '.join(said)}; everything else is done and stored"
