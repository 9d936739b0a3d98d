"""The stack of a run, as its config asks for it; into its place, or beside it to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble.oof.worker_process import call_of
from ensemble.oof.workers import Worker
from ensemble.plugin.faults import failure_of
from ensemble.plugin.manager import DISTRIBUTION, GIVEN, get_manager
from ensemble.processes import one_thread_of_blas
from ensemble.stacking.assemble import stack_data
from ensemble.stacking.made_from import stacked_folds
from ensemble.stacking.remember import open_tries
from ensemble.stacking.settings import meta_learner_factory, meta_learner_name, stacked_specs
from ensemble.stacking.stack import run_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.workspace import Workspace
    from ensemble.stacking.tries import TryStore


_APART = "ensemble.stacking.build:stack_in_worker"
_GRACE = 5.0
"""Seconds that a worker has to end by itself what takes too long: it knows in which line."""


def make_stack_apart(
    config: Config,
    directory: Path,
    manifest: Mapping[str, Any],
    *,
    progress: Callable[..., None] | None = None,
) -> Failure | None:
    """Make the stack of a run in a worker process, which its meta-learner may take with it.

    Parameters
    ----------
    config, directory, manifest
        As for ``make_stack``; the tries are those of the run.
    progress
        As ``run_stack`` takes it.

    Returns
    -------
    Failure or None
        How the worker died, or why it was ended; there is no stack then. None where it is made.
    """
    name, limit = str(config.stack.meta_learner), _limit_of(config)
    request = call_of(_APART, {"directory": str(directory), "manifest": dict(manifest)})
    worker = Worker(config)
    try:
        worker.ask(request, f'candidate "{name}"', limit and limit + _GRACE, progress)
    except LearnerError as error:
        return failure_of(name, "stack", error, is_meta_learner=True)
    finally:
        worker.end()
    return None


def stack_in_worker(
    workspace: Workspace,
    config: Config,
    details: Mapping[str, Any],
    start: Callable[[], None],
    progress: Callable[..., None],
) -> None:
    """Make the stack that ``make_stack_apart`` asks for; the clock starts with the meta-learner."""

    def tell(done: float, message: str) -> None:
        if message == f"candidate {config.stack.meta_learner}":
            start()
        progress(done, message)

    make_stack(
        config,
        workspace,
        Path(details["directory"]),
        details["manifest"],
        tries=open_tries(workspace),
        progress=tell,
    )


def is_from_outside(config: Config) -> bool:
    """Say whether the meta-learner is not the toolkit's own, and a worker can load it."""
    if config.stack.meta_learner is None:
        return False
    brought_by = get_manager().meta_learners.entry(config.stack.meta_learner).distribution
    return brought_by != GIVEN and brought_by.partition(" ")[0] != DISTRIBUTION


def _limit_of(config: Config) -> float | None:
    return config.stack.time_limit or config.execution.time_limit


def make_stack(
    config: Config,
    workspace: Workspace,
    directory: Path,
    manifest: Mapping[str, Any],
    *,
    tries: TryStore,
    progress: Callable[[float, str], None] | None = None,
    failed: Sequence[Failure] = (),
) -> dict[str, Any]:
    """Score, decide and fit from the stored folds.

    Parameters
    ----------
    config
        The run's config.
    workspace
        Its battles and plan.
    directory
        Where the stack goes.
    manifest
        What made it: ``learners`` names those that are stacked, in order, and ``key_parts`` has
        under ``pairs`` those that are nested exactly.
    tries
        What has been scored on the fold plan, this stack included once it is made.
    progress, failed
        As ``run_stack`` takes them.

    Returns
    -------
    dict[str, Any]
        The verdict. Errors as ``run_stack`` raises them.
    """
    with one_thread_of_blas():  # a meta-learner's LightGBM keeps its threads
        return run_stack(
            directory,
            stack_data(
                workspace.with_folds(stacked_folds(manifest)),
                manifest["learners"],
                config.stack.features,
                nested=list(manifest["key_parts"]["pairs"]),
                seeds={spec.name: spec.seeds for spec in stacked_specs(config)},
            ),
            meta_learner=meta_learner_factory(config),
            meta_learner_name=meta_learner_name(config),
            choose=config.without(manifest.get("left_out", ())).stack.choose,
            seed=config.seed,
            threads=config.execution.threads_per_fit(),
            manifest=manifest,
            resamples=config.stack.resamples,
            tries=tries,
            progress=progress,
            limit=_limit_of(config),
            failed=failed,
            metric=config.task.metric,
        )
