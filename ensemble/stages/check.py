"""Learners checked on a few battles, before they are fitted on all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import EnsembleError
from ensemble.oof.check import PREFLIGHT, Finding, own_finding, stored_findings
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.preflight import faults_of, stack_faults
from ensemble.stages.fit_list import chosen_specs, fits_of
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.resources import AT as RESOURCES
from ensemble.stages.resources import known_shortages
from ensemble.stages.split import split_stage
from ensemble.testing.of_run import spec_findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter


def check_stage(
    config: Config, reporter: Reporter, learners: Sequence[str] | None = None, rows: int = 6
) -> list[Finding]:
    """Check learners on a few battles; nothing but battles and plan is written.

    Parameters
    ----------
    config
        The config.
    reporter
        Told of each finding.
    learners
        Names of the learners to check; None checks all.
    rows
        Battles of each check.

    Raises
    ------
    ConfigError
        No learner is called so.
    """
    specs = chosen_specs(config, learners)
    prepare_stage(config, reporter)
    split_stage(config, reporter)
    workspace, found = open_workspace(config), []
    with reporter.stage("check"):
        for finding in _findings(config, workspace, specs, rows):
            found.append(finding)
            reporter.event("check", **finding.to_json())
    return found


def _findings(
    config: Config, workspace: Workspace, specs: Sequence[LearnerSpec], rows: int
) -> Iterator[Finding]:
    yield from _too_large(config, specs)
    for spec in specs:
        faults = faults_of(workspace, spec)
        yield Finding(spec.name, PREFLIGHT, not faults, "\n".join(faults))
        if not faults:
            yield from _asked(workspace, spec, rows)
    faults = stack_faults(config, workspace)
    if config.stack.features:
        yield Finding("stack", PREFLIGHT, not faults, "\n".join(faults))


def _too_large(config: Config, specs: Sequence[LearnerSpec]) -> Iterator[Finding]:
    """Tell of learners that declare more than there is; that a cluster is there, too."""
    try:
        found = known_shortages(config, fits_of(config, specs))
    except EnsembleError as error:
        yield Finding("cluster", RESOURCES, False, str(error))
        return
    for one in found:
        yield Finding(
            one.spec.name, RESOURCES, not one.is_fatal, str(one.error), warning=not one.is_fatal
        )


def _asked(workspace: Workspace, spec: LearnerSpec, rows: int) -> Iterator[Finding]:
    """Ask a learner by the kit, by its own check, and by what is stored of it."""
    yield from spec_findings(workspace, spec)
    own = own_finding(workspace, spec, rows)
    if own is not None:
        yield own
    yield from stored_findings(workspace, spec, rows)
