"""Learners held to their contract before anything dear is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.errors import LearnerError, TimeLimitError
from ensemble.oof.executors import runs_apart
from ensemble.oof.preflight import unfinished
from ensemble.oof.worker_process import call_of
from ensemble.oof.workers import Task, Worker
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.time_limit import time_limit, took_too_long
from ensemble.stages.shared import fail_early
from ensemble.testing.of_run import check_before_fit, unchecked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter

    Log = Callable[[str], None]

AT = "contract"
"""What a learner failed at that never came to be fitted."""
_APART = "ensemble.testing.of_run:check_in_worker"


def check_contracts(
    config: Config,
    tasks: Sequence[tuple[LearnerSpec, HeldOut]],
    reporter: Reporter,
    failures: dict[str, Failure] | None,
    budget: Budget | None = None,
) -> None:
    """Ask the learners that are to be fitted on a few battles, each where it would be fitted.

    Parameters
    ----------
    config
        The config.
    tasks
        What is to be fitted.
    reporter
        Told of each learner.
    failures
        Takes the learners that break their contract; they are not fitted. None raises the first.
    budget
        How long it may take: learners that have not been asked then are not fitted. None sets no
        limit.

    Raises
    ------
    LearnerError
        All checks that a learner fails, without ``failures``.
    """
    workspace = open_workspace(config)
    asked = [task for task in tasks if task[0].name not in (failures or {})]
    waiting = unfinished(workspace, asked)
    first = dict(reversed([(spec.name, HeldOut.of(fold)) for spec, fold in waiting]))

    def log(line: str) -> None:
        reporter.event("checked", what=line)
        reporter.log(line)

    for spec in unchecked(workspace, {spec.name: spec for spec, _ in waiting}.values()):
        asked = spec if budget is None else budget.within(Task(spec, first[spec.name])).spec
        try:
            if budget is not None and budget.left() <= 0:
                raise took_too_long(budget.limit, spec.where)
            _check(config, asked, reporter, log)
        except LearnerError as error:
            if isinstance(error, TimeLimitError) and budget is not None and asked is not spec:
                budget.hold(spec)
                reporter.log(f"{spec.name}  there is no time to check its contract")
                continue
            if failures is None:
                raise
            failure = fail_early(workspace, spec, first[spec.name], AT, error)
            failures[spec.name] = failure
            reporter.event("contract failed", learner=spec.name, error=str(error))
            reporter.log(f"{spec.name}  fails its contract: {failure.sentence}")


def unchecked_names(workspace: Workspace, specs: Iterable[LearnerSpec]) -> set[str]:
    """Name the learners that are still to be held to their contract."""
    return {spec.name for spec in unchecked(workspace, specs)}


def _check(config: Config, spec: LearnerSpec, reporter: Reporter, log: Log) -> None:
    workspace = open_workspace(config)
    label = f"{spec.name}  {AT}"
    if config.execution.executor == "in-process" or not runs_apart(spec, config.source_uses()):
        with reporter.progress(label, shown=False), time_limit(spec.time_limit, label):
            check_before_fit(workspace, spec, log)
        return

    def told(_done: float, line: str = "") -> None:
        if line:
            log(line)

    worker = Worker(config)
    try:
        request = call_of(_APART, {"learner": spec.name})
        with reporter.progress(label, shown=False, where=worker.where):
            worker.ask(request, label, spec.time_limit, told)
    finally:
        worker.end()
