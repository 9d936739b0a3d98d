"""Has fits made on the nodes of a cluster, and commits what comes back.

This process alone writes to the run. It keeps what a node says of a checkpoint, so that the fit of
a node that is lost goes on elsewhere; and it gives up on a fit that ends its process again and
again.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, EnsembleError, LearnerError
from ensemble.oof.adopt import adopt, refuse_other_fit
from ensemble.oof.agenda import Agenda
from ensemble.oof.cluster.jobs import JobMaker, Need
from ensemble.oof.cluster.nodes import (
    ask_for_nodes,
    disconnected,
    job_entry,
    most_on,
    room_on,
    told_on_node,
    too_large,
    why_ended,
)
from ensemble.oof.cluster.running import Running
from ensemble.oof.cluster.shipment import Shipment
from ensemble.oof.order import needed_fits
from ensemble.oof.workers import Outcome, without_fit
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.manager import GIVEN, get_manager
from ensemble.storage.atomic import remove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.config.settings import Config, Execution
    from ensemble.oof.attempt import Attempt
    from ensemble.oof.cluster.jobs import Job
    from ensemble.oof.cluster.session import Connection
    from ensemble.oof.workers import Task

DEATHS = 3
"""Times that a fit may end its process before it is no longer tried."""
LOSSES = 5
"""Times that the node of a fit may be lost."""
_WAITING = 120.0
"""Seconds that a fit waits for a node that has enough for it, once there was one."""
_GLANCE = 1.0
"""Seconds between two looks at what is not told."""
_GRACE = 15.0
"""Seconds that a node has, after the time is over, to end a fit and send its checkpoint."""
_AHEAD = 64
"""Jobs that may wait for room, so that one that needs much does not keep others back."""
_MEMORY_HINT = "see whether it takes more memory than its `resources` say; complete folds are kept"


def fit_on_cluster(
    cluster: Connection, config: Config, tasks: Sequence[Task], attempt: Attempt
) -> None:
    """Fit on the nodes of a cluster.

    What learns nothing and comes with the toolkit, what was given in Python, and soups are made
    here: the first read files of this machine, no other process knows the second, and the models
    of all folds are here.

    Parameters
    ----------
    cluster
        Joined where there is something to fit.
    config
        Of the run.
    tasks
        In the order wanted.
    attempt
        Told of each.
    """
    waiting = attempt.without_kept(tasks)
    agenda = Agenda(waiting, needed_fits(waiting, config.source_uses(), attempt.shape))
    if all(map(is_fitted_here, waiting)):
        while task := agenda.take():
            attempt.fit_here(task)
            attempt.release(task, agenda)
        return
    ray = cluster.ray()
    maker = JobMaker(config, open_workspace(config), Shipment(ray.put))
    _Fits(ray, maker, attempt, agenda, config.execution).run()


def is_fitted_here(task: Task) -> bool:
    """Say whether a fit is made in this process, whatever the cluster has."""
    entry = get_manager().base_learners.entry(task.spec.plugin)
    is_given = entry.distribution == GIVEN
    return task.spec.reads_files or is_given or task.held_out.is_soup


class _Fits:
    """Fits on their way.

    Parameters
    ----------
    ray
        Connected.
    maker
        Makes jobs.
    attempt
        Told of each fit that ends.
    agenda
        What is to be fitted.
    execution
        Says how many may be on their way, and how long one waits for a node.
    """

    def __init__(
        self, ray: Any, maker: JobMaker, attempt: Attempt, agenda: Agenda, execution: Execution
    ) -> None:
        self._ray, self._maker, self._attempt, self._agenda = ray, maker, attempt, agenda
        self._most, self._patience = execution.workers, execution.wait_for_nodes
        self._waiting: deque[Job] = deque()
        self._own: deque[Task] = deque()
        self._running: list[Running] = []
        self._unfit_since: dict[Need, float] = {}
        self._known: set[Need] = set()
        self._seen: tuple[float, list[dict[str, Any]]] = (-_GLANCE * 2, [])
        self._own_node = ray.get_runtime_context().get_node_id()
        self._remote = ray.remote(max_retries=0, num_returns="streaming")(job_entry())

    def run(self) -> None:
        """Have them fitted."""
        try:
            while self._agenda or self._own or self._waiting or self._running:
                self._fill()
                self._fit_one_here()
                self._take()
                self._stop_late()
        except self._ray.exceptions.RayError as error:
            raise disconnected(type(error).__name__) from error
        finally:
            self._cancel()

    def _fill(self) -> None:
        """Give the cluster as much as it has room for, and as much again to go on with."""
        stuck = sum(job.need in self._unfit_since for job in self._waiting)
        while len(self._waiting) - stuck < _AHEAD and (task := self._agenda.take()):
            if is_fitted_here(task):
                self._own.append(task)
            elif (made := self._made(task)) is not None:
                self._waiting.append(made)
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            if job.task.spec.name in self._attempt.failed:
                continue
            if not self._places(job.need):
                self._waiting.extend([] if self._is_given_up(job) else [job])
            elif self._may_start(job):
                self._submit(job)
            else:
                self._waiting.append(job)

    def _fit_one_here(self) -> None:
        """Fit one of those that this process makes, while the cluster has something to do."""
        if self._own:
            task = self._own.popleft()
            self._attempt.fit_here(task)
            self._attempt.release(task, self._agenda)

    def _made(self, task: Task) -> Job | None:
        if task.spec.name in self._attempt.failed:
            return None
        try:
            return self._maker.job(task)
        except EnsembleError as error:
            self._fail(task, error)
            return None

    def _may_start(self, job: Job) -> bool:
        if self._most and len(self._running) >= self._most:
            return False
        self._known.add(job.need)
        if self._unfit_since.pop(job.need, None) is not None and self._patience:
            ask_for_nodes([*self._unfit_since])
        if self._attempt.is_limited:
            return self._has_room_now(job.need)  # what waited would not end when it should
        alike = sum(one.job.need == job.need for one in self._running)
        return alike < 2 * self._places(job.need)

    def _has_room_now(self, need: Need) -> bool:
        """Say whether a fit begins as soon as it is asked for, beside all that are on their way."""
        asked = [*(one.job.need for one in self._running), need]
        had = [most_on(node) for node in self._nodes()]
        return all(sum(map(of, asked)) <= sum(map(of, had)) for of in map(itemgetter, range(3)))

    def _places(self, need: Need) -> int:
        """Say how many fits that need so much the nodes have room for at a time."""
        return sum(room_on(node, need) for node in self._nodes())

    def _nodes(self) -> list[dict[str, Any]]:
        seen, nodes = self._seen
        if time.monotonic() - seen > _GLANCE:
            known = self._ray.nodes()
            if any(one["NodeID"] == self._own_node and not one["Alive"] for one in known):
                raise disconnected("the node of this process is gone")
            nodes = [node for node in known if node["Alive"]]
            self._seen = time.monotonic(), nodes
        return nodes

    def _is_given_up(self, job: Job) -> bool:
        """Say whether nobody waits any more for a node that has enough for a fit; then it fails.

        One may come back where there was one, and join where the config says to wait for it.
        """
        if job.need not in self._unfit_since:
            self._unfit_since[job.need] = time.monotonic()
            if self._patience:
                ask_for_nodes([*self._unfit_since])
        patience = max(self._patience, _WAITING if job.need in self._known else 0.0)
        if time.monotonic() - self._unfit_since[job.need] >= patience:
            self._fail(job.task, too_large(job.need, self._nodes(), job.label))
            return True
        return self._admitted(job) is None  # the time of all is over

    def _admitted(self, job: Job) -> Task | None:
        admitted = self._attempt.admit(job.asked)
        if admitted is None:
            self._attempt.release(job.asked, self._agenda)
        return admitted

    def _submit(self, job: Job) -> None:
        admitted = self._admitted(job)
        if admitted is None:
            return
        job.task = admitted
        try:
            told, digests = self._maker.described(job)
        except EnsembleError as error:
            self._fail(job.task, error)
            return
        options = {"num_cpus": job.need.cpus, "num_gpus": job.need.gpus, "memory": job.need.memory}
        messages = self._remote.options(name=job.label, **options).remote(
            told, self._maker.shipment.parts(digests)
        )
        self._running.append(Running(job, messages))

    def _take(self) -> None:
        """Take a message of each fit that has one."""
        if not self._running:
            time.sleep(_GLANCE if self._waiting and not self._own else 0.0)
            return
        by_messages = {one.messages: one for one in self._running}
        ready, _ = self._ray.wait(
            list(by_messages), num_returns=len(by_messages), timeout=0.0, fetch_local=False
        )
        if not ready and not self._own:
            ready, _ = self._ray.wait(
                list(by_messages), num_returns=1, timeout=_GLANCE, fetch_local=False
            )
        for messages in ready:
            self._take_one(by_messages[messages])

    def _take_one(self, running: Running) -> None:
        try:
            message = self._ray.get(next(running.messages))
        except StopIteration:
            self._retry(running, "its messages ended", is_loss=True)
            return
        except self._ray.exceptions.RayError as error:
            self._retry(running, *why_ended(self._ray, error))
            return
        what = message["what"]
        if what == "started":
            self._started(running, message["node"])
        elif what == "progress" and running.progress is not None:
            running.progress(message["done"], message["message"])
        elif what == "checkpoint":
            self._keep_checkpoint(running, message)
        elif what == "result":
            self._take_result(running, message)
        elif what == "failed":
            self._failed(running, message)

    def _started(self, running: Running, node: str) -> None:
        task = running.job.task
        told = {"learner": task.spec.name, "held_out": task.held_out.to_json()}
        self._attempt.reporter.event("fit started", **told, node=node)
        running.progress = running.watched.enter_context(
            self._attempt.watch(task, f"node {node}", shown=False)
        )

    def _keep_checkpoint(self, running: Running, message: Mapping[str, Any]) -> None:
        """Keep a checkpoint; one that came damaged is not worth the fit that goes on."""
        try:
            if running.checkpoint.take(message):
                running.checkpoint.put_checkpoint(message["listing"])
        except ArtifactError as error:
            running.checkpoint.abandon()
            told = {"learner": running.job.task.spec.name, "why": error.message}
            self._attempt.reporter.event("checkpoint refused", **told)

    def _take_result(self, running: Running, message: Mapping[str, Any]) -> None:
        try:
            is_whole = running.result.take(message)
        except ArtifactError as error:
            self._retry(running, error.message, is_loss=False)
            return
        if is_whole:
            self._commit(running, message["seconds"])

    def _stop_late(self) -> None:
        """Stop what should have been done by now: it waits for a node, or its node is silent."""
        for one in [one for one in self._running if self._is_late(one)]:
            with suppress(Exception):  # its node may be gone
                self._ray.cancel(one.messages, force=True)
            self._drop(one)
            task = one.job.task
            self._end(Outcome(task.spec, task.held_out, False, 0.0, stopped=True))

    def _is_late(self, running: Running) -> bool:
        left = self._attempt.seconds_left(running.job.task)
        if left is None or left > 0:
            return False
        return running.progress is None or left < -_GRACE

    def _commit(self, running: Running, seconds: float) -> None:
        """Put a fold in its place, once it is seen to be what was asked for."""
        job, stage = running.job, running.result.stage
        spec, held_out = job.task.spec, job.task.held_out
        try:
            refuse_other_fit(stage, self._maker.workspace.store, spec.name, held_out, job.key)
        except ArtifactError as error:
            self._retry(running, error.message, is_loss=False)
            return
        self._running.remove(running)
        running.watched.close()
        adopt(stage, job.directory)
        running.checkpoint.abandon()
        remove(job.checkpoint)
        self._end(Outcome(spec, held_out, fitted=True, seconds=seconds))

    def _failed(self, running: Running, message: Mapping[str, Any]) -> None:
        told = message["error"]
        if message["died"]:
            self._retry(running, told["message"], is_loss=False, told=told)
            return
        self._drop(running)
        self._fail(running.job.task, told_on_node(told))

    def _retry(
        self, running: Running, why: str, is_loss: bool, told: Mapping[str, Any] | None = None
    ) -> None:
        """Try a fit again, unless it has ended its process too often."""
        self._drop(running)
        job = running.job
        job.lost += is_loss
        job.died += not is_loss
        spec, held_out = job.task.spec, job.task.held_out
        about = {"learner": spec.name, "held_out": held_out.to_json(), "why": why}
        if job.died < DEATHS and job.lost < LOSSES:
            self._attempt.reporter.event("fit lost", **about)
            self._attempt.reporter.log(f"{job.label}  is tried again: {why}")
            self._waiting.appendleft(job)
            return
        times = f"{job.died} times" if not is_loss else f"with {job.lost} nodes"
        told = told or {}
        error = LearnerError(
            f"it ended {times}, at last: {why}",
            where=told.get("where") or job.label,
            hint=told.get("hint") or _MEMORY_HINT,
        )
        self._fail(job.task, error)

    def _drop(self, running: Running) -> None:
        self._running.remove(running)
        running.abandon()

    def _fail(self, task: Task, error: EnsembleError) -> None:
        self._end(without_fit(task, error, 0.0))
        # Without a place for failures the first has been raised.

    def _end(self, outcome: Outcome) -> None:
        self._attempt.tell(outcome)
        self._attempt.release(outcome, self._agenda)

    def _cancel(self) -> None:
        """End what is still on its way; checkpoints that came of it stay."""
        for running in self._running:
            with suppress(Exception):  # the cluster may be gone
                self._ray.cancel(running.messages, force=True)
            running.abandon()
        self._running.clear()
