"""Remember the learners of a run that have been scored, stacked or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.schema import labels_of
from ensemble.errors import ArtifactError
from ensemble.stacking.assemble import check_folds
from ensemble.stacking.doubt import outside_learners
from ensemble.stacking.sanity import class_prior_losses, doubts_about, refuse_labels
from ensemble.stacking.scoring import row_log_loss, softmax
from ensemble.stacking.tries import TryStore, learner_try, scored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace


def record_learners(workspace: Workspace, specs: Sequence[LearnerSpec]) -> list[str]:
    """Remember the losses of learners whose folds are all there, whether or not they are stacked.

    Parameters
    ----------
    workspace
        The run's battles, plan and folds.
    specs
        The learners; one with a fold that is missing or not current is left out.

    Returns
    -------
    list of str
        What is odd about their scores, in sentences.

    Raises
    ------
    DataError
        Predictions from outside are the labels.
    """
    plan = workspace.plan.frame
    target = workspace.battles.filter(pl.col("role") == "target")
    folds = plan.filter(plan["id"].is_in(target["id"].implode()))["fold"].to_numpy()
    labels, scored, doubts = labels_of(target), {}, list[str]()
    prior = float(class_prior_losses(labels, folds).mean())
    for spec in specs:
        try:
            origins = check_folds(workspace, [spec])[spec.name]
        except ArtifactError:
            continue
        logits = workspace.store.oof(spec.name, target["id"])
        if spec.name in outside_learners([spec]):
            refuse_labels(spec.name, logits, labels)
        doubts += doubts_about(spec.name, logits, labels, prior)
        scored[learner_try(spec.name, origins)] = row_log_loss(labels, softmax(logits))
    open_tries(workspace).record(target["id"].to_list(), scored)
    return doubts


def open_tries(workspace: Workspace) -> TryStore:
    """Open what the run remembers of its fold plan."""
    return TryStore(workspace.run, scored_rows(workspace.plan, workspace.battles))
