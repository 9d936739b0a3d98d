"""The checks of an audit on the last score: what made it, and that it is what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import HOLDOUT_RECORD, STACK
from ensemble.run_dir.stack_files import read_verdict
from ensemble.stacking.made_from import read_stack_manifest
from ensemble.submission.holdout import holdout_fault, holdout_rows, read_holdout, rescored

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ensemble.audit.checks import CheckList
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config

_TOLERANCE = 1e-6


def check_holdout(
    run: Path, config: Config, plan: FoldPlan, battles: pl.DataFrame, ledger: CheckList
) -> None:
    """Check the last score of a run that keeps a hold-out.

    Parameters
    ----------
    run, config
        The run, and its own config.
    plan, battles
        Its fold plan, and ``BATTLE_SCHEMA``.
    ledger
        Takes what holds, what does not, and a score that is not there.
    """
    if not config.folds.holdout or not (run / STACK).exists():
        return
    if not (run / HOLDOUT_RECORD).exists():
        ledger.missing.append("the score of the hold-out")
        return
    fault = holdout_fault(run, config)
    title = "hold-out: scored by the final models of this stack"
    ledger.settle(title, fault, "stack and predictions are the same")
    if fault is not None:
        return
    rows = holdout_rows(battles, plan)
    title = "hold-out: scores are those of the stored predictions on the stored labels"
    try:
        ledger.settle(title, _differences(run, config, rows), f"{len(rows)} rows")
    except ArtifactError as error:
        ledger.fail(title, error.message)


def _differences(run: Path, config: Config, rows: pl.DataFrame) -> str | None:
    """Say what the record says otherwise than the tables; None where nothing."""
    record, found = read_holdout(run, config), rescored(run, rows)
    odd = [
        one.name
        for one in record.candidates
        if one.name not in found
        or abs(found[one.name][0] - one.log_loss) > _TOLERANCE
        or abs(found[one.name][1] - one.accuracy) > _TOLERANCE
    ]
    if {one.name for one in record.candidates} != set(found):
        odd.append("other candidates than are stored")
    if record.chosen != read_verdict(run / STACK)["chosen"]:
        odd.append("another chosen candidate than the verdict's")
    if record.rows != len(rows) or record.clusters != rows["cluster"].n_unique():
        odd.append("the number of rows or clusters")
    if list(record.unproven) != list(read_stack_manifest(run)["unproven"]):
        odd.append("which learners are unproven")
    return f"other: {', '.join(odd)}" if odd else None
