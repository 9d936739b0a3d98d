"""The fits of one command: in which order they are made, and what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.oof.dependencies import dependency_depth, fitted_before, with_dependents
from ensemble.oof.executors import execute
from ensemble.oof.origins import is_complete
from ensemble.oof.teaching import with_asked
from ensemble.oof.workers import Task
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.remember import record_learners
from ensemble.stacking.settings import shape_of
from ensemble.stages.contracts import check_contracts, unchecked_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workers import FitName
    from ensemble.run_dir.reporter import Reporter
    from ensemble.stages.fit_list import Fit, FitList


class Fitting:
    """The fits of one command, in the order in which they are made.

    Parameters
    ----------
    config
        The config.
    reporter
        Told of each fold.
    failures
        Takes the learners that fail; they and those that need them are not fitted any further.
        None raises the first.
    budget
        How long it may take; None sets no limit.
    """

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        failures: dict[str, Failure] | None,
        budget: Budget | None,
    ) -> None:
        self.config, self.reporter = config, reporter
        self.failures, self.budget = failures, budget

    def fit_all(
        self,
        specs: Sequence[LearnerSpec],
        asked: FitList,
        listed: Callable[[Collection[str]], FitList],
    ) -> dict[str, Any]:
        """Fit all, and count.

        Parameters
        ----------
        specs
            The learners.
        asked
            What is asked for, with what has failed already.
        listed
            Gives what is asked for without learners that have failed.

        Returns
        -------
        dict[str, Any]
            As ``fit_stage``, but for ``failed`` and ``unfinished``.
        """
        before = _complete(self.config, asked.every)
        fits = listed(self.failures or ())
        for some in (fits.first, fits.pairs):
            self._fit_early(some)
        self._check_and_begin(fits)
        self._check(asked.every)
        if self.failures:
            fits = listed(self.failures)
        self._execute(fits.first)
        outcome: dict[str, Any] = {}
        if fits.teaching:
            outcome["teaching"] = self._count("fits of teachers", fits.teaching, before)
        outcome |= self._count("folds", fits.folds, before)
        self._record(specs)
        if fits.soups:  # of folds that are all there by now
            self._execute(fits.soups)
            outcome["soups"] = self._count("soups", fits.soups, before, "averaged")
        if fits.pairs:
            if self.budget is not None:
                self.budget.later_is_now()
            self._execute(fits.pairs)
            outcome["pairs"] = self._count("pairs of folds", fits.pairs, before)
        return outcome

    def _count(
        self, what: str, tasks: Sequence[Fit], before: set[FitName], done: str = "fitted"
    ) -> dict[str, int]:
        """Count what was fitted and what was there ``before``; the rest is not complete."""
        complete = _complete(self.config, tasks)
        counts = {"fitted": len(complete - before), "kept": len(complete & before)}
        self.reporter.log(f"{what}  {counts['fitted']} {done}, {counts['kept']} kept")
        return counts

    def _execute(self, tasks: Sequence[Fit]) -> None:
        execute(self.config, tasks, self.reporter, self.failures, self.budget)

    def _check(self, tasks: Sequence[Fit]) -> None:
        check_contracts(self.config, tasks, self.reporter, self.failures, self.budget)

    def _record(self, specs: Sequence[LearnerSpec]) -> None:
        candidates = [spec for spec in specs if not spec.privileged]
        for doubt in record_learners(open_workspace(self.config), candidates):
            self.reporter.warn(doubt)

    def _fit_early(self, tasks: Sequence[Fit]) -> None:
        """Fit cheap learners before others are checked where time is short: they can be stacked."""
        if self.budget is None:
            return
        specs = {spec.name: spec for spec, _ in tasks if type(spec.prototype).cheap}
        ready = {*specs} - unchecked_names(open_workspace(self.config), specs.values())
        uses = self.config.source_uses()
        while waiting := {
            name for name in ready if {one.name for one in fitted_before(specs[name], uses)} - ready
        }:
            ready -= waiting
        self._execute([task for task in tasks if task[0].name in ready])

    def _check_and_begin(self, fits: FitList) -> None:
        """Check a learner and fit its first fold, then the next, where time is short.

        With a fold goes what it needs of teachers; learners with the fewest such fits come first.
        The check of the last must not take the time of all. Where several fits go on at a time, all
        are checked first: devices would wait.
        """
        config, budget = self.config, self.budget
        specs = {spec.name: spec for spec, _ in fits.folds}
        asked = unchecked_names(open_workspace(config), specs.values()) if budget else set()
        if not asked or config.execution.slots() > 1:
            return
        uses, shape = config.source_uses(), shape_of(config)
        wanted = {(spec.name, held_out) for spec, held_out in fits.first}
        first = {
            spec.name: with_asked([(spec, fit)], uses, shape) for spec, fit in reversed(fits.folds)
        }

        def cost(name: str) -> tuple[float, ...]:
            spec, held_out = first[name][0]
            seconds = budget.seconds(Task(spec, held_out)) if budget else None
            return len(first[name]), dependency_depth(spec, uses), seconds or 0.0

        for name in sorted(specs, key=cost):
            self._check([task for task in fits.folds if task[0].name == name])
            if name not in with_dependents(self.failures or (), [*specs.values()], uses):
                self._execute([t for t in first[name] if (t[0].name, t[1]) in wanted])


def _complete(config: Config, tasks: Sequence[Fit]) -> set[FitName]:
    """Name the fits that are there, whole."""
    workspace = open_workspace(config)
    keys, store = workspace.fit_keys(), workspace.store
    return {
        (spec.name, held_out)
        for spec, held_out in tasks
        if is_complete(store.directory(spec.name, held_out), keys.of(spec, held_out)[0])
    }
