"""How long a run may take: which fits are still started, and when those that run are stopped.

A fit is started where it will be done in time, by what fits of the same learner have taken on this
machine, or by what the learner says of itself. Where nobody knows, its first fit tries it out. What
runs when the time is over is stopped; its checkpoint stays. Time for what comes after is set aside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.oof import clock
from ensemble.oof.order import closures, is_dear
from ensemble.oof.teaching import asked_fits

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ensemble.config.source_settings import SourceSettings
    from ensemble.oof.durations import Durations
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.teaching import PlanShape
    from ensemble.oof.workers import FitName, Task

MARGIN = 1.1
"""Times that a fit may take what it took before: folds differ, and so does what else goes on."""


class Budget:
    """A time limit for all that a command does.

    Parameters
    ----------
    limit
        Seconds.
    spent
        Seconds of them that are over already.
    """

    def __init__(self, limit: float, spent: float = 0.0) -> None:
        self.limit, self._began = limit, clock.seconds() - spent
        self.aside = 0.0
        """Seconds that are set aside for what comes after all fits."""
        self.undone: dict[FitName, LearnerSpec] = {}
        """Fits that were not started, or stopped, since time was short."""
        self._held: set[str] = set()
        self._durations: Durations | None = None
        self._later: list[tuple[LearnerSpec, HeldOut]] = []
        self._splits, self._beside, self._slots = 2, 1, 1
        self._waiting: dict[FitName, Task] = {}
        self._pupils: dict[FitName, set[FitName]] = {}

    def begin(
        self,
        durations: Durations,
        *,
        n_splits: int,
        aside: float = 0.0,
        later: Sequence[tuple[LearnerSpec, HeldOut]] = (),
        beside: int = 1,
        slots: int = 1,
    ) -> None:
        """Take what is known once there is a fold plan.

        Parameters
        ----------
        durations
            How long fits take.
        n_splits
            Number of folds.
        aside
            Seconds to set aside for what comes after all fits.
        later
            Fits that come after those asked for first; dear ones leave time for cheap ones.
        beside
            How many of them run at a time.
        slots
            How many other fits run at a time.
        """
        self._durations, self._splits, self.aside = durations, n_splits, aside
        self._later = [(spec, fit) for spec, fit in later if type(spec.prototype).cheap]
        self._beside, self._slots = max(1, beside), max(1, slots)

    def expect(
        self, tasks: Sequence[Task], uses: Mapping[str, SourceSettings], shape: PlanShape
    ) -> None:
        """Take the fits that are to be started now, none of which is complete.

        Fits of teachers without several folds are for pupils alone: they are started only while
        there is time for some pupil's fold with all that it still waits for.
        """
        self._waiting = {task.name: task for task in tasks}
        behind = closures(tasks, uses, shape)
        self._pupils = {name: names for name, names in behind.items() if not name[1].is_joint}

    def ended(self, spec: LearnerSpec, held_out: HeldOut) -> None:
        """Note that a fit has ended, however it did."""
        self._waiting.pop((spec.name, held_out), None)

    def later_is_now(self) -> None:
        """Have no time set aside any more for fits that come later: it is their turn."""
        self._later = []

    def left(self) -> float:
        """Seconds that fits still have; none or fewer where the time is over."""
        spent = clock.seconds() - self._began
        return self.limit - spent - self.aside

    def left_for(self, task: Task) -> float:
        """Seconds that a fit still has: a dear one leaves those of cheap fits that come later.

        A cheap one does not: without the folds of cheap learners their pairs are of no use.
        """
        if not is_dear(task):
            return self.left()
        later = sum(self._seconds(spec, fit) or 0.0 for spec, fit in self._later) / self._beside
        return self.left() - later

    def admits(self, task: Task, uses: Mapping[str, SourceSettings], shape: PlanShape) -> bool:
        """Say whether a fit may be started; one that may not is left undone.

        So is one that needs another that was left undone.
        """
        held = task.spec.name in self._held
        asked = asked_fits(task.spec, task.held_out, uses, shape)
        needed = [(one.name, held_out) for one, held_out in asked]
        if task.held_out.is_soup:
            folds = ((task.spec.name, HeldOut((fold,))) for fold in range(self._splits))
            needed = [*folds]
        left, takes = self.left_for(task), self._seconds(task.spec, task.held_out)
        takes = 0.0 if task.held_out.is_soup else takes  # it is a mean, and no fit
        too_long = left <= 0 or (takes or 0.0) * MARGIN > left or self._is_in_vain(task, left)
        if held or too_long or any(one in self.undone for one in needed):
            self.leave(task)
            return False
        self.undone.pop(task.name, None)
        return True

    def within(self, task: Task) -> Task:
        """Give a task that has no more time than there is left."""
        left, own = max(0.01, self.left_for(task)), task.spec.time_limit
        if own is not None and own <= left:
            return task
        return task._replace(spec=replace(task.spec, time_limit=left), cut=True)

    def hold(self, spec: LearnerSpec) -> None:
        """Have no fit of a learner started: there was no time to check it."""
        self._held.add(spec.name)

    def leave(self, task: Task) -> None:
        """Note that a fit is left undone."""
        self.undone[task.name] = task.spec

    def seconds(self, task: Task) -> float | None:
        """Say how long a fit takes; None where nobody knows."""
        return self._seconds(task.spec, task.held_out)

    def _is_in_vain(self, task: Task, left: float) -> bool:
        """Say whether a fit is for pupils alone, and there is time for none of their folds."""
        if not task.held_out.is_joint:
            return False
        pupils = {one: names for one, names in self._pupils.items() if task.name in names - {one}}
        return bool(pupils) and all(
            pupil in self._held or MARGIN * self._together(names) > left
            for (pupil, _), names in pupils.items()
        )

    def _together(self, names: Collection[FitName]) -> float:
        """Seconds that fits take which have not ended, as many at a time as may run."""
        # Workers' threads ask while another takes out what has ended.
        waiting = [task for name in names if (task := self._waiting.get(name)) is not None]
        takes = [(task, self.seconds(task) or 0.0) for task in waiting]
        shares = (each / (self._slots if is_dear(task) else self._beside) for task, each in takes)
        return max(sum(shares), max((each for _, each in takes), default=0.0))

    def _seconds(self, spec: LearnerSpec, held_out: HeldOut) -> float | None:
        if self._durations is None:
            return None
        return self._durations.of(spec).of(held_out, self._splits)
