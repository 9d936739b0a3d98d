"""What a run lacks since something failed or time was short: told when all else is done."""

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
from ensemble.stacking.settings import learner_specs
from ensemble.stacking.unfinished import undone
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
    failures, unfinished = failures_of(config), unfinished_of(config)
    if failures or unfinished:
        raise _error(config, failures, unfinished)


def unfinished_of(config: Config) -> dict[str, list[str]]:
    """Give the fits that a time limit has left undone, by learner and as a reader knows them."""
    found = undone(open_workspace(config), learner_specs(config))
    return {name: [fit.label for fit in fits] for name, fits in found.items()}


def refuse_failed(config: Config, outcome: Mapping[str, Any]) -> None:
    """End a stage that is done but for what failed in it.

    Parameters
    ----------
    config
        The config.
    outcome
        What the stage gave; ``failed`` lists failures as JSON, ``left_out`` names learners that
        failed before, and ``unfinished`` fits for which there was no time.

    Raises
    ------
    IncompleteRunError
        Something failed, or is undone.
    """
    failures = [Failure(**one) for one in outcome.get("failed", ())]
    if outcome.get("left_out"):
        failures = failures_of(config)
    unfinished = unfinished_of(config) if outcome.get("unfinished") else {}
    if failures or outcome.get("left_out") or unfinished:
        raise _error(config, failures, unfinished or unfinished_of(config))


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


def _error(
    config: Config, failures: Sequence[Failure], unfinished: Mapping[str, Sequence[str]]
) -> IncompleteRunError:
    told = _told(config, failures, unfinished)
    return IncompleteRunError(told, failures, unfinished=unfinished)


def _told(
    config: Config, failures: Sequence[Failure], unfinished: Mapping[str, Sequence[str]]
) -> str:
    learners = [one for one in failures if not one.is_meta_learner]
    said = [f"{len(learners)} of {len(config.learners)} learners failed"] if learners else []
    said += [f"the meta-learner {one.name} failed" for one in failures if one.is_meta_learner]
    if count := sum(map(len, unfinished.values())):
        said.append(f"the time limit left {count} fit{'s' * (count > 1)} undone")
    return f"{' and '.join(said)}; everything else is done and stored"
