"""Accuracy with its interval: how often the likeliest class is the label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import Estimate, estimate

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray


def as_accuracy(error: Estimate) -> Estimate:
    """Turn an error, 1 minus an accuracy, into the accuracy, and its interval with it."""
    if error.low is None or error.high is None:
        return Estimate(1.0 - error.mean, None, None)
    return Estimate(1.0 - error.mean, 1.0 - error.high, 1.0 - error.low)


def accuracy_estimates(
    errors: FloatArray,
    clusters: IntArray,
    *,
    replicates: FloatArray | None = None,
    resamples: int,
    seed: int,
) -> list[Estimate]:
    """Estimate the accuracy of each column over all rows, by a bootstrap over clusters.

    Parameters
    ----------
    errors
        ``(n, m)`` finite errors, as ``row_errors`` gives them.
    clusters
        ``(n,)``.
    replicates
        ``(r, n, m)`` the same errors under other draws of seeds, or None.
    resamples, seed
        Bootstrap draws and their seed.
    """
    drawn = errors if replicates is None else replicates
    samples = bootstrap_means(drawn, clusters, resamples=resamples, seed=seed)
    effective = effective_clusters(clusters)
    return [
        as_accuracy(estimate(errors[:, i], samples[:, i], effective))
        for i in range(errors.shape[1])
    ]
