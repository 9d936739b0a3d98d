"""Workers that take tasks from one agenda, each in a thread of its parent."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Self

from ensemble.errors import EnsembleError
from ensemble.interrupts import uninterrupted
from ensemble.oof.worker_process import label_of
from ensemble.oof.workers import Outcome, Worker, no_progress, visible_only, without_fit
from ensemble.plugin.contract import resources_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from ensemble.config.settings import Config
    from ensemble.oof.agenda import Agenda
    from ensemble.oof.room import Room
    from ensemble.oof.workers import Task

    Watch = Callable[["Task", str], AbstractContextManager[Callable[..., None]]]


class Crew:
    """Workers that take tasks from one agenda; whoever made it may take some too.

    Parameters
    ----------
    config
        Of the run.
    agenda
        What they take; whoever takes it says when something has ended on which others wait.
    lasting
        Whether a worker fits one task after the other, or only one, so that what a model leaves in
        memory ends with it.
    forgiving
        Whether the others go on where a task fails, which is told with its error.
    failed
        Names of learners that have failed, whose tasks nobody takes any more; those that fail here
        are added. None lets the tasks of one learner fail one by one.
    watch
        ``watch(task, where)`` opens what is told of the progress of a task; None tells nobody.
    admit
        Gives a task as it may be started now, or None where it may not; None admits all.
    room
        What tasks have to wait for: memory, GPUs; None lets each begin.
    """

    def __init__(
        self,
        config: Config,
        agenda: Agenda,
        *,
        lasting: bool,
        forgiving: bool = False,
        failed: set[str] | None = None,
        watch: Watch | None = None,
        admit: Callable[[Task], Task | None] | None = None,
        room: Room | None = None,
    ) -> None:
        self._config, self._lasting, self._forgiving = config, lasting, forgiving
        self._failed, self._watch, self._admit, self._room = failed, watch, admit, room
        self._agenda = agenda
        self._ended: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()
        self._workers: list[Worker] = []
        self._threads: list[Thread] = []
        self._serving = 0
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody may go on writing once the run's lock is free, nor the user wait for hours.
        with uninterrupted():
            self._stopped = True
            self._agenda.drop()
            for worker in list(self._workers):
                worker.end()
            for thread in self._threads:
                thread.join()

    @property
    def working(self) -> bool:
        """Whether workers have been started."""
        return bool(self._threads)

    def __len__(self) -> int:
        """Say how many tasks nobody has taken."""
        return len(self._agenda)

    def start(self, devices: Sequence[str | None]) -> None:
        """Start a worker for each device (None: as the config says)."""
        for device in devices:
            # In the verb that started them: what it has read of files stays as it was.
            serve = partial(copy_context().run, self._serve, device)
            self._threads.append(Thread(target=serve, daemon=True))
            self._serving += 1
            self._threads[-1].start()

    def take(self) -> Task | None:
        """Take the next task; None where there is none left that could begin."""
        while task := self._next():
            if admitted := self._admitted(task):
                return admitted
        return None

    def _next(self, *, patient: bool = False) -> Task | None:
        while task := self._agenda.take(patient=patient):
            if task.spec.name not in (self._failed or ()):
                return task
        return None

    def _admitted(self, task: Task) -> Task | None:
        admitted = self._admit(task) if self._admit else task
        if admitted is None:
            self._agenda.ended(task.spec, task.held_out)
        return admitted

    def ended(self) -> Iterator[Outcome]:
        """Give what workers have ended by now.

        Raises
        ------
        EnsembleError
            The first task that failed.
        """
        with suppress(Empty):
            while True:
                outcome = self._ended.get_nowait()
                if outcome is None:
                    self._serving -= 1
                else:
                    yield _unless_failed(outcome)

    def all_ended(self) -> Iterator[Outcome]:
        """Give the rest, as it ends; raises as ``ended`` does."""
        while self._serving:
            outcome = self._ended.get()
            if outcome is None:
                self._serving -= 1
            else:
                yield _unless_failed(outcome)

    def _serve(self, device: str | None) -> None:
        """Have tasks fitted until there are none, in a thread for each worker."""
        worker: Worker | None = None
        try:
            while not self._stopped and (waiting := self._next(patient=True)):
                with self._room_for(waiting) as gpus:
                    task = self._admitted(waiting)  # now: it may have waited for long
                    if task is None:
                        continue
                    if worker is None:
                        worker = Worker(self._config, device, visible_only(gpus))
                        self._workers.append(worker)
                        if self._stopped:  # meanwhile: nobody else would end it
                            break
                    self._ended.put(self._outcome(worker, task))
                    if not self._lasting or not worker.is_alive:
                        worker.end()
                        worker = None
        except BaseException as error:  # told to whoever waits
            self._ended.put(error)
        finally:
            if worker is not None:
                worker.end()
            self._ended.put(None)

    def _room_for(self, task: Task) -> AbstractContextManager[tuple[str, ...]]:
        if self._room is None:
            return nullcontext(())
        need = resources_of(task.spec.prototype, task.spec.where)
        label = label_of(task.spec, task.held_out)
        return self._room.taken(need, label, lambda: self._stopped)

    def _outcome(self, worker: Worker, task: Task) -> Outcome:
        began = time.perf_counter()
        watch = self._watch or (lambda _task, _where: nullcontext(no_progress))
        try:
            with watch(task, worker.where) as progress:
                return worker.fit(task, progress)
        except EnsembleError as error:
            worker.end()  # what failed may have left memory full, or a thread that computes
            outcome = without_fit(task, error, time.perf_counter() - began)
            if outcome.stopped:
                return outcome
            if not self._forgiving:
                raise
            if self._failed is not None:
                self._failed.add(task.spec.name)
            return outcome


def _unless_failed(outcome: Outcome | BaseException) -> Outcome:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
