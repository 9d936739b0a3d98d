"""The whole way, top to bottom: prepare, split, fit, stack, predict, audit, report.

The only file that knows the order. Each stage reads the files that the one before wrote and does
nothing where its own are there already, so that running the same config again resumes the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.config.load import load_config
from ensemble.config.settings import Config
from ensemble.oof.refits import Decisions
from ensemble.stages.audit import audit_stage
from ensemble.stages.fit import fit_stage
from ensemble.stages.holdout import holdout_stage
from ensemble.stages.incomplete import refuse_incomplete, reported
from ensemble.stages.observed import finishing
from ensemble.stages.predict import predict_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.report import keep_report, report_stage
from ensemble.stages.split import split_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.oof.budget import Budget
    from ensemble.run_dir.reporter import ProgressDisplay


def run(
    config: Config | str | Path,
    display: ProgressDisplay | None = None,
    *,
    refit: Sequence[str] = (),
    keep: Sequence[str] = (),
    fail_fast: bool = False,
    budget: Budget | None = None,
) -> Path:
    """Do all of it: from the sources to submission and report.

    Parameters
    ----------
    config
        A config, or the path of one.
    display
        Where a person watches; None shows nothing.
    refit, keep
        Learners whose fits, where other code of their plugin has made them, are made anew or kept.
    fail_fast
        Whether the first learner that fails ends the run.
    budget
        How long all of it may take; None sets no limit. Fits for which there is no time are left
        undone, and the stack is made of what is complete.

    Returns
    -------
    Path
        The run directory.

    Raises
    ------
    EnsembleError
        What went wrong, where, and how to fix it. Everything complete by then is kept.
    IncompleteRunError
        Learners or the meta-learner failed, or time was short. All else is done first, down to
        submission and report, with what is complete; the same call again goes on.
    """
    config = config if isinstance(config, Config) else load_config(Path(config))
    decided = Decisions(tuple(refit), tuple(keep))
    decided.check(config)
    with working(config, display) as reporter, finishing(config, reporter):
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        fit_stage(
            config, reporter, decided=decided, fail_fast=fail_fast, budget=budget, stacks=True
        )
        with reported(config, reporter):
            stack_stage(config, reporter)
        predict_stage(config, reporter)
        holdout_stage(config, reporter)
        audit_stage(config, reporter)
        if not keep_report(config, reporter):
            report_stage(config, reporter)
        refuse_incomplete(config)
    return Path(config.run_dir)
