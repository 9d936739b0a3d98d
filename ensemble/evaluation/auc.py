"""Area under the ROC curve, with an interval by cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.intervals import LEVEL, Estimate, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray, IntArray

RESAMPLES = 500
"""Draws of the interval: its ends are shown with two or three digits."""


def auc_estimate(
    scores: FloatArray,
    positive: NDArray[np.bool_],
    clusters: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate the AUC of scores, by a bootstrap over clusters.

    Parameters
    ----------
    scores
        ``(n,)``, each by a model that has not seen the row's cluster.
    positive
        ``(n,)``, both values among them.
    clusters
        ``(n,)`` cluster of each row, drawn with replacement.
    resamples, seed
        Draws, and their seed.

    Returns
    -------
    Estimate
        The AUC on all rows with its 95% percentile interval. A draw without one of the two sides
        has no AUC and is left out.
    """
    steps = _Steps.of(scores, positive)
    numbers, inverse = np.unique(clusters, return_inverse=True)
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        picks = generator.integers(0, len(numbers), size=len(numbers))
        weight = np.bincount(picks, minlength=len(numbers))[inverse]
        draws.append(steps.auc(weight.astype(np.float64)))
    samples = np.array(draws)
    whole = steps.auc(np.ones(len(scores)))
    return Estimate(whole, *interval(samples[np.isfinite(samples)], LEVEL))


class _Steps:
    """Rows in order of their scores; equal scores are one step."""

    def __init__(self, order: IntArray, starts: IntArray, positive: NDArray[np.bool_]) -> None:
        self.order, self.starts, self.positive = order, starts, positive

    @classmethod
    def of(cls, scores: FloatArray, positive: NDArray[np.bool_]) -> _Steps:
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        return cls(order, starts, positive[order])

    def auc(self, weight: FloatArray) -> float:
        """Give the share of pairs in the right order, ties as half; NaN without pairs."""
        ordered = weight[self.order]
        hits = np.add.reduceat(np.where(self.positive, ordered, 0.0), self.starts)
        others = np.add.reduceat(np.where(self.positive, 0.0, ordered), self.starts)
        pairs = hits.sum() * others.sum()
        below = np.cumsum(others) - others
        return float((hits * (below + others / 2)).sum() / pairs) if pairs else float("nan")
