"""What the ways to combine learners share: logits by learner's name, weighted sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import over_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, LogitArray, MetaFeatures


def logits_of(meta: MetaFeatures, learners: Sequence[str]) -> FloatArray:
    """Take the learners' logits by name: ``(n, len(learners), 3)`` float64, row means removed.

    A constant added to the three logits of a row changes no probability, so it is taken out before
    anything is fitted on them. In memory, each learner's stand together.

    Raises
    ------
    ArtifactError
        A learner that the model was fitted on is not there.
    """
    missing = [name for name in learners if name not in meta.learners]
    if missing:
        raise ArtifactError(
            f"the stack was fitted on learners that are not there: {', '.join(missing)}",
            mend="run the stack stage again with the learners of this config",
        )
    values = np.empty((len(learners), len(meta), meta.logits.shape[2]))
    for own, name in zip(values, learners, strict=True):  # one by one: a copy of all is large
        own[:] = centered(meta.logits[:, meta.learners.index(name)])
    return values.transpose(1, 0, 2)


def centered(logits: LogitArray) -> FloatArray:
    """Take the mean of the last axis, three logits, out of each row: a new float64 array."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(values - over_classes(np.add, values) / values.shape[-1])


def weighted_sum(logits: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum ``(n, n_learners, 3)`` over learners, each times its weight: ``(n, 3)``.

    The learners are added one after the other: a matrix product may round a row differently alone
    and in a batch.
    """
    total = np.zeros((len(logits), logits.shape[2]))
    for learner, weight in enumerate(weights):
        total += weight * logits[:, learner]
    return total


def row_weights(rows: int, sample_weight: FloatArray | None) -> FloatArray:
    """Give each row its share of the whole: ``(rows,)``, summing to 1."""
    weights = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, np.float64)
    return np.asarray(weights / weights.sum())
