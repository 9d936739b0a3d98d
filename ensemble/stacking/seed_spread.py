"""How much learners' seeds move scores: replicates in which seeds are drawn with replacement.

A learner with several seeds is used as the mean of their logits. Another draw of seeds would have
given another mean. The bootstrap (Efron and Tibshirani, 1993) draws as many seeds as there are,
with replacement; candidates are fitted on the means and predict each replicate, so that the
interval of a gain contains both the clusters' and the seeds' part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.losses import METRICS, row_log_loss, softmax
from ensemble.evaluation.ties import leave_out_tie
from ensemble.stacking.logits import learner_probabilities

if TYPE_CHECKING:
    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray, MetaFeatures
    from ensemble.stacking.data import StackData

REPLICATES = 20
"""How often seeds are drawn; the draws of clusters are divided among them."""


def seed_replicates(data: StackData, seed: int) -> list[MetaFeatures]:
    """Give what candidates might have predicted from, had other seeds been drawn.

    Returns
    -------
    list of MetaFeatures
        ``REPLICATES`` of them; none where no learner has several seeds.
    """
    if not data.seed_logits:
        return []
    generator = np.random.default_rng([seed, REPLICATES])
    found = []
    for _ in range(REPLICATES):
        logits = data.meta.logits.copy()
        for name, each in data.seed_logits.items():
            drawn = each[generator.integers(0, len(each), len(each))]
            logits[:, data.meta.learners.index(name)] = drawn.mean(axis=0)
        found.append(replace(data.meta, logits=logits))
    return found


def learner_losses(
    meta: MetaFeatures, labels: FloatArray, metric: Metric = "log_loss"
) -> FloatArray:
    """Log loss, or error, of each row under each learner alone: ``(n, n_learners)``."""
    learners = range(meta.logits.shape[1])
    losses = [METRICS[metric](labels, learner_probabilities(meta, i)) for i in learners]
    return np.column_stack(losses)


def seed_records(data: StackData) -> dict[str, dict[str, Any]]:
    """Say of each learner with several seeds how they spread: ``n``, ``log_losses``, ``sd``."""
    ties = data.meta.ties
    losses = {
        name: [
            float(row_log_loss(data.labels, softmax(leave_out_tie(one, ties=ties))).mean())
            for one in each
        ]
        for name, each in data.seed_logits.items()
    }
    return {
        name: {"n": len(each), "log_losses": each, "sd": float(np.std(each, ddof=1))}
        for name, each in losses.items()
    }
