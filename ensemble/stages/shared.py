"""What several stages say and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.staleness import check_sources
from ensemble.config.load import write_config
from ensemble.oof.fold_key import fold_key
from ensemble.plugin.faults import failure_of
from ensemble.plugin.files import keep_sources
from ensemble.run_dir.failure_record import write_failure
from ensemble.run_dir.layout import CONFIG

if TYPE_CHECKING:
    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.errors import EnsembleError
    from ensemble.failure import Failure
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter


def say_again(reporter: Reporter, what: str, why: str) -> None:
    """Say that something is made again, and why."""
    reporter.event("made again", what=what, why=why)
    reporter.log(f"{what}  made again: {why}")


def check_and_record(config: Config) -> None:
    """See that the prepared battles are the config's before it takes its place beside them."""
    check_sources(config)
    record_config(config)


def record_config(config: Config) -> None:
    """Write the config as resolved into the run: it says what the run is made from.

    The source of plugins that are files goes with it, and is what the run's own config names.
    """
    write_config(keep_sources(config), Path(config.run_dir) / CONFIG)


def fail_early(
    workspace: Workspace, spec: LearnerSpec, held_out: HeldOut, at: str, error: EnsembleError
) -> Failure:
    """Write down that a learner failed before it came to be fitted, and at what."""
    failure = failure_of(spec.name, at, error)
    key, _ = fold_key(spec, held_out, workspace.shared_key())
    write_failure(workspace.run, failure, key, held_out.to_json())
    return failure


def made_or_kept(made: bool) -> str:
    """Say what became of a file."""
    return "made" if made else "kept"
