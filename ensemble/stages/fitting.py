"""The fits of one command: in which order they are made, and what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.oof.dependencies import dependency_depth, fitted_before
from ensemble.oof.executors import execute
from ensemble.oof.origins import is_complete
from ensemble.oof.preflight import unfinished as unfinished_fits
from ensemble.oof.teaching import with_asked
from ensemble.oof.workers import Task
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.remember import record_learners
from ensemble.stacking.settings import shape_of
from ensemble.stages.contracts import check_contracts, unchecked_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
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
        fits = listed(self.failures or ())
        before = _complete(self.config, fits.teaching)
        early = [self._fit_early(some) for some in (fits.first, fits.pairs)]
        early[0] += self._check_and_begin(fits)
        self._check(asked.every)
        if self.failures and self.budget is None:  # else some of it may have been fitted by now
            fits = listed(self.failures)
            before = _complete(self.config, fits.teaching)
        outcome = self._fit_folds(fits, before, early[0])
        self._record(specs)
        if fits.soups:  # of folds that are all there by now
            outcome["soups"] = self._fit(fits.soups, "soups", "averaged")
        if fits.pairs:
            if self.budget is not None:
                self.budget.later_is_now()
            outcome["pairs"] = self._fit(fits.pairs, "pairs of folds", early=early[1])
        return outcome

    def _fit_folds(
        self, fits: FitList, before: set[tuple[str, HeldOut]], early: int
    ) -> dict[str, Any]:
        """Fit folds, and what teachers say of them; ``before``, so many of those were there."""
        outcome: dict[str, Any] = dict(self._counted(fits.first, early))
        if fits.teaching:
            fitted = len(_complete(self.config, fits.teaching) - before)
            taught = {"fitted": fitted, "kept": len(before)}
            outcome = {name: outcome[name] - count for name, count in taught.items()}
            outcome["teaching"] = taught
            self._tell("fits of teachers", taught)
        self._tell("folds", outcome)
        return outcome

    def _fit(
        self, tasks: Sequence[Fit], what: str, done: str = "fitted", *, early: int = 0
    ) -> dict[str, int]:
        counts = self._counted(tasks, early)
        self._tell(what, counts, done)
        return counts

    def _tell(self, what: str, counts: Mapping[str, int], done: str = "fitted") -> None:
        self.reporter.log(f"{what}  {counts['fitted']} {done}, {counts['kept']} kept")

    def _counted(self, tasks: Sequence[Fit], early: int) -> dict[str, int]:
        """Fit, and count what was fitted and what was there; the rest failed, or was not started.

        So many of them have been fitted before.
        """
        fitted = early + self._execute(tasks)
        some_miss = self.failures or (self.budget is not None and self.budget.undone)
        missing = len(unfinished_fits(open_workspace(self.config), tasks)) if some_miss else 0
        return {"fitted": fitted, "kept": len(tasks) - fitted - missing}

    def _execute(self, tasks: Sequence[Fit]) -> int:
        return execute(self.config, tasks, self.reporter, self.failures, self.budget)

    def _check(self, tasks: Sequence[Fit]) -> None:
        check_contracts(self.config, tasks, self.reporter, self.failures, self.budget)

    def _record(self, specs: Sequence[LearnerSpec]) -> None:
        candidates = [spec for spec in specs if not spec.privileged]
        for doubt in record_learners(open_workspace(self.config), candidates):
            self.reporter.warn(doubt)

    def _fit_early(self, tasks: Sequence[Fit]) -> int:
        """Fit cheap learners before others are checked, where time is short: they can be stacked.

        Gives how many fits there were.
        """
        if self.budget is None:
            return 0
        specs = {spec.name: spec for spec, _ in tasks if type(spec.prototype).cheap}
        ready = {*specs} - unchecked_names(open_workspace(self.config), specs.values())
        uses = self.config.source_uses()
        while waiting := {
            name for name in ready if {one.name for one in fitted_before(specs[name], uses)} - ready
        }:
            ready -= waiting
        return self._execute([task for task in tasks if task[0].name in ready])

    def _check_and_begin(self, fits: FitList) -> int:
        """Check a learner and fit its first fold, then the next, where time is short.

        With a fold goes what it needs of teachers; learners with the fewest such fits come first.
        The check of the last must not take the time of all. Where several fits go on at a time, all
        are checked first: devices would wait. Gives how many fits there were.
        """
        config, budget = self.config, self.budget
        specs = {spec.name: spec for spec, _ in fits.folds}
        asked = unchecked_names(open_workspace(config), specs.values()) if budget else set()
        if not asked or config.execution.slots() > 1:
            return 0
        uses, shape, fitted = config.source_uses(), shape_of(config), 0
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
            fitted += self._execute([t for t in first[name] if (t[0].name, t[1]) in wanted])
        return fitted


def _complete(config: Config, tasks: Sequence[Fit]) -> set[tuple[str, HeldOut]]:
    """Name the fits that are there, whole."""
    workspace = open_workspace(config)
    keys, store = workspace.fit_keys(), workspace.store
    return {
        (spec.name, held_out)
        for spec, held_out in tasks
        if is_complete(store.directory(spec.name, held_out), keys.of(spec, held_out)[0])
    }
