"""What the ways to combine learners share: logits by learner's name, weighted sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import over_classes, softmax
from ensemble.evaluation.ties import TIE, leave_out_tie, number_of_classes, with_no_tie

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, LogitArray, MetaFeatures

_BLOCK = 512
"""Rows that are laid out anew at once: of all learners, a processor's cache can hold so many."""


def logits_of(meta: MetaFeatures, learners: Sequence[str]) -> FloatArray:
    """Take the learners' logits by name: ``(n, len(learners), k)`` float64, row means removed.

    ``k`` is 3, or 2 in a task without ties. A constant added to the logits of a row changes no
    probability, so it is taken out before anything is fitted on them. In memory, each learner's
    stand together.

    Raises
    ------
    ArtifactError
        A learner that the model was fitted on is not there.
    """
    require_learners(meta, learners)
    order = [meta.learners.index(name) for name in learners]
    classes = number_of_classes(ties=meta.ties)
    values = np.empty((len(learners), len(meta), classes))
    for start in range(0, len(meta), _BLOCK):
        rows = slice(start, start + _BLOCK)
        values[:, rows] = centered(meta.logits[rows][:, order, :classes].transpose(1, 0, 2))
    return values.transpose(1, 0, 2)


def labels_for(meta: MetaFeatures, labels: FloatArray) -> FloatArray:
    """Take the classes of the task from labels ``(n, 3)``: ``(n, k)``."""
    return labels[:, : number_of_classes(ties=meta.ties)]


def probabilities_of(logits: FloatArray) -> FloatArray:
    """Turn logits ``(n, k)`` into probabilities ``(n, 3)``; of two classes the tie has none."""
    found = softmax(logits)
    return with_no_tie(found) if found.shape[1] == TIE else found


def learner_probabilities(meta: MetaFeatures, learner: int) -> FloatArray:
    """Give what one learner alone predicts, by its place: ``(n, 3)``."""
    return softmax(leave_out_tie(meta.logits[:, learner], ties=meta.ties))


def require_learners(meta: MetaFeatures, learners: Sequence[str]) -> None:
    """Refuse what lacks a learner that a model was fitted on.

    Raises
    ------
    ArtifactError
        With the names of those that are missing.
    """
    missing = [name for name in learners if name not in meta.learners]
    if missing:
        raise ArtifactError(
            f"the stack was fitted on learners that are not there: {', '.join(missing)}",
            hint="run the stack stage again with the learners of this config",
        )


def centered(logits: LogitArray) -> FloatArray:
    """Take the mean of the last axis, a row's logits, out of each row: a new float64 array."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(values - over_classes(np.add, values) / values.shape[-1])


def weighted_sum(logits: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum ``(n, n_learners, k)`` over learners, each times its weight: ``(n, k)``.

    The learners are added one after the other: a matrix product may round a row differently alone
    and in a batch. Those without weight are left out.
    """
    total = np.zeros((len(logits), logits.shape[2]))
    for learner in np.flatnonzero(weights):
        total += weights[learner] * logits[:, learner]
    return total


def row_weights(rows: int, sample_weight: FloatArray | None) -> FloatArray:
    """Give each row its share of the whole: ``(rows,)``, summing to 1."""
    weights = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, np.float64)
    return np.asarray(weights / weights.sum())
