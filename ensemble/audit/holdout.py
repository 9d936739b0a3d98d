"""The checks of an audit on the last score: what made it, and that it is what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.audit.checks import told_error
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.layout import HOLDOUT, HOLDOUT_RECORD, STACK
from ensemble.run_dir.stack_files import read_verdict
from ensemble.run_dir.tables import read_table
from ensemble.stacking.made_from import read_stack_manifest
from ensemble.submission.holdout import (
    holdout_fault,
    holdout_rows,
    predict_holdout,
    read_holdout,
    rescored,
    score_each,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.audit.checks import CheckList
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray
    from ensemble.run_dir.holdout_record import HoldoutScore

_TOLERANCE = 1e-6
_ASKED_TOLERANCE = 1e-4
"""Of probabilities of a stack that is asked again, on this machine or another."""


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
        ledger.fail(title, told_error(error))


def ask_holdout(
    config: Config, workspace: Workspace, battles: pl.DataFrame, ledger: CheckList
) -> None:
    """Ask the stored stack for the hold-out again, from the stored logits.

    Parameters
    ----------
    config
        Of the run, as it was stacked.
    workspace, battles
        Its battles without the hold-out's labels, and with them.
    ledger
        Takes what holds, and what does not.
    """
    run = workspace.run
    if not config.folds.holdout or holdout_fault(run, config) is not None:
        return  # the plain audit has said so
    title = "hold-out: the stored stack and learners predict it"
    try:
        candidates, learners = predict_holdout(config, workspace)
        odd = [name for name, each in candidates.items() if not _is_stored(workspace, name, each)]
        again = score_each(learners, holdout_rows(battles, workspace.plan))
        odd += _other_scores(again, read_holdout(run, config).learners)
    except EnsembleError as error:
        ledger.note(ledger.unproven, f"hold-out: {told_error(error)}")
        return
    told = f"others are stored of {', '.join(odd)}" if odd else None
    ledger.settle(title, told, f"{len(candidates)} candidates and {len(learners)} learners")


def _is_stored(workspace: Workspace, name: str, predicted: FloatArray) -> bool:
    table = read_table(workspace.run / HOLDOUT, ["candidate", "id", *CLASSES])
    own = table.filter(pl.col("candidate") == name)
    ids = workspace.holdout_rows().select("id")
    stored = ids.join(own, on="id", how="left", maintain_order="left").select(CLASSES).to_numpy()
    return bool(np.allclose(stored, predicted, rtol=0, atol=_ASKED_TOLERANCE))


def _other_scores(again: Sequence[HoldoutScore], stored: Sequence[HoldoutScore]) -> list[str]:
    """Name the learners whose recorded scores are others, or that are not in both."""
    one, other = ({s.name: (s.log_loss, s.accuracy) for s in scores} for scores in (again, stored))
    return [
        name
        for name in sorted({*one, *other})
        if name not in one
        or name not in other
        or not np.allclose(one[name], other[name], rtol=0, atol=_TOLERANCE)
    ]


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
