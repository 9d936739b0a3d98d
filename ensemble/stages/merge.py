"""Folds of other runs, taken into this one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.config.load import load_run_config
from ensemble.errors import ConfigError
from ensemble.oof.fold_key import fold_key
from ensemble.oof.merge import TAKEN, merge_run
from ensemble.oof.origins import is_complete
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.failure_record import forget_failure, read_failure
from ensemble.run_dir.layout import LEARNERS
from ensemble.stacking.settings import learner_specs
from ensemble.stages.fit_list import record_jobs
from ensemble.stages.work import working

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.oof.merge import Offer
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import ProgressDisplay


def merge_stage(
    run: Path,
    others: Sequence[Path],
    *,
    dry_run: bool = False,
    display: ProgressDisplay | None = None,
) -> list[Offer]:
    """Take folds that were fitted elsewhere, each with proof; others are refused.

    Parameters
    ----------
    run
        The run directory.
    others
        Directories of other runs.
    dry_run
        Whether to say what would be taken, and write nothing.
    display
        Where a person watches.

    Returns
    -------
    list of Offer
        What became of each fit that the other runs have.

    Raises
    ------
    ConfigError
        A directory is no run, or it is this one.
    ArtifactError
        This run has no battles and folds yet.
    """
    config = load_run_config(run)
    _refuse_no_runs(run, others)
    with nullcontext() if dry_run else working(config, display) as reporter:
        workspace, specs = open_workspace(config), learner_specs(config)
        found: list[Offer] = []
        for other in others:
            for offer in merge_run(workspace, specs, other, dry_run=dry_run):
                found.append(offer)
                if reporter is not None and offer.outcome == TAKEN:
                    reporter.event("fit merged", learner=offer.learner, fit=offer.fit)
        if not dry_run:
            _forget_failures(workspace, specs)
            record_jobs(config)
    return found


def _refuse_no_runs(run: Path, others: Sequence[Path]) -> None:
    for other in others:
        if not (other / LEARNERS).is_dir():
            raise ConfigError(
                "there are no fits in it", where=str(other), hint="give the directory of a run"
            )
        if (other / LEARNERS).is_symlink():
            raise ConfigError(
                "its directory of fits is a link, and where it leads is not looked at",
                where=str(other / LEARNERS),
                hint="give the run that it leads to, or a copy without links",
            )
        if other.resolve() == run.resolve():
            raise ConfigError("a run cannot be merged into itself", where=str(other))


def _forget_failures(workspace: Workspace, specs: Sequence[LearnerSpec]) -> None:
    """Take away the failures of fits that are there now."""
    for spec in specs:
        record = read_failure(workspace.run, spec.name)
        if record is None:
            continue
        held_out = HeldOut.of(record.held_out)
        key, _ = fold_key(spec, held_out, workspace.shared_key())
        if is_complete(workspace.store.directory(spec.name, held_out), key):
            forget_failure(workspace.run, spec.name)
