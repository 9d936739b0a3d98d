"""OOF logits to candidates and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.oof.workspace import open_workspace
from ensemble.plugin.observers import observe
from ensemble.run_dir.layout import STACK
from ensemble.run_dir.stack_files import read_verdict
from ensemble.stacking.build import is_from_outside, make_stack, make_stack_apart
from ensemble.stacking.made_from import stack_manifest, why_stacked_again
from ensemble.stacking.remember import open_tries
from ensemble.stages.shared import check_and_record, say_again

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter

    Progress = Callable[..., None]


def _make(
    config: Config, workspace: Workspace, manifest: Mapping[str, Any], progress: Progress
) -> None:
    """Make the stack; a meta-learner from outside runs apart, and is left out where it dies."""
    directory, failed = workspace.run / STACK, []
    if is_from_outside(config) and config.execution.executor != "in-process":
        failure = make_stack_apart(config, directory, manifest, progress=progress)
        if failure is None:
            return
        failed.append(failure)
    tries = open_tries(workspace)
    make_stack(
        config, workspace, directory, manifest, tries=tries, progress=progress, failed=failed
    )


def _forgotten(workspace: Workspace) -> str | None:
    """Say where a score is corrected for more tries than are there; None where it is for all."""
    counted = read_verdict(workspace.run / STACK)["tries"]["n"]
    known = open_tries(workspace).count()
    return (
        f"it is corrected for {counted} tries, and {known} are there" if known < counted else None
    )


def stack_stage(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Turn OOF logits into candidates and a verdict."""
    check_and_record(config)
    workspace = open_workspace(config)
    manifest = stack_manifest(config, workspace)
    directory = workspace.run / STACK
    if forgotten := open_tries(workspace).mend():
        reporter.warn(forgotten)
    why = why_stacked_again(directory, manifest, retry=True)
    why = why if why is not None else _forgotten(workspace)
    if why is not None:
        if why:
            say_again(reporter, "stack", why)
        with reporter.stage("stack"), reporter.progress("stack") as progress:
            _make(config, workspace, manifest, progress)
    verdict = read_verdict(directory)
    if why is not None:
        told = {"verdict": verdict, "directory": directory}
        observe(reporter, "stack_decided", lambda: told)
    reporter.event("verdict", chosen=verdict["chosen"], rule=verdict["rule"])
    reporter.log(verdict["sentence"])
    return verdict
