"""Learner by fold to OOF and test logits."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import REFIT, SOUP, HeldOut, fold_pairs
from ensemble.battles.split import n_splits_of
from ensemble.errors import ConfigError
from ensemble.oof.cluster.session import connection
from ensemble.oof.dependencies import dependency_depth, fitted_before, with_dependents
from ensemble.oof.executors import execute
from ensemble.oof.origins import is_complete
from ensemble.oof.preflight import privileged_doubts
from ensemble.oof.preflight import unfinished as unfinished_fits
from ensemble.oof.refits import Decisions, made_again, refuse_undecided, told_again
from ensemble.oof.teaching import with_asked
from ensemble.oof.workers import Task
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.failure_record import forget_failure
from ensemble.run_dir.jobs_record import LearnerJobs, write_jobs
from ensemble.stacking.preflight import refuse_faults
from ensemble.stacking.remember import record_learners
from ensemble.stacking.settings import learner_specs, nested_specs, shape_of
from ensemble.stages.budget import note_undone, open_budget
from ensemble.stages.contracts import check_contracts, unchecked_names
from ensemble.stages.resources import refuse_too_large
from ensemble.stages.shared import check_and_record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
    from ensemble.run_dir.reporter import Reporter

    Fit = tuple[LearnerSpec, HeldOut]


def fit_stage(
    config: Config,
    reporter: Reporter,
    learners: Sequence[str] | None = None,
    folds: Sequence[FoldLike] | None = None,
    decided: Decisions = Decisions(),  # noqa: B008 - frozen
    *,
    fail_fast: bool = False,
    budget: Budget | None = None,
    stacks: bool = False,
) -> dict[str, Any]:
    """Fit learner by fold, and store OOF and test logits.

    A learner that fails fails alone: the others are fitted, but for those that need it.

    Parameters
    ----------
    config
        The config.
    reporter
        Told of each fold.
    learners
        Names of the learners to fit; None fits all.
    folds
        What to fit: folds, pairs of folds, the refit (None). Without it all is fitted: folds, the
        refit where the config wants it, and after them the soups, and what the config wants to be
        fitted without each pair of folds.
    decided
        What becomes of fits that other code has made.
    fail_fast
        Whether the first failure ends it.
    budget
        How long the command may take; None sets no limit.
    stacks
        Whether a stack and a submission come after it, for which time is set aside.

    Returns
    -------
    dict[str, Any]
        How many folds were ``fitted`` and how many ``kept``; the same of ``soups``, of ``pairs``,
        which the stack needs, and of ``teaching``, fits of teachers without several folds, where
        there are any; ``failed``, a list of ``Failure`` as JSON, where learners failed; and
        ``unfinished``, labels of fits by learner, where there was no time for them.

    Raises
    ------
    ConfigError
        No learner is called so, or there is no such fold; or nobody has decided what becomes of
        dear fits that other code has made; or something is known to fail before anything is
        fitted: all faults are reported together.
    LearnerError
        The first failure, with ``fail_fast``.
    """
    decided.check(config)
    specs = chosen_specs(config, learners)
    n_splits = n_splits_of(config)
    named = {number for fold in folds or () for number in HeldOut.of(fold).folds}
    foreign = sorted(named - set(range(n_splits)))
    if foreign:
        raise ConfigError(f"there is no fold {foreign[0]}: folds are 0 to {n_splits - 1}")
    with reporter.stage("fit"), connection(config.execution, reporter) as cluster:
        check_and_record(config)
        _warn_of_unused_pretraining(config, specs, reporter)
        decided.remember(
            open_workspace(config),
            lambda: [*chain(*_tasks(config, learners, folds))],
        )
        specs = chosen_specs(config, learners)  # which know now what is kept
        teaching, tasks, soups, pairs = _tasks(config, learners, folds)
        every = [*teaching, *tasks, *soups, *pairs]
        record_jobs(config)
        if budget is not None:
            open_budget(budget, config, open_workspace(config), pairs, stacks=stacks)
        _say_again_fits(config, every, decided, reporter)
        refuse_faults(config, open_workspace(config), every)
        _warn_of_privileged(config, [spec for spec, _ in every], reporter)
        failures: dict[str, Failure] | None = None if fail_fast else {}
        refuse_too_large(config, every, cluster, reporter, failures)
        teaching, tasks, soups, pairs = _tasks(config, learners, folds, failures or ())
        candidates = [spec for spec in specs if not spec.privileged]
        outcome: dict[str, Any] = {}
        fits = [*tasks, *teaching]  # a pupil's fold comes right after what teachers say of it
        before = _complete(config, teaching)
        early = [_fit_early(config, some, reporter, failures, budget) for some in (fits, pairs)]
        early[0] += _check_and_begin(config, tasks, teaching, reporter, failures, budget)
        check_contracts(config, every, reporter, failures, budget)
        if failures and budget is None:  # else some of it may have been fitted by now
            teaching, tasks, soups, pairs = _tasks(config, learners, folds, failures)
            fits, before = [*tasks, *teaching], _complete(config, teaching)
        outcome |= _fitted(config, fits, reporter, failures, budget, early[0])
        if teaching:
            taught = {"fitted": len(_complete(config, teaching) - before), "kept": len(before)}
            outcome |= {name: outcome[name] - count for name, count in taught.items()}
            outcome["teaching"] = taught
            reporter.log(f"fits of teachers  {taught['fitted']} fitted, {taught['kept']} kept")
        reporter.log(f"folds  {outcome['fitted']} fitted, {outcome['kept']} kept")
        for doubt in record_learners(open_workspace(config), candidates):
            reporter.warn(doubt)
        if soups:  # of folds that are all there by now
            found = outcome["soups"] = _fitted(config, soups, reporter, failures, budget)
            reporter.log(f"soups  {found['fitted']} averaged, {found['kept']} kept")
        if pairs:
            if budget is not None:
                budget.later_is_now()
            found = _fitted(config, pairs, reporter, failures, budget, early[1])
            outcome["pairs"] = found
            reporter.log(f"pairs of folds  {found['fitted']} fitted, {found['kept']} kept")
        for spec in specs:
            if spec.name not in (failures or {}):
                forget_failure(Path(config.run_dir), spec.name)
        if unfinished := note_undone(config, open_workspace(config), budget, every):
            outcome["unfinished"] = unfinished
            _tell_unfinished(unfinished, reporter)
    if failures:
        outcome["failed"] = [failure.to_json() for failure in failures.values()]
    return outcome


def _fit_early(
    config: Config,
    tasks: Sequence[Fit],
    reporter: Reporter,
    failures: dict[str, Failure] | None,
    budget: Budget | None,
) -> int:
    """Fit cheap learners before others are checked, where time is short: they can be stacked then.

    Gives how many fits there were.
    """
    if budget is None:
        return 0
    specs = {spec.name: spec for spec, _ in tasks if type(spec.prototype).cheap}
    ready = {*specs} - unchecked_names(open_workspace(config), specs.values())
    uses = config.source_uses()
    while waiting := {
        name for name in ready if {one.name for one in fitted_before(specs[name], uses)} - ready
    }:
        ready -= waiting
    early = [task for task in tasks if task[0].name in ready]
    return execute(config, early, reporter, failures, budget)


def _check_and_begin(
    config: Config,
    tasks: Sequence[Fit],
    teaching: Sequence[Fit],
    reporter: Reporter,
    failures: dict[str, Failure] | None,
    budget: Budget | None,
) -> int:
    """Check a learner and fit its first fold, then the next, where time is short.

    With a fold goes what it needs of teachers; learners with the fewest such fits come first. The
    check of the last must not take the time of all. Where several fits go on at a time, all are
    checked first: devices would wait. Gives how many fits there were.
    """
    specs = {spec.name: spec for spec, _ in tasks}
    asked = unchecked_names(open_workspace(config), specs.values()) if budget else set()
    if not asked or config.execution.slots() > 1:
        return 0
    uses, shape, fitted = config.source_uses(), shape_of(config), 0
    asked_for = {(spec.name, held_out) for spec, held_out in [*tasks, *teaching]}
    first = {spec.name: with_asked([(spec, fit)], uses, shape) for spec, fit in reversed(tasks)}

    def cost(name: str) -> tuple[float, ...]:
        spec, held_out = first[name][0]
        seconds = budget.seconds(Task(spec, held_out)) if budget else None
        return len(first[name]), dependency_depth(spec, uses), seconds or 0.0

    for name in sorted(specs, key=cost):
        own = [task for task in tasks if task[0].name == name]
        check_contracts(config, own, reporter, failures, budget)
        begun = [task for task in first[name] if (task[0].name, task[1]) in asked_for]
        fitted += execute(config, begun, reporter, failures, budget)
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


def _tell_unfinished(unfinished: Mapping[str, Sequence[str]], reporter: Reporter) -> None:
    reporter.event("time limit reached", unfinished=unfinished)
    count = sum(map(len, unfinished.values()))
    reporter.log(f"time limit reached: {count} fit{'s are' if count > 1 else ' is'} left undone")


def _tasks(
    config: Config,
    learners: Sequence[str] | None,
    folds: Sequence[FoldLike] | None,
    failed: Collection[str] = (),
) -> tuple[list[Fit], list[Fit], list[Fit], list[Fit]]:
    """List what is fitted, in this order.

    For learners that have failed, and those that need them, nothing is fitted of others.

    Returns
    -------
    tuple
        Fits of teachers without several folds, for pupils' folds; the folds, with refits; soups of
        folds; and pairs of folds for the stack with what they ask. Where folds are named there are
        no soups, and no other pairs.
    """
    specs = learner_specs(config)
    wanted = {spec.name for spec in chosen_specs(config, learners)}
    uses, shape = config.source_uses(), shape_of(config)
    able = {spec.name for spec in specs} - with_dependents(failed, specs, uses)
    if folds is None:
        refits = [(spec, REFIT) for spec in specs if config.wants_refit(spec.name)]
        refitted = {spec.name for spec, _ in refits}
        # And of whoever labels rows for a refit.
        asked = with_asked(_of(refits, able), uses, shape)
        refitted |= {spec.name for spec, fit in asked if fit.is_refit}
        every = [(spec, fit) for spec in specs for fit in _folds_and_refit(config, spec, refitted)]
        couples = fold_pairs(n_splits_of(config))
        pairs = [(spec, pair) for spec in nested_specs(config) for pair in couples]
    else:
        named = _named(config, specs, [HeldOut.of(fold) for fold in folds])
        every = [fit for fit in named if not fit[1].is_joint]
        pairs = [fit for fit in named if fit[1].is_joint]
    mine = [fit for fit in with_asked(_of(every, able), uses, shape) if fit[1].is_joint]
    known = {(spec.name, held_out) for spec, held_out in mine}
    others = [
        (spec, held_out)
        for spec, held_out in with_asked(_of(pairs, able), uses, shape)
        if (spec.name, held_out) not in known
    ]
    souped = [spec for spec in specs if config.wants_soup(spec.name)]
    soups = [(spec, SOUP) for spec in souped if folds is None]
    return _of(mine, wanted), _of(every, wanted), _of(soups, wanted), _of(others, wanted)


def _named(config: Config, specs: Sequence[LearnerSpec], fits: Sequence[HeldOut]) -> list[Fit]:
    """List what is asked for of learners; those with few folds have no others."""
    planned = {spec.name: set(_planned(config, spec)) for spec in specs}
    return [(s, fit) for s in specs for fit in fits if set(fit.folds) <= planned[s.name]]


def _of(fits: Sequence[Fit], names: Collection[str]) -> list[Fit]:
    return [(spec, held_out) for spec, held_out in fits if spec.name in names]


def fits_of(config: Config, specs: Sequence[LearnerSpec]) -> list[Fit]:
    """List all fits of learners that a config wants: folds, refits, soups, and several folds."""
    return [*chain(*_tasks(config, [spec.name for spec in specs], None))]


def _planned(config: Config, spec: LearnerSpec) -> list[int]:
    return config.learner(spec.name).planned_folds(n_splits_of(config))


def _folds_and_refit(config: Config, spec: LearnerSpec, refitted: set[str]) -> list[HeldOut]:
    """List a learner's folds and its refit: last, or second where nothing can be stacked without.

    However soon the time is over, a learner then has what the stack needs of it, or nearly so.
    """
    folds = [HeldOut.of(fold) for fold in _planned(config, spec)]
    if spec.name not in refitted:
        return folds
    at = 1 if config.models_of(spec.name) == "refit" else len(folds)
    return [*folds[:at], REFIT, *folds[at:]]


def record_jobs(config: Config) -> None:
    """Write down all fits that the config asks for, whichever are asked for now."""
    workspace, specs = open_workspace(config), learner_specs(config)
    fits: dict[str, dict[str, str]] = {spec.name: {} for spec in specs}
    keys = workspace.fit_keys()
    for spec, held_out in fits_of(config, specs):
        fits[spec.name][held_out.name] = keys.of(spec, held_out)[0]
    write_jobs(workspace.run, [LearnerJobs(name, own) for name, own in fits.items()])


def _say_again_fits(
    config: Config, tasks: Sequence[Fit], decided: Decisions, reporter: Reporter
) -> None:
    """Say which fits are made anew and why, unless it has to be decided first whether."""
    again = list(made_again(open_workspace(config), tasks))
    refuse_undecided(again, decided.refit)
    for line in told_again(again):
        reporter.event("made again", what=line)
        reporter.log(f"made again: {line}")


def _fitted(
    config: Config,
    tasks: Sequence[Fit],
    reporter: Reporter,
    failures: dict[str, Failure] | None,
    budget: Budget | None,
    early: int = 0,
) -> dict[str, int]:
    """Fit, and count what was fitted and what was there; the rest failed, or was not started.

    So many of them have been fitted before.
    """
    fitted = early + execute(config, tasks, reporter, failures, budget)
    some_miss = failures or (budget is not None and budget.undone)
    missing = len(unfinished_fits(open_workspace(config), tasks)) if some_miss else 0
    return {"fitted": fitted, "kept": len(tasks) - fitted - missing}


def chosen_specs(config: Config, learners: Sequence[str] | None) -> list[LearnerSpec]:
    """Give the learners of some names, all without names; an unknown name is a ConfigError."""
    wanted = [config.learner(name).name for name in learners] if learners else None
    return [spec for spec in learner_specs(config) if wanted is None or spec.name in wanted]


def _warn_of_privileged(config: Config, specs: Sequence[LearnerSpec], reporter: Reporter) -> None:
    """Say what privileged columns lack, and what is odd about them."""
    workspace = open_workspace(config)
    for spec in {spec.name: spec for spec in specs if spec.privileged}.values():
        for doubt in privileged_doubts(workspace, spec):
            reporter.warn(doubt)


def _warn_of_unused_pretraining(
    config: Config, specs: Sequence[LearnerSpec], reporter: Reporter
) -> None:
    """Say which learners have no use for the rows that are for pre-training."""
    sources = [source.name for source in config.sources if source.role == "pretrain"]
    without = [spec.name for spec in specs if not hasattr(spec.prototype, "pretrain")]
    if sources and without:
        text = (
            f"{', '.join(without)} cannot pre-train: the rows of {', '.join(sources)} "
            'are not used by them (role = "train" would mix them in)'
        )
        reporter.warn(text)
