"""In which order fits are done: one of every learner first, so that each has a score early.

The order decides when something is known, and nothing of what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ensemble.oof.dependencies import dependency_depth
from ensemble.oof.teaching import asked_fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.config.source_settings import SourceSettings
    from ensemble.oof.teaching import PlanShape
    from ensemble.oof.workers import FitName, Task


class Wave(NamedTuple):
    """Fits that wait for none of each other, and come after those of the wave before.

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
    seconds: Callable[[Task], float | None] = lambda _: None,
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
        that whenever it ends all have about the same folds. What a fold needs of teachers comes
        just before it and counts with it: a cheap learner of a dear teacher is dear, and of each
        round the learner comes first that takes the shortest time. Otherwise the rest goes learner
        by learner, so that a worker process keeps what it has loaded.
    seconds
        How long a fit takes; None where nobody knows, which counts as the longest that is known.

    Returns
    -------
    list of Wave
        A fit that needs another one comes in a later wave; there are no more waves than that.
    """
    needed = needed_fits(tasks, uses, shape)
    order = _by_round(tasks, needed, seconds) if by_fold else _by_learner(tasks, uses)
    firsts = {task.name for task in _firsts(tasks)}
    waves: list[Wave] = []
    current: set[FitName] = set()
    for task in _teachers_first(order, needed):
        if not waves or needed[task.name] & current:
            waves.append(Wave([], []))
            current = set()
        current.add(task.name)
        waves[-1].tasks.append(task)
        if task.name in firsts:
            waves[-1].first.append(task)
    return waves


def _by_learner(tasks: Sequence[Task], uses: Mapping[str, SourceSettings]) -> list[Task]:
    """Sort by learner after the first of each; what is taught comes a round after its teachers."""
    learners, turns = _learners(tasks), _turns(tasks)
    depth = {task.spec.name: dependency_depth(task.spec, uses) for task in tasks}

    def key(task: Task) -> tuple[int, ...]:
        name, turn = task.spec.name, turns[task.name]
        later = int(turn > 0)
        return depth[name] + later, later, learners[name], turn

    return sorted(tasks, key=key)


def _by_round(
    tasks: Sequence[Task],
    needed: Mapping[FitName, set[FitName]],
    seconds: Callable[[Task], float | None],
) -> list[Task]:
    """Sort cheap ones first, then by round; in each, what is soonest done with what it needs."""
    learners, turns = _learners(tasks), _turns(tasks)
    by_name = {task.name: task for task in tasks}
    behind = {name: [by_name[one] for one in _closure(name, needed)] for name in by_name}
    known = {name: seconds(task) for name, task in by_name.items()}
    longest = max((each for each in known.values() if each is not None), default=1.0)

    def key(task: Task) -> tuple[float, ...]:
        every = behind[task.name]
        times = [known[one.name] for one in every]
        takes = sum(longest if one is None else one for one in times)
        dear = any(map(is_dear, every))
        return dear, turns[task.name], takes, learners[task.spec.name]

    return sorted(tasks, key=key)


def _closure(name: FitName, needed: Mapping[FitName, set[FitName]]) -> set[FitName]:
    """Name a fit and all among the others that it waits for, directly or not."""
    found, waiting = {name}, [name]
    while waiting:
        new = {one for one in needed[waiting.pop()] if one in needed} - found
        found |= new
        waiting += new
    return found


def _learners(tasks: Sequence[Task]) -> dict[str, int]:
    return {name: i for i, name in enumerate(dict.fromkeys(t.spec.name for t in tasks))}


def _turns(tasks: Sequence[Task]) -> dict[FitName, int]:
    """Give the number of each fit among those of its learner, from 0."""
    seen: dict[str, int] = {}
    turns: dict[FitName, int] = {}
    for task in tasks:
        turns[task.name] = seen[task.spec.name] = seen.get(task.spec.name, -1) + 1
    return turns


def _teachers_first(
    order: Sequence[Task], needed: Mapping[FitName, set[FitName]]
) -> Iterator[Task]:
    """Keep the order, but for fits that others need, which come before these."""
    waiting = {task.name: task for task in order}

    def ready(task: Task) -> Iterator[Task]:
        for name in sorted(needed[task.name]):
            if (before := waiting.pop(name, None)) is not None:
                yield from ready(before)
        yield task

    for task in order:
        if waiting.pop(task.name, None) is not None:
            yield from ready(task)


def needed_fits(
    tasks: Sequence[Task], uses: Mapping[str, SourceSettings], shape: PlanShape
) -> dict[FitName, set[FitName]]:
    """Name, for each fit, those that have to be complete before it begins."""
    return {task.name: _needs(task, uses, shape) for task in tasks}


def closures(
    tasks: Sequence[Task], uses: Mapping[str, SourceSettings], shape: PlanShape
) -> dict[FitName, set[FitName]]:
    """Name, for each fit, itself and all others of these that it waits for, directly or not."""
    needed = needed_fits(tasks, uses, shape)
    return {name: _closure(name, needed) for name in needed}


def is_dear(task: Task) -> bool:
    """Say whether a fit costs more than next to nothing."""
    kind = type(task.spec.prototype)
    return kind.trains and not kind.cheap


def _firsts(tasks: Sequence[Task]) -> list[Task]:
    return list({task.spec.name: task for task in reversed(tasks)}.values())


def _needs(task: Task, uses: Mapping[str, SourceSettings], shape: PlanShape) -> set[FitName]:
    """Name the fits that one learns from: of its teachers, and of those who label its rows."""
    asked = asked_fits(task.spec, task.held_out, uses, shape)
    return {(spec.name, held_out) for spec, held_out in asked}
