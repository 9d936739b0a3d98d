"""A time limit for a whole command: what it is told before fits, and what it has left undone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ensemble.oof.budget import MARGIN
from ensemble.oof.durations import Durations
from ensemble.oof.fold_key import fold_key
from ensemble.processes import available_cores
from ensemble.run_dir.stage_times import stage_seconds
from ensemble.run_dir.unfinished_record import write_unfinished
from ensemble.setup.durations import suggestions, summary_of
from ensemble.stacking.settings import learner_specs
from ensemble.stacking.unfinished import undone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.oof.budget import Budget
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

    Fit = tuple[LearnerSpec, HeldOut]

AFTER_FITS = ("stack", "predict", "holdout", "audit", "report")
"""Stages that come after all fits."""
_SECONDS, _SECONDS_A_ROW = 15.0, 0.002
"""What they take together where nobody has measured it: a guess, by small stacks on 2 cores."""


def open_budget(
    budget: Budget, config: Config, workspace: Workspace, pairs: Sequence[Fit], *, stacks: bool
) -> None:
    """Tell a time limit how long things take.

    Parameters
    ----------
    budget
        The limit.
    config, workspace
        Of the run.
    pairs
        Fits without pairs of folds, which come after the folds.
    stacks
        Whether a stack and a submission come after all fits.
    """
    budget.begin(
        Durations(
            config,
            workspace.plan.n_splits,
            suggestions(lambda: summary_of(workspace.battles, config), workspace.plan.n_splits),
        ),
        n_splits=workspace.plan.n_splits,
        aside=seconds_after_fits(workspace.run, len(workspace.battles)) if stacks else 0.0,
        later=pairs,
        beside=cheap_at_a_time(config),
        slots=_dear_at_a_time(config),
    )


def cheap_at_a_time(config: Config) -> int:
    """Say how many fits of cheap learners go on at a time."""
    execution = config.execution
    if execution.executor == "auto":
        return execution.workers or available_cores()
    return execution.slots()


def _dear_at_a_time(config: Config) -> int:
    """Say how many fits of other learners go on at a time; on a cluster, as many as there are."""
    execution = config.execution
    return execution.workers or sys.maxsize if execution.executor == "ray" else execution.slots()


def seconds_after_fits(run: Path, rows: int) -> float:
    """Say how long stack, submission, audit and report take: as last time here, or a guess."""
    measured = stage_seconds(run, AFTER_FITS)
    if "stack" in measured:
        return MARGIN * sum(measured.values())
    return _SECONDS + _SECONDS_A_ROW * rows


def note_undone(
    config: Config, workspace: Workspace, budget: Budget | None, asked: Sequence[Fit]
) -> dict[str, list[str]]:
    """Write down what is undone for want of time: now, and in former calls that asked for more.

    Returns
    -------
    dict[str, list[str]]
        Labels of the fits that were asked for now and are undone, by learner.
    """
    specs, shared = learner_specs(config), workspace.shared_key()
    names = {(spec.name, held_out) for spec, held_out in asked}
    still = undone(workspace, specs)
    now = [] if budget is None else sorted(budget.undone)
    fits: dict[str, dict[str, str]] = {}
    for spec in specs:
        before = [one for one in still.get(spec.name, ()) if (spec.name, one) not in names]
        for one in [*before, *(held_out for name, held_out in now if name == spec.name)]:
            fits.setdefault(spec.name, {})[one.name] = fold_key(spec, one, shared)[0]
    write_unfinished(workspace.run, fits, None if budget is None else budget.limit)
    return {
        spec.name: labels
        for spec in specs
        if (labels := [held_out.label for name, held_out in now if name == spec.name])
    }
