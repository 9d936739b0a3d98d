"""The final models on the hold-out: the last score, made once a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.prepared import read_battles
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import HOLDOUT_RECORD
from ensemble.stacking.left_out import as_stacked
from ensemble.stacking.made_from import check_stack, read_stack_manifest, stacked_folds
from ensemble.stages.shared import say_again
from ensemble.submission.holdout import (
    holdout_fault,
    read_holdout,
    remove_holdout,
    score_holdout,
)

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.holdout_record import HoldoutRecord
    from ensemble.run_dir.reporter import Reporter


def holdout_stage(config: Config, reporter: Reporter) -> HoldoutRecord | None:
    """Score the hold-out; nothing where the config keeps none."""
    workspace = open_workspace(config)
    if not config.folds.holdout:
        remove_holdout(workspace.run)
        return None
    check_stack(config, workspace)
    fault = holdout_fault(workspace.run, config)
    if fault is None:
        record = read_holdout(workspace.run, config)
    else:
        if (workspace.run / HOLDOUT_RECORD).exists():
            say_again(reporter, "score of the hold-out", fault)
        with reporter.stage("holdout"):
            stack = read_stack_manifest(workspace.run)
            stacked, made_of = as_stacked(config, stack), workspace.with_folds(stacked_folds(stack))
            record = score_holdout(stacked, made_of, read_battles(workspace.run)[0])
            reporter.event("hold-out", chosen=record.chosen, log_loss=record.score.log_loss)
    for sentence in (record.sentence, *(soup.sentence for soup in record.soups)):
        reporter.log(sentence)
    return record
