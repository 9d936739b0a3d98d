"""Learners held to their contract before anything dear is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ensemble.battles.held_out import HeldOut
from ensemble.errors import LearnerError, TimeLimitError
from ensemble.interrupts import uninterrupted
from ensemble.oof.executors import is_light, runs_apart
from ensemble.oof.preflight import unfinished
from ensemble.oof.worker_process import call_of
from ensemble.oof.workers import Task, Worker
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.contract import resources_of
from ensemble.plugin.time_limit import time_limit, took_too_long
from ensemble.stages.shared import fail_early
from ensemble.storage.owned import OwnedPlace
from ensemble.testing.fresh import TRIALS
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
_LARGEST = 2 << 30
"""Bytes of memory with which a process is not asked for another learner."""


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
    tasks = [task for task in tasks if task[0].name not in (failures or {})]
    waiting = unfinished(workspace, tasks)
    first = dict(reversed([(spec.name, HeldOut.of(fold)) for spec, fold in waiting]))

    def log(line: str) -> None:
        reporter.event("checked", what=line)
        reporter.log(line)

    with _Checker(config, reporter, log) as checker:
        for spec in unchecked(workspace, {spec.name: spec for spec, _ in waiting}.values()):
            task = Task(spec, first[spec.name])
            asked = spec if budget is None else budget.within(task).spec
            try:
                if budget is not None and budget.left_for(task) <= 0:
                    raise took_too_long(budget.limit, spec.where)
                checker.ask(asked, once=asked is not spec)
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


class _Checker:
    """Asks learners where they would be fitted.

    Light ones that are fitted elsewhere are asked one after the other in one process, to start
    which takes longer than to ask. What fails there is asked again in a fresh one, so that no
    learner pays for what another left behind. All others have a process each.

    Parameters
    ----------
    config
        The config.
    reporter, log
        Told of each learner.
    """

    def __init__(self, config: Config, reporter: Reporter, log: Log) -> None:
        self._config, self._reporter, self._log = config, reporter, log
        self._worker: Worker | None = None
        """The one that light learners share, while it is as good as new."""
        self._place: OwnedPlace | None = None
        """For temporary files of workers: one that is killed puts nothing away."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._end()
            if self._place is not None:
                self._place.remove()

    def ask(self, spec: LearnerSpec, *, once: bool) -> None:
        """Ask a learner.

        Parameters
        ----------
        spec
            The learner.
        once
            Whether there is no time to ask again.

        Raises
        ------
        LearnerError
            As ``check_before_fit``; or its process died, or took too long.
        """
        config, label = self._config, f"{spec.name}  {AT}"
        if config.execution.executor == "in-process" or not runs_apart(spec, config.source_uses()):
            with self._reporter.progress(label, shown=False), time_limit(spec.time_limit, label):
                check_before_fit(open_workspace(config), spec, self._log)
        elif is_light(spec) and not resources_of(spec.prototype, spec.where).gpus:
            is_used = self._worker is not None
            try:
                self._ask_in_shared(spec, label)
            except LearnerError:
                if once or not is_used:
                    raise
                self._ask_in_shared(spec, label)
        else:
            worker = self._new_worker()
            try:
                self._ask_in(worker, spec, label)
            finally:
                worker.end()

    def _ask_in_shared(self, spec: LearnerSpec, label: str) -> None:
        worker = self._worker = self._worker or self._new_worker()
        is_clean = False
        try:
            is_clean = self._ask_in(worker, spec, label)
        finally:
            if not is_clean or worker.memory > _LARGEST:
                self._end()

    def _new_worker(self) -> Worker:
        self._place = self._place or OwnedPlace(TRIALS)
        return Worker(self._config, environment={"TMPDIR": str(self._place.path)})

    def _ask_in(self, worker: Worker, spec: LearnerSpec, label: str) -> bool:
        """Ask in a process; gives whether that is as it was."""

        def told(_done: float, line: str = "") -> None:
            if line:
                self._log(line)

        request = call_of(_APART, {"learner": spec.name})
        with self._reporter.progress(label, shown=False, where=worker.where):
            return bool(worker.ask(request, label, spec.time_limit, told)["value"])

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
