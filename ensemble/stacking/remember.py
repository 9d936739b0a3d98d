"""Remember the learners of a run that have been scored, stacked or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.schema import labels_of
from ensemble.errors import ArtifactError
from ensemble.stacking.assemble import check_folds
from ensemble.stacking.scoring import row_log_loss, softmax
from ensemble.stacking.tries import TryStore, learner_try, scored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace


def record_learners(workspace: Workspace, specs: Sequence[LearnerSpec]) -> None:
    """Remember the losses of learners whose folds are all there, whether or not they are stacked.

    Parameters
    ----------
    workspace
        The run's battles, plan and folds.
    specs
        The learners; one with a fold that is missing or not current is left out.
    """
    target = workspace.battles.filter(pl.col("role") == "target")
    labels, scored = labels_of(target), {}
    for spec in specs:
        try:
            origins = check_folds(workspace, [spec])[spec.name]
        except ArtifactError:
            continue
        probabilities = softmax(workspace.store.oof(spec.name, target["id"]))
        scored[learner_try(spec.name, origins)] = row_log_loss(labels, probabilities)
    open_tries(workspace).record(target["id"].to_list(), scored)


def open_tries(workspace: Workspace) -> TryStore:
    """Open what the run remembers of its fold plan."""
    return TryStore(workspace.run, scored_rows(workspace.plan, workspace.battles))
