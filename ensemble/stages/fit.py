"""Learner by fold to OOF and test logits."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import REFIT, SOUP, HeldOut, fold_pairs
from ensemble.battles.split import n_splits_of
from ensemble.errors import ConfigError
from ensemble.oof.executors import execute
from ensemble.oof.preflight import privileged_doubts, unfinished
from ensemble.oof.refits import Decisions, made_again, refuse_undecided, told_again
from ensemble.oof.teaching import with_asked
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.failure_record import forget_failure
from ensemble.stacking.preflight import refuse_faults
from ensemble.stacking.remember import record_learners
from ensemble.stacking.settings import learner_specs, nested_specs, shape_of
from ensemble.stages.contracts import check_contracts
from ensemble.stages.shared import check_and_record

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.failure import Failure
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

    Returns
    -------
    dict[str, Any]
        How many folds were ``fitted`` and how many ``kept``; the same of ``soups``, of ``pairs``,
        which the stack needs, and of ``teaching``, fits of teachers without several folds, where
        there are any; and ``failed``, a list of ``Failure`` as JSON, where learners failed.

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
    with reporter.stage("fit"):
        check_and_record(config)
        _warn_of_unused_pretraining(config, specs, reporter)
        decided.remember(
            open_workspace(config),
            lambda: [*chain(*_tasks(config, learners, folds))],
        )
        specs = chosen_specs(config, learners)  # which know now what is kept
        teaching, tasks, soups, pairs = _tasks(config, learners, folds)
        every = [*teaching, *tasks, *soups, *pairs]
        _say_again_fits(config, every, decided, reporter)
        refuse_faults(config, open_workspace(config), every)
        _warn_of_privileged(config, [spec for spec, _ in every], reporter)
        failures: dict[str, Failure] | None = None if fail_fast else {}
        check_contracts(config, every, reporter, failures)
        taught = _fitted(config, teaching, reporter, failures)
        outcome: dict[str, Any] = _fitted(config, tasks, reporter, failures)
        candidates = [spec for spec in specs if not spec.privileged]
        if teaching:
            outcome["teaching"] = taught
            reporter.log(f"fits of teachers  {taught['fitted']} fitted, {taught['kept']} kept")
        reporter.log(f"folds  {outcome['fitted']} fitted, {outcome['kept']} kept")
        for doubt in record_learners(open_workspace(config), candidates):
            reporter.warn(doubt)
        if soups:  # of folds that are all there by now
            found = outcome["soups"] = _fitted(config, soups, reporter, failures)
            reporter.log(f"soups  {found['fitted']} averaged, {found['kept']} kept")
        if pairs:
            found = outcome["pairs"] = _fitted(config, pairs, reporter, failures)
            reporter.log(f"pairs of folds  {found['fitted']} fitted, {found['kept']} kept")
        for spec in specs:
            if spec.name not in (failures or {}):
                forget_failure(Path(config.run_dir), spec.name)
    if failures:
        outcome["failed"] = [failure.to_json() for failure in failures.values()]
    return outcome


def _tasks(
    config: Config, learners: Sequence[str] | None, folds: Sequence[FoldLike] | None
) -> tuple[list[Fit], list[Fit], list[Fit], list[Fit]]:
    """List what is fitted, in this order.

    Returns
    -------
    tuple
        Fits of teachers without several folds, for pupils' folds; the folds, with refits; soups of
        folds; and pairs of folds for the stack with what they ask. Where folds are named there are
        no soups, and no other pairs.
    """
    specs = learner_specs(config)
    wanted = {spec.name for spec in chosen_specs(config, learners)}
    singles = [HeldOut.of(fold) for fold in range(n_splits_of(config))]
    named = [*singles] if folds is None else [HeldOut.of(fold) for fold in folds]
    chosen = [held_out for held_out in named if not held_out.is_joint]
    uses, shape = config.source_uses(), shape_of(config)
    every = [(spec, held_out) for spec in specs for held_out in chosen]
    pairs = [(spec, held_out) for spec in specs for held_out in named if held_out.is_joint]
    if folds is None:
        refits = [(spec, REFIT) for spec in specs if config.wants_refit(spec.name)]
        # And of whoever labels rows for a refit.
        every += [fit for fit in with_asked(refits, uses, shape) if fit[1].is_refit]
        pairs = [(spec, pair) for spec in nested_specs(config) for pair in fold_pairs(len(singles))]
    mine = [fit for fit in with_asked(every, uses, shape) if fit[1].is_joint]
    known = {(spec.name, held_out) for spec, held_out in mine}
    others = [
        (spec, held_out)
        for spec, held_out in with_asked(pairs, uses, shape)
        if (spec.name, held_out) not in known
    ]
    souped = [spec for spec in specs if config.models_of(spec.name) == "soup"]
    soups = [(spec, SOUP) for spec in souped if folds is None]
    return _of(mine, wanted), _of(every, wanted), _of(soups, wanted), _of(others, wanted)


def _of(fits: Sequence[Fit], names: Collection[str]) -> list[Fit]:
    return [(spec, held_out) for spec, held_out in fits if spec.name in names]


def fits_of(config: Config, specs: Sequence[LearnerSpec]) -> list[Fit]:
    """List all fits of learners that a config wants: folds, refits, soups, and several folds."""
    return [*chain(*_tasks(config, [spec.name for spec in specs], None))]


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
    config: Config, tasks: Sequence[Fit], reporter: Reporter, failures: dict[str, Failure] | None
) -> dict[str, int]:
    """Fit, and count what was fitted and what was there; the rest failed, or was not started."""
    fitted = execute(config, tasks, reporter, failures)
    missing = len(unfinished(open_workspace(config), tasks)) if failures else 0
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
