"""Where folds are fitted: in this process, beside each other, or each in a fresh process."""

from __future__ import annotations

import time
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.oof.agenda import Agenda
from ensemble.oof.attempt import Attempt
from ensemble.oof.cluster.driver import fit_on_cluster
from ensemble.oof.cluster.session import connection
from ensemble.oof.crew import Crew
from ensemble.oof.dependencies import fitted_before
from ensemble.oof.order import in_waves, is_dear, needed_fits
from ensemble.oof.room import Room
from ensemble.oof.workers import Outcome, Task, refuse_hidden
from ensemble.plugin.contract import resources_of
from ensemble.plugin.manager import DISTRIBUTION, GIVEN, get_manager
from ensemble.processes import affordable_copies, available_cores, visible_gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.config.source_settings import SourceSettings
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.order import Wave
    from ensemble.oof.spec import LearnerSpec
    from ensemble.run_dir.reporter import Reporter

WORTH_A_WORKER = 2.0
"""Seconds of fitting after which workers are started: about what a start costs, so that however
long it goes on, no more than that is lost by having waited, or by having started."""


def execute(
    config: Config,
    tasks: Sequence[tuple[LearnerSpec, FoldLike]],
    reporter: Reporter,
    failures: dict[str, Failure] | None = None,
    budget: Budget | None = None,
) -> int:
    """Fit every task that is not complete yet, one of every learner first (``ensemble.oof.order``).

    Parameters
    ----------
    config
        Says which executor, how many workers and threads.
    tasks
        Learners and what is held out, those of one learner in the order wanted; one that is named
        twice is fitted once.
    reporter
        Told of each fold.
    failures
        Takes, by learner, what fails: the other learners go on, no further fold of it is started,
        nor any of a learner that needs it. Learners that are in it are not fitted. None ends it all
        with the first failure.
    budget
        How long all of it may take, and what was left undone for it; None sets no limit.

    Returns
    -------
    int
        How many were fitted; the rest was there, failed, or was left undone.

    Raises
    ------
    LearnerError
        The first that failed, without ``failures``; folds that were complete by then are kept.
    EnsembleError
        The disk takes nothing.
    """
    different = {
        (spec.name, HeldOut.of(fold)): Task(spec, HeldOut.of(fold)) for spec, fold in tasks
    }
    attempt = Attempt(config, reporter, failures, budget)
    waves = _in_waves([*different.values()], config, attempt, budget)
    with connection(config.execution, reporter) as cluster:
        run = _RUN.get(config.execution.executor) or partial(fit_on_cluster, cluster)
        for part in _parts(config, waves, by_cost=budget is not None):
            run(config, attempt.startable(part), attempt)
    return attempt.fitted


def _in_waves(
    tasks: Sequence[Task], config: Config, attempt: Attempt, budget: Budget | None
) -> list[Wave]:
    """Put fits in order; a time limit is told what is to be started."""
    uses, shape = config.source_uses(), attempt.shape
    if budget is None:
        return in_waves(tasks, uses, shape)
    budget.expect(attempt.incomplete(tasks), uses, shape)
    return in_waves(tasks, uses, shape, by_fold=True, seconds=budget.seconds)


def _parts(config: Config, waves: Sequence[Wave], *, by_cost: bool) -> Iterator[list[Task]]:
    """Part fits where some have to end before others begin: only ``auto`` does not see to that."""
    if config.execution.executor != "auto":
        yield [*chain(*(wave.tasks for wave in waves))]
        return
    for wave in waves:
        yield from _in_rounds(config, wave, by_cost=by_cost)


def _in_rounds(config: Config, wave: Wave, *, by_cost: bool) -> list[list[Task]]:
    """Part a wave where ``auto`` would change its order: some fits go another way than others."""
    uses, tasks = config.source_uses(), wave.tasks
    ways = {(runs_apart(task.spec, uses), is_light(task.spec)) for task in tasks}
    if len(ways) < 2:
        return [tasks]
    cheap = [task for task in tasks if by_cost and not is_dear(task)]
    parts = (cheap, *([t for t in part if t not in cheap] for part in (wave.first, wave.rest)))
    return [part for part in parts if part]


def _one_after_the_other(
    config: Config,  # noqa: ARG001 - as the other executors
    tasks: Sequence[Task],
    attempt: Attempt,
) -> None:
    for task in tasks:
        for one in attempt.startable([task]):
            attempt.fit_here(one)


def _each_in_a_process(config: Config, tasks: Sequence[Task], attempt: Attempt) -> None:
    """One fresh process a fold: what a learner leaves in memory ends with it.

    A fold begins once what it needs is complete, whatever else goes on, and the memory that its
    learner declares is free. Where the config names no devices, each has the GPUs that its learner
    asks for to itself.
    """
    waiting = attempt.without_kept(tasks)
    refuse_hidden(config.execution.devices)
    is_open = not config.execution.devices and config.execution.device in ("auto", "cuda")
    gpus = visible_gpus() if is_open and any(_gpus_of(task.spec) for task in waiting) else []
    if gpus and not config.execution.workers:
        execution = config.execution.model_copy(update={"workers": len(gpus)})
        config = config.model_copy(update={"execution": execution})
    execution = config.execution
    shared: list[str | None] = [None] * min(execution.slots(), len(waiting))
    devices = execution.devices or shared
    room = Room(gpus, attempt.reporter.warn)
    _fit_elsewhere(config, waiting, attempt, devices, lasting=False, room=room)


def _beside_each_other(config: Config, tasks: Sequence[Task], attempt: Attempt) -> None:
    """Fit cheap learners on all cores, each fit with one thread; then the others, one by one.

    This process takes tasks too, where nothing can happen to it. Workers are started where it turns
    out to be worth while, and as many as there is memory for.
    """
    groups: dict[tuple[bool, bool], list[Task]] = {}
    for task in tasks:
        apart = runs_apart(task.spec, config.source_uses())
        groups.setdefault((apart, is_light(task.spec)), []).append(task)
    share_out(
        config,
        groups.get((False, True), []),
        lambda task, threads: attempt.fit_here(task, threads),
        attempt.tell,
        failed=attempt.failed,
        attempt=attempt,
    )
    light = attempt.without_kept(groups.get((True, True), []))
    own, slots, _ = _shares(config, len(light))
    _fit_elsewhere(own, light, attempt, [None] * min(slots, max(1, affordable_copies())))
    for task in groups.get((False, False), []):
        attempt.fit_here(task)
    for _, heavy in groupby(groups.get((True, False), []), lambda task: task.spec.name):
        # A worker for each learner: what it leaves in memory ends with it. Of a GPU, with the fold.
        waiting = attempt.without_kept([*heavy])
        lasting = not any(_gpus_of(task.spec) for task in waiting)
        _fit_elsewhere(config, waiting, attempt, [None], lasting=lasting)


def _fit_elsewhere(
    config: Config,
    tasks: Sequence[Task],
    attempt: Attempt,
    devices: Sequence[str | None],
    *,
    lasting: bool = True,
    room: Room | None = None,
) -> None:
    """Have tasks fitted in workers alone."""
    if not tasks:
        return
    agenda = Agenda(tasks, needed_fits(tasks, config.source_uses(), attempt.shape))
    with Crew(
        config,
        agenda,
        lasting=lasting,
        forgiving=attempt.goes_on,
        failed=attempt.failed,
        watch=partial(attempt.watch, shown=len(devices) == 1),
        admit=attempt.admit,
        room=room,
    ) as crew:
        crew.start(devices)
        for outcome in crew.all_ended():
            attempt.tell(outcome)
            attempt.release(outcome, agenda)


_RUN: dict[str, Callable[[Config, Sequence[Task], Attempt], None]] = {
    "processes": _each_in_a_process,
    "in-process": _one_after_the_other,
    "auto": _beside_each_other,
}


def share_out(
    config: Config,
    tasks: Sequence[Task],
    fit: Callable[[Task, int], None],
    tell: Callable[[Outcome], None],
    *,
    forgiving: bool = False,
    failed: set[str] | None = None,
    attempt: Attempt | None = None,
) -> None:
    """Have light tasks fitted on all cores, in this process and in workers.

    Parameters
    ----------
    config
        Says how many workers and threads.
    tasks
        In the order wanted.
    fit
        Fits a task here, with so many threads.
    tell
        Told of what workers have ended.
    forgiving, failed
        As in ``Crew``; with ``failed`` the others go on too.
    attempt
        Admits tasks and watches them in workers; None admits all and watches none.
    """
    its_own, beside, threads = _shares(config, len(tasks))
    began, goes_on = time.perf_counter(), forgiving or failed is not None
    with Crew(
        its_own,
        Agenda(tasks),
        lasting=True,
        forgiving=goes_on,
        failed=failed,
        watch=None if attempt is None else partial(attempt.watch, shown=False),
        admit=None if attempt is None else attempt.admit,
    ) as crew:
        while task := crew.take():
            fit(task, threads)
            if not crew.working and len(crew) and time.perf_counter() - began > WORTH_A_WORKER:
                crew.start([None] * min(beside - 1, len(crew), affordable_copies()))
            for outcome in crew.ended():
                tell(outcome)
        for outcome in crew.all_ended():
            tell(outcome)


def _shares(config: Config, tasks: int) -> tuple[Config, int, int]:
    """Give the config of a worker among several, how many are beside each other, and threads."""
    cores = available_cores()
    beside = min(config.execution.workers or cores, tasks)
    threads = config.execution.threads or max(1, cores // max(1, beside))
    execution = config.execution.model_copy(update={"threads": threads})
    return config.model_copy(update={"execution": execution}), beside, threads


def _gpus_of(spec: LearnerSpec) -> int:
    return resources_of(spec.prototype, spec.where).gpus


def is_light(spec: LearnerSpec) -> bool:
    """Say whether a worker can fit it, and one core is enough."""
    learners = get_manager().base_learners
    return learners.get(spec.plugin).cheap and not _is_given(spec)


def runs_apart(spec: LearnerSpec, uses: Mapping[str, SourceSettings]) -> bool:
    """Say whether a learner is fitted in another process, so that whatever happens, it fails alone.

    Those are learners from outside the toolkit and those that ask such a one, those with a time
    limit, and large ones: they can be killed, hang or run out of memory. A class that was given in
    Python is known to this process alone.
    """
    if _is_given(spec):
        return False
    kind = type(spec.prototype)
    if spec.time_limit is not None or (kind.trains and not kind.cheap):
        return True
    return any(not _is_ours(one) for one in [spec, *fitted_before(spec, uses)])


def _is_given(spec: LearnerSpec) -> bool:
    return get_manager().base_learners.entry(spec.plugin).distribution == GIVEN


def _is_ours(spec: LearnerSpec) -> bool:
    brought_by = get_manager().base_learners.entry(spec.plugin).distribution
    return brought_by.partition(" ")[0] == DISTRIBUTION
