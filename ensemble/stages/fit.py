"""Learner by fold to OOF and test logits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.battles.split import n_splits_of
from ensemble.errors import ConfigError
from ensemble.oof.cluster.session import connection
from ensemble.oof.preflight import privileged_doubts
from ensemble.oof.refits import Decisions, made_again, refuse_undecided, told_again
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.failure_record import forget_failure
from ensemble.stacking.preflight import refuse_faults
from ensemble.stacking.settings import shape_of
from ensemble.stages.budget import note_undone, open_budget
from ensemble.stages.fit_list import chosen_specs, list_fits, record_jobs
from ensemble.stages.fitting import Fitting
from ensemble.stages.resources import refuse_too_large
from ensemble.stages.shared import check_and_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
    from ensemble.run_dir.reporter import Reporter
    from ensemble.stages.fit_list import Fit, FitList


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
    chosen_specs(config, learners)  # an unknown name is told before anything is done
    refuse_unknown_folds(config, folds)
    listed = partial(list_fits, config, learners, folds)
    with reporter.stage("fit"), connection(config.execution, reporter) as cluster:
        check_and_record(config)
        _warn_of_unused_pretraining(config, chosen_specs(config, learners), reporter)
        decided.remember(open_workspace(config), lambda: listed().every)
        asked = listed()  # of specs which know now what is kept
        _settle(config, asked, decided, budget, reporter, stacks=stacks)
        failures: dict[str, Failure] | None = None if fail_fast else {}
        refuse_too_large(config, asked.every, cluster, reporter, failures)
        specs = chosen_specs(config, learners)
        outcome = Fitting(config, reporter, failures, budget).fit_all(specs, asked, listed)
        for spec in specs:
            if spec.name not in (failures or {}):
                forget_failure(Path(config.run_dir), spec.name)
        if unfinished := note_undone(config, open_workspace(config), budget, asked.every):
            outcome["unfinished"] = unfinished
            _tell_unfinished(unfinished, reporter)
    if failures:
        outcome["failed"] = [failure.to_json() for failure in failures.values()]
    return outcome


def refuse_unknown_folds(config: Config, folds: Sequence[FoldLike] | None) -> None:
    """Refuse folds that the plan does not have, and fits with no rows to learn from."""
    n_splits = n_splits_of(config)
    named = {number for fold in folds or () for number in HeldOut.of(fold).folds}
    if foreign := sorted(named - set(range(n_splits))):
        raise ConfigError(f"there is no fold {foreign[0]}: folds are 0 to {n_splits - 1}")
    # Blocks of time begin with one that is in no fold, and rows of other sources are in none.
    in_folds = not shape_of(config).is_ordered and all(s.role == "target" for s in config.sources)
    if in_folds and any(len(HeldOut.of(fold).folds) == n_splits for fold in folds or ()):
        raise ConfigError(f"a fit without all {n_splits} folds has no rows to learn from")


def _settle(
    config: Config,
    asked: FitList,
    decided: Decisions,
    budget: Budget | None,
    reporter: Reporter,
    *,
    stacks: bool,
) -> None:
    """Write down what is asked for, and refuse what is known to fail or nobody has decided."""
    record_jobs(config)
    workspace = open_workspace(config)
    if budget is not None:
        open_budget(budget, config, workspace, asked.pairs, stacks=stacks)
    _say_again_fits(config, asked.every, decided, reporter)
    refuse_faults(config, workspace, asked.every)
    _warn_of_privileged(config, [spec for spec, _ in asked.every], reporter)


def _say_again_fits(
    config: Config, tasks: Sequence[Fit], decided: Decisions, reporter: Reporter
) -> None:
    """Say which fits are made anew and why, unless it has to be decided first whether."""
    again = list(made_again(open_workspace(config), tasks))
    refuse_undecided(again, decided.refit)
    for line in told_again(again):
        reporter.event("made again", what=line)
        reporter.log(f"made again: {line}")


def _tell_unfinished(unfinished: Mapping[str, Sequence[str]], reporter: Reporter) -> None:
    reporter.event("time limit reached", unfinished=unfinished)
    count = sum(map(len, unfinished.values()))
    reporter.log(f"time limit reached: {count} fit{'s are' if count > 1 else ' is'} left undone")


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
