"""Learners that declare more than there is, told before anything dear starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.oof.capacity import shortages
from ensemble.oof.cluster.session import connection
from ensemble.oof.preflight import unfinished
from ensemble.oof.workspace import open_workspace
from ensemble.stages.shared import fail_early

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.capacity import Shortage
    from ensemble.oof.cluster.session import Connection
    from ensemble.oof.spec import LearnerSpec
    from ensemble.run_dir.reporter import Reporter

    Fit = tuple[LearnerSpec, HeldOut]

AT = "resources"
"""What a learner failed at that declares more than there is."""


def refuse_too_large(
    config: Config,
    tasks: Sequence[Fit],
    cluster: Connection,
    reporter: Reporter,
    failures: dict[str, Failure] | None,
) -> None:
    """Fail learners that no node, or not this machine, has enough for; warn where it is not sure.

    Parameters
    ----------
    config
        The config.
    tasks
        All fits; learners whose fits are all there are not asked.
    cluster
        Joined where something goes there.
    reporter
        Told of each learner.
    failures
        Takes the learners that are not fitted. None raises the first.

    Raises
    ------
    LearnerError
        The first, without ``failures``.
    EnsembleError
        The cluster cannot be reached.
    """
    workspace = open_workspace(config)
    waiting = [(spec, HeldOut.of(fold)) for spec, fold in unfinished(workspace, tasks)]
    for found in shortages(config, waiting, cluster):
        if not found.is_fatal:
            reporter.warn(told(found))
        elif failures is None:
            raise found.error
        else:
            spec = found.spec
            failure = fail_early(workspace, spec, found.held_out, AT, found.error)
            failures[spec.name] = failure
            reporter.event("learner too large", learner=spec.name, error=str(found.error))
            reporter.log(f"{spec.name}  is not fitted: {failure.sentence}")


def known_shortages(config: Config, fits: Sequence[Fit]) -> list[Shortage]:
    """Find the same for a plan or a check, where nothing is fitted.

    A cluster that is there is joined and asked. One that would be started for the fits has what
    this machine has, and is not asked.

    Raises
    ------
    EnsembleError
        The cluster cannot be reached.
    """
    if config.execution.executor == "ray" and config.execution.address is None:
        execution = config.execution.model_copy(update={"executor": "processes"})
        config = config.model_copy(update={"execution": execution})
    with connection(config.execution, None) as cluster:
        return list(shortages(config, fits, cluster))


def told(found: Shortage) -> str:
    """Say it in one line."""
    return f"{found.spec.name}: {found.error.message} ({found.error.hint})"
