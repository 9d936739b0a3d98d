"""One go at fitting: what is told of each fold, which learners fail, and who has to wait for them.

A learner fails alone: its folds that are complete stay, no further one is started, and learners
that need it are not fitted. The failure is kept beside its folds until it has been fitted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble.failure import Failure
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.dependencies import fitted_before
from ensemble.oof.fold_key import fold_key
from ensemble.oof.origins import is_complete
from ensemble.oof.soup_check import told_check
from ensemble.oof.worker_process import label_of
from ensemble.oof.workers import Outcome, Task, without_fit
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.faults import failure_of, plugin_errors
from ensemble.plugin.observers import observe
from ensemble.plugin.time_limit import can_limit, time_limit
from ensemble.run_dir.failure_record import write_failure
from ensemble.run_dir.reporter import traceback_of
from ensemble.run_dir.stack_files import peek_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.oof.agenda import Agenda
    from ensemble.oof.budget import Budget
    from ensemble.oof.fold_key import FitKeys
    from ensemble.oof.spec import LearnerSpec
    from ensemble.run_dir.reporter import Reporter


class Attempt:
    """Tells of folds as they end.

    Parameters
    ----------
    config
        Of the run.
    reporter
        Told of each fold.
    failures
        Takes what fails, by learner; None raises the first.
    budget
        How long all of it may take; None sets no limit.
    """

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        failures: dict[str, Failure] | None,
        budget: Budget | None = None,
    ) -> None:
        self.reporter, self.fitted, self._budget = reporter, 0, budget
        self.goes_on = failures is not None
        self._config, self._failures = config, {} if failures is None else failures
        self.failed: set[str] = set(self._failures)
        """Names of the learners whose folds nobody starts any more."""
        self._workspace = open_workspace(config)
        self.shape = self._workspace.shape

    def startable(self, tasks: Sequence[Task]) -> list[Task]:
        """Give the tasks of learners that have not failed, and that need none that has."""
        uses = self._config.source_uses()
        for task in tasks:
            needed = [one.name for one in fitted_before(task.spec, uses)]
            missing = [name for name in needed if name in self.failed]
            if missing and task.spec.name not in self.failed and not self._is_kept(task):
                self._skip(task, missing[0])
        return [task for task in tasks if task.spec.name not in self.failed]

    def without_kept(self, tasks: Sequence[Task]) -> list[Task]:
        """Tell of the tasks that are complete, and give the others: only these need a worker."""
        waiting, keys = [], self._workspace.fit_keys()
        for task in tasks:
            if task.spec.name in self.failed:
                continue
            if self._is_kept(task, keys):
                self.tell(Outcome(task.spec, task.held_out, fitted=False, seconds=0.0))
            else:
                waiting.append(task)
        return waiting

    def incomplete(self, tasks: Sequence[Task]) -> list[Task]:
        """Give the tasks that are not complete yet."""
        keys = self._workspace.fit_keys()
        return [task for task in tasks if not self._is_kept(task, keys)]

    def admit(self, task: Task) -> Task | None:
        """Give a task as it may be started now; None where time is too short for it.

        Whoever starts tasks asks before each, just before it starts.
        """
        if self._budget is None or task.cut or self._is_kept(task):
            return task
        if self._budget.admits(task, self._config.source_uses(), self.shape):
            return self._budget.within(task)
        return None

    @property
    def is_limited(self) -> bool:
        """Whether there is a time limit for all fits together."""
        return self._budget is not None

    def seconds_left(self, task: Task) -> float | None:
        """Give the seconds that a fit still has; None where nothing limits it."""
        return None if self._budget is None else self._budget.left_for(task)

    def watch(
        self, task: Task, where: str | None = None, *, shown: bool = True
    ) -> AbstractContextManager[Callable[..., None]]:
        """Open what is told of the progress of a task: ``progress(done, message)``.

        Parameters
        ----------
        task
            It is going on while the context is open.
        where
            What does it: a process, a device, a node. None is this process.
        shown
            Whether it has a progress bar, of which a terminal shows one at a time.
        """
        told: dict[str, Any] = {"where": where} if where else {}
        if task.spec.time_limit is not None:
            told["limit"] = round(task.spec.time_limit, 1)
        return self.reporter.progress(
            label_of(task.spec, task.held_out),
            shown=shown,
            learner=task.spec.name,
            fit=task.held_out.name,
            **told,
        )

    def fit_here(self, task: Task, threads: int | None = None) -> None:
        """Fit in this process, with so many threads where it is not the config that says it."""
        if task.spec.name in self.failed or (admitted := self.admit(task)) is None:
            return
        self._warn_if_unlimited(task.spec)
        task = admitted
        spec, held_out = task.spec, task.held_out
        label, started = label_of(spec, held_out), time.perf_counter()
        workspace = self._workspace if threads is None else self._workspace.with_threads(threads)
        try:
            with self.watch(task) as progress, time_limit(spec.time_limit, label):
                fitted = fit_fold(workspace, spec, held_out, progress)
        except plugin_errors() as caught:
            error = caught if isinstance(caught, Exception) else LearnerError(str(caught))
            outcome = without_fit(task, error, time.perf_counter() - started)
            if not (self.goes_on or outcome.stopped):
                raise
            self.tell(outcome)
        else:
            self.tell(Outcome(spec, held_out, fitted, time.perf_counter() - started))

    def release(self, ended: Task | Outcome, agenda: Agenda) -> None:
        """Let begin what needs a task that has ended, or leave it out with a learner that failed.

        Whoever has told of the end of a task says so, before another may begin that needs it.
        """
        if ended.spec.name in self.failed:
            self.startable(agenda.waiting)
            agenda.drop(lambda task: task.spec.name in self.failed)
        agenda.ended(ended.spec, ended.held_out)

    def tell(self, outcome: Outcome) -> None:
        """Tell of a task that has ended; a failure is kept, or raised."""
        spec, held_out, fitted, seconds, error, stopped = outcome
        if self._budget is not None:
            self._budget.ended(spec, held_out)
        kind = held_out.kind if held_out.is_joint else "fold"
        done = "averaged" if held_out.is_soup else "fitted"
        told: dict[str, Any] = {"learner": spec.name, kind: held_out.to_json()}
        if stopped:
            self._stop(outcome, f"{kind} stopped", told)
            return
        if error is not None:
            self._fail(outcome, error, f"{kind} failed", told)
            return
        what = f"{kind} {done if fitted else 'kept'}"
        self.reporter.event(what, **told, seconds=round(seconds, 3))
        if not fitted:
            return
        self.fitted += 1
        more = self._more(spec, held_out)
        self.reporter.log(f"{label_of(spec, held_out)}  {done} in {seconds:.1f} s{more}")
        if not (held_out.is_joint or held_out.is_soup):
            self._notify(spec, held_out, seconds)

    def _fail(self, outcome: Outcome, error: Exception, what: str, told: dict[str, Any]) -> None:
        if not self.goes_on:
            raise error
        spec, held_out = outcome.spec, outcome.held_out
        failure = failure_of(spec.name, held_out.label, error)
        seconds = round(outcome.seconds, 3)
        self.reporter.event(what, **told, error=str(error), seconds=seconds, **traceback_of(error))
        self.reporter.log(f"{label_of(spec, held_out)}  failed: {failure.sentence}")
        if spec.name not in self._failures:
            self._keep(spec, outcome, failure)

    def _stop(self, outcome: Outcome, what: str, told: dict[str, Any]) -> None:
        spec, held_out = outcome.spec, outcome.held_out
        if self._budget is not None:
            self._budget.leave(Task(spec, held_out))
            self._budget.hold(spec)
        self.reporter.event(what, **told, seconds=round(outcome.seconds, 3))
        self.reporter.log(f"{label_of(spec, held_out)}  stopped: the time limit is reached")

    def _skip(self, task: Task, missing: str) -> None:
        """Leave out a learner, since one that it needs has failed."""
        name = task.spec.name
        failure = Failure(name, "not fitted", f'it needs "{missing}", which failed', needs=missing)
        self.reporter.event("learner skipped", learner=name, needs=missing)
        self.reporter.log(f"{name}  not fitted: {failure.reason}")
        self._keep(task.spec, task, failure)

    def _keep(self, spec: LearnerSpec, of: Task | Outcome, failure: Failure) -> None:
        # On a disk that takes nothing this fails too, and ends it all: no other learner can go on.
        self.failed.add(spec.name)
        self._failures[spec.name] = failure
        key, _ = fold_key(spec, of.held_out, self._workspace.shared_key())
        write_failure(self._workspace.run, failure, key, of.held_out.to_json())

    def _is_kept(self, task: Task, keys: FitKeys | None = None) -> bool:
        key, _ = (keys or self._workspace.fit_keys()).of(task.spec, task.held_out)
        return is_complete(self._workspace.store.directory(task.spec.name, task.held_out), key)

    def _warn_if_unlimited(self, spec: LearnerSpec) -> None:
        if spec.time_limit is not None and not can_limit():
            self.reporter.warn(
                f"time_limit of {spec.name} is not kept: it is fitted in a thread of this process"
            )

    def _notify(self, spec: LearnerSpec, held_out: HeldOut, seconds: float) -> None:
        """Tell observers of a fold or refit."""
        directory = self._workspace.store.directory(spec.name, held_out)
        score = peek_manifest(directory).get("score") or {}
        observe(
            self.reporter,
            "fold_fitted",
            lambda: {
                "learner": spec.name,
                "fold": None if held_out.is_refit else held_out.folds[0],
                "directory": directory,
                "seconds": seconds,
                "score": score.get("log_loss"),
                "parameters": spec.all_parameters(),
            },
        )

    def _more(self, spec: LearnerSpec, held_out: HeldOut) -> str:
        """Say what there is to say of a fit: rows without a prediction, the check of a soup."""
        manifest = peek_manifest(self._workspace.store.directory(spec.name, held_out))
        if held_out.is_soup:
            return f": {told_check(manifest).sentence}"
        rows = manifest["rows"]
        missing, due = rows.get("missing", 0), rows["held_out"]
        return f"; {missing:,} of {due:,} rows have no prediction" if missing else ""
