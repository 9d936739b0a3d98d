"""In which order fits are done: one of every learner first, so that each has a score early.

The order decides when something is known, and nothing of what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ensemble.oof.dependencies import dependency_depth
from ensemble.oof.teaching import asked_fits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.source_settings import SourceSettings
    from ensemble.oof.teaching import PlanShape
    from ensemble.oof.workers import Task

    Name = tuple[str, HeldOut]


class Wave(NamedTuple):
    """Fits that wait for none of each other; those of the wave before are done.

    Parameters
    ----------
    tasks
        All of them, in order.
    first
        Those among them that are the first of their learner.
    """

    tasks: list[Task]
    first: list[Task]

    @property
    def rest(self) -> list[Task]:
        """Further fits of learners, in order."""
        return [task for task in self.tasks if task not in self.first]


def in_waves(
    tasks: Sequence[Task],
    uses: Mapping[str, SourceSettings],
    shape: PlanShape,
    *,
    by_fold: bool = False,
) -> list[Wave]:
    """Put fits in order: the first of every learner, then the rest; teachers before their pupils.

    Parameters
    ----------
    tasks
        Different fits; those of one learner in the order wanted.
    uses
        How the run uses its sources.
    shape
        Of the fold plan.
    by_fold
        Whether cheap learners come before dear ones, and then one fold of these after the other, so
        that whenever it ends all have about the same folds. Otherwise the rest goes learner by
        learner, so that a worker process keeps what it has loaded.

    Returns
    -------
    list of Wave
        A fit that needs another one comes in a later wave; there are no more waves than that.
    """
    order = _sorted(tasks, uses, by_fold=by_fold)
    firsts = {_name(task) for task in _firsts(tasks)}
    waves: list[Wave] = []
    current: set[Name] = set()
    needed = {_name(task): _needs(task, uses, shape) for task in order}
    for task in _teachers_first(order, needed):
        if not waves or needed[_name(task)] & current:
            waves.append(Wave([], []))
            current = set()
        current.add(_name(task))
        waves[-1].tasks.append(task)
        if _name(task) in firsts:
            waves[-1].first.append(task)
    return waves


def _sorted(
    tasks: Sequence[Task], uses: Mapping[str, SourceSettings], *, by_fold: bool
) -> list[Task]:
    """Sort by round, and what is taught a round later than its teachers."""
    learners = {name: i for i, name in enumerate(dict.fromkeys(t.spec.name for t in tasks))}
    depth = {task.spec.name: dependency_depth(task.spec, uses) for task in tasks}
    seen = dict.fromkeys(learners, 0)
    keys: dict[Name, tuple[int, ...]] = {}
    for task in tasks:
        name, turn = task.spec.name, seen[task.spec.name]
        seen[name] += 1
        later = int(turn > 0)
        place = (turn, learners[name]) if by_fold else (learners[name], turn)
        dear = int(by_fold and is_dear(task))
        keys[_name(task)] = (dear, depth[name] + later, later, *place)
    return sorted(tasks, key=lambda task: keys[_name(task)])


def _teachers_first(order: Sequence[Task], needed: Mapping[Name, set[Name]]) -> Iterator[Task]:
    """Keep the order, but for fits that others need, which come before these."""
    waiting = {_name(task): task for task in order}

    def ready(task: Task) -> Iterator[Task]:
        for name in sorted(needed[_name(task)]):
            if (before := waiting.pop(name, None)) is not None:
                yield from ready(before)
        yield task

    for task in order:
        if waiting.pop(_name(task), None) is not None:
            yield from ready(task)


def is_dear(task: Task) -> bool:
    """Say whether a fit costs more than next to nothing."""
    kind = type(task.spec.prototype)
    return kind.trains and not kind.cheap


def _firsts(tasks: Sequence[Task]) -> list[Task]:
    return list({task.spec.name: task for task in reversed(tasks)}.values())


def _needs(task: Task, uses: Mapping[str, SourceSettings], shape: PlanShape) -> set[Name]:
    """Name the fits that one learns from: of its teachers, and of those who label its rows."""
    asked = asked_fits(task.spec, task.held_out, uses, shape)
    return {(spec.name, held_out) for spec, held_out in asked}


def _name(task: Task) -> Name:
    return task.spec.name, task.held_out
