"""Where folds are fitted: in this process, beside each other, or each in a fresh process."""

from __future__ import annotations

import time
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.dependencies import dependency_depth
from ensemble.oof.worker_process import label_of
from ensemble.oof.workers import Crew, Outcome, Task
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.manager import GIVEN, get_manager
from ensemble.processes import affordable_copies, available_cores
from ensemble.run_dir.layout import LEARNERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter

WORTH_A_WORKER = 2.0
"""Seconds of fitting after which workers are started: about what a start costs, so that however
long it goes on, no more than that is lost by having waited, or by having started."""


def execute(
    config: Config, tasks: Sequence[tuple[LearnerSpec, FoldLike]], reporter: Reporter
) -> int:
    """Fit every task that is not complete yet.

    Parameters
    ----------
    config
        Says which executor, how many workers and threads.
    tasks
        Learners and what is held out, in the order wanted, but for teachers, which come before
        their pupils; one that is named twice is fitted once.
    reporter
        Told of each fold.

    Returns
    -------
    int
        How many were fitted; the rest was there.

    Raises
    ------
    LearnerError
        The first that failed; folds that were complete by then are kept.
    """
    different = {
        (spec.name, HeldOut.of(fold)): Task(spec, HeldOut.of(fold)) for spec, fold in tasks
    }
    by_depth, uses = itemgetter(0), config.source_uses()
    waves = groupby(
        sorted(
            ((dependency_depth(task.spec, uses), task) for task in different.values()), key=by_depth
        ),
        by_depth,
    )
    run = {
        "processes": _each_in_a_process,
        "in-process": _one_after_the_other,
        "auto": _beside_each_other,
    }[config.execution.executor]
    # Teachers before their pupils.
    return sum(run(config, [task for _, task in wave], reporter) for _, wave in waves)


def _one_after_the_other(config: Config, tasks: Sequence[Task], reporter: Reporter) -> int:
    workspace = open_workspace(config)
    return sum(_fit_here(workspace, task, reporter) for task in tasks)


def _fit_here(workspace: Workspace, task: Task, reporter: Reporter) -> bool:
    spec, held_out = task.spec, task.held_out
    started = time.perf_counter()
    with reporter.progress(label_of(spec, held_out)) as progress:
        fitted = fit_fold(workspace, spec, held_out, progress)
    _tell(reporter, Outcome(spec, held_out, fitted, time.perf_counter() - started))
    return fitted


def _each_in_a_process(config: Config, tasks: Sequence[Task], reporter: Reporter) -> int:
    """One fresh process a fold: what a learner leaves in memory ends with it."""
    execution, fitted = config.execution, 0
    with Crew(config, tasks, lasting=False) as crew:
        crew.start(execution.devices or [None] * min(execution.slots(), len(tasks)))
        for outcome in crew.all_ended():
            _tell(reporter, outcome)
            fitted += outcome.fitted
    return fitted


def _beside_each_other(config: Config, tasks: Sequence[Task], reporter: Reporter) -> int:
    """Fit cheap learners on all cores, each fit with one thread; then the others, one by one.

    This process takes tasks too. Workers are started where it turns out to be worth while, and as
    many as there is memory for.
    """
    light = [task for task in tasks if is_light(task.spec)]
    heavy = [task for task in tasks if not is_light(task.spec)]
    workspace, fitted = open_workspace(config), 0

    def fit(task: Task, threads: int) -> None:
        nonlocal fitted
        fitted += _fit_here(workspace.with_threads(threads), task, reporter)

    def tell(outcome: Outcome) -> None:
        nonlocal fitted
        _tell(reporter, outcome)
        fitted += outcome.fitted

    share_out(config, light, fit, tell)
    return fitted + sum(_fit_here(workspace, task, reporter) for task in heavy)


def share_out(
    config: Config,
    tasks: Sequence[Task],
    fit: Callable[[Task, int], None],
    tell: Callable[[Outcome], None],
    *,
    forgiving: bool = False,
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
    forgiving
        As in ``Crew``.
    """
    cores = available_cores()
    beside = min(config.execution.workers or cores, len(tasks))
    threads = config.execution.threads or max(1, cores // max(1, beside))
    execution = config.execution.model_copy(update={"threads": threads})
    its_own = config.model_copy(update={"execution": execution})
    began = time.perf_counter()
    with Crew(its_own, tasks, lasting=True, forgiving=forgiving) as crew:
        while task := crew.take():
            fit(task, threads)
            if not crew.working and len(crew) and time.perf_counter() - began > WORTH_A_WORKER:
                crew.start([None] * min(beside - 1, len(crew), affordable_copies()))
            for outcome in crew.ended():
                tell(outcome)
        for outcome in crew.all_ended():
            tell(outcome)


def is_light(spec: LearnerSpec) -> bool:
    """Say whether a worker can fit it, and one core is enough."""
    learners = get_manager().base_learners
    return learners.get(spec.plugin).cheap and learners.entry(spec.plugin).distribution != GIVEN


def _tell(reporter: Reporter, outcome: Outcome) -> None:
    spec, held_out, fitted, seconds = outcome
    kind = "pair" if held_out.is_pair else "fold"
    what, told = f"{kind} {'fitted' if fitted else 'kept'}", {kind: held_out.to_json()}
    reporter.event(what, learner=spec.name, **told, seconds=round(seconds, 3))
    if not fitted:
        return
    reporter.log(f"{label_of(spec, held_out)}  fitted in {seconds:.1f} s")
    if not held_out.is_pair:
        _notify(reporter, spec, held_out, seconds)


def _notify(reporter: Reporter, spec: LearnerSpec, held_out: HeldOut, seconds: float) -> None:
    """Tell observers of a fold or refit; what they raise is a warning."""
    faults = get_manager().notify_fold_fitted(
        learner=spec.name,
        fold=None if held_out.is_refit else held_out.folds[0],
        directory=reporter.run / LEARNERS / spec.name / held_out.name,
        seconds=seconds,
    )
    for fault in faults:
        reporter.warn(fault)
