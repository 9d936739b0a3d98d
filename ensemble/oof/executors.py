"""Where folds are fitted: in this process, or each in a fresh one."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from multiprocessing import get_context
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.errors import EnsembleError, LearnerError, UnknownNameError
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.lineage import depth
from ensemble.oof.workspace import Workspace, open_workspace
from ensemble.plugin.faults import plugin_errors
from ensemble.plugin.manager import get_manager
from ensemble.processes import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from multiprocessing.connection import Connection
    from multiprocessing.queues import SimpleQueue

    from ensemble.battles.held_out import FoldLike
    from ensemble.config import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.reporter import Reporter

    Task = tuple[LearnerSpec, HeldOut]

_KNOWN_EVERYWHERE = ("ensemble.errors", "builtins")
"""Modules whose errors every process can rebuild."""

_NOT_INSTALLED = (
    "worker processes know only installed plugins; for one that was given in Python, "
    'set executor = "in-process"'
)


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
    once = {(spec.name, HeldOut.of(fold)): (spec, HeldOut.of(fold)) for spec, fold in tasks}
    by_depth, uses = itemgetter(0), config.source_uses()
    waves = groupby(
        sorted(((depth(task[0], uses), task) for task in once.values()), key=by_depth),
        by_depth,
    )
    fitted = 0
    for _, wave in waves:  # teachers before their pupils
        ready = [task for _, task in wave]
        if config.execution.executor == "processes":
            fitted += _in_processes(config, ready, reporter)
        else:
            fitted += _in_this_process(open_workspace(config), ready, reporter)
    return fitted


def _in_this_process(workspace: Workspace, tasks: Sequence[Task], reporter: Reporter) -> int:
    fitted = 0
    for spec, held_out in tasks:
        started = time.perf_counter()
        with reporter.bar(_label(spec, held_out)) as progress:
            done = fit_fold(workspace, spec, held_out, progress)
        fitted += done
        _tell(reporter, spec, held_out, done, time.perf_counter() - started)
    return fitted


def _in_processes(config: Config, tasks: Sequence[Task], reporter: Reporter) -> int:
    """One fresh process a fold: what a learner leaves in memory ends with it."""
    fitted = 0
    context = get_context("spawn")
    alive, held = context.Pipe(duplex=False)
    begun = context.SimpleQueue()
    free = context.SimpleQueue()
    for device in config.execution.devices:
        free.put(device)
    pool = ProcessPoolExecutor(
        config.execution.slots(),
        mp_context=context,
        initializer=_start_worker,
        initargs=(alive, begun, free if config.execution.devices else None),
        max_tasks_per_child=1,
    )
    with alive, held, pool:
        futures = {pool.submit(_fit_alone, config, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                spec, held_out = futures[future]
                done, seconds = future.result()
                fitted += done
                _tell(reporter, spec, held_out, done, seconds)
        except BrokenProcessPool as error:
            complete = {_label(*task) for future, task in futures.items() if _succeeded(future)}
            raise EnsembleError(
                "a worker process died: out of memory, or killed from outside",
                where=" or ".join(name for name in _all_of(begun) if name not in complete),
                mend="run the same command again; complete folds are kept",
            ) from error
        except BaseException:
            # Nobody may go on writing once the run's lock is free, nor the user wait for hours.
            held.close()
            pool.shutdown(cancel_futures=True)
            raise
    return fitted


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _all_of(queue: SimpleQueue[str]) -> Iterator[str]:
    while not queue.empty():
        yield queue.get()


_begun: SimpleQueue[str] | None = None
"""In a worker: where it says what it begins, since one that dies says nothing more."""
_free: SimpleQueue[str] | None = None
"""In a worker: devices that nobody computes on, where each worker has one to itself."""


def _fit_alone(config: Config, spec: LearnerSpec, held_out: HeldOut) -> tuple[bool, float]:
    started = time.perf_counter()
    if _begun is not None:
        _begun.put(_label(spec, held_out))
    try:
        with _on_free_device(config) as placed:
            done = fit_fold(open_workspace(placed), spec, held_out)
    except UnknownNameError as error:
        error.mend = f"{error.mend}\n  note:  {_NOT_INSTALLED}"
        raise
    except plugin_errors() as error:
        portable = _portable(error, _label(spec, held_out))
        if portable is error:
            raise
        raise portable from error
    return done, time.perf_counter() - started


@contextmanager
def _on_free_device(config: Config) -> Iterator[Config]:
    """Take a device for one fold. There are as many as workers, so that one is always free."""
    if _free is None:
        yield config
        return
    device = _free.get()
    try:
        execution = config.execution.model_copy(update={"device": _only_visible(device)})
        yield config.model_copy(update={"execution": execution})
    finally:
        _free.put(device)


def _only_visible(device: str) -> str:
    """Hide all GPUs but one from this process, which has not used any yet; gives its new name.

    A model that is loaded back knows no device, and goes to the first that it sees.
    """
    kind, _, number = device.partition(":")
    if not number:
        return device
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[int(number)] if names else number
    return kind


def _start_worker(
    alive: Connection, begun: SimpleQueue[str], free: SimpleQueue[str] | None
) -> None:
    global _begun, _free
    _begun, _free = begun, free
    end_with_parent(alive)


def _portable(error: BaseException, where: str) -> BaseException:
    """Give an error that another process can rebuild: a plugin's own classes may fail there."""
    ours = [kind for kind in type(error).__mro__ if kind.__module__ in _KNOWN_EVERYWHERE]
    if type(error) in ours:
        return error
    if isinstance(error, EnsembleError):
        rebuilt: EnsembleError = ours[0](error.message, where=error.where, mend=error.mend)
        return rebuilt
    return LearnerError(f"{type(error).__name__}: {error}", where=where)


def _tell(
    reporter: Reporter, spec: LearnerSpec, held_out: HeldOut, done: bool, seconds: float
) -> None:
    kind = "pair" if held_out.is_pair else "fold"
    what, told = f"{kind} {'fitted' if done else 'kept'}", {kind: held_out.to_json()}
    reporter.event(what, learner=spec.name, **told, seconds=round(seconds, 3))
    if not done:
        return
    reporter.say(f"{_label(spec, held_out)}  fitted in {seconds:.1f} s")
    if not held_out.is_pair:
        _notify(reporter, spec, held_out, seconds)


def _notify(reporter: Reporter, spec: LearnerSpec, held_out: HeldOut, seconds: float) -> None:
    """Tell observers of a fold or refit; what they raise is a warning."""
    faults = get_manager().notify_fold_fitted(
        learner=spec.name,
        fold=None if held_out.is_refit else held_out.folds[0],
        directory=reporter.run / "learners" / spec.name / held_out.name,
        seconds=seconds,
    )
    for fault in faults:
        reporter.event("warning", text=fault)
        reporter.say(f"warning: {fault}")


def _label(spec: LearnerSpec, held_out: HeldOut) -> str:
    return f"{spec.name}  {held_out.label}"
