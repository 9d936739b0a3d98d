"""The stack of a run, as its config asks for it; into its place, or beside it to be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.stacking.assemble import stack_data
from ensemble.stacking.settings import meta_learner_factory, stacked_specs
from ensemble.stacking.stack import run_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.workspace import Workspace
    from ensemble.stacking.tries import TryStore


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
    return run_stack(
        directory,
        stack_data(
            workspace,
            manifest["learners"],
            config.stack.features,
            nested=list(manifest["key_parts"]["pairs"]),
            seeds={spec.name: spec.seeds for spec in stacked_specs(config)},
        ),
        meta_learner=meta_learner_factory(config),
        meta_learner_name=config.stack.meta_learner or "none",
        choose=config.without(manifest.get("left_out", ())).stack.choose,
        seed=config.seed,
        threads=config.execution.threads_per_fit(),
        manifest=manifest,
        resamples=config.stack.resamples,
        tries=tries,
        progress=progress,
        limit=config.stack.time_limit or config.execution.time_limit,
        failed=failed,
    )
