"""Remember the learners of a run that have been scored, stacked or not."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import class_prior_losses, row_errors, row_log_loss, softmax
from ensemble.stacking.assemble import check_folds
from ensemble.stacking.doubt import outside_learners
from ensemble.stacking.sanity import doubts_about, refuse_labels
from ensemble.stacking.tries import Try, TryStore, learner_try, scored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray


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
        What is odd about their scores, and what of them is damaged, in sentences.

    Raises
    ------
    DataError
        Predictions from outside are the labels.
    """
    tries, scorer = open_tries(workspace), _Scorer(workspace)
    forgotten = tries.mend()
    scored: dict[Try, FloatArray] = {}
    errors: dict[Try, FloatArray] = {}
    doubts: dict[Try, list[str]] = {}
    for spec in specs:
        try:
            origins = check_folds(workspace, [spec])[spec.name]
        except ArtifactError:
            continue
        one = learner_try(spec.name, origins)
        known = tries.doubts(one)
        if known is None:
            scored[one], errors[one], known = scorer.score(spec)
        doubts[one] = known
    if scored:
        tries.record(workspace.eval_set.ids.to_list(), scored, doubts, errors=errors)
    found = [doubt for each in doubts.values() for doubt in each]
    return [forgotten, *found] if forgotten else found


class _Scorer:
    """Scores learners on the target rows, which are looked at where there is one to score."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def labels(self) -> FloatArray:
        return self.workspace.eval_set.labels

    @cached_property
    def prior(self) -> float:
        return float(class_prior_losses(self.labels, self.workspace.eval_set.folds).mean())

    def score(self, spec: LearnerSpec) -> tuple[FloatArray, FloatArray, list[str]]:
        logits = self.workspace.store.oof(spec.name, self.workspace.eval_set)
        if spec.name in outside_learners([spec]):
            refuse_labels(spec.name, logits, self.labels)
        known = ~np.isnan(logits).any(axis=1)
        doubts = list(doubts_about(spec.name, logits[known], self.labels[known], self.prior))
        shares = softmax(logits)
        return row_log_loss(self.labels, shares), row_errors(self.labels, shares), doubts


def open_tries(workspace: Workspace) -> TryStore:
    """Open what the run remembers of its fold plan."""
    return TryStore(workspace.run, scored_by(workspace))


def scored_by(workspace: Workspace) -> str:
    """Name what every score of a run is of, as ``scored_rows`` does."""
    return scored_rows(workspace.plan, workspace.battles, ties=workspace.ties)
