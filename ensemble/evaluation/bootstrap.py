"""Paired bootstrap over clusters, and how many clusters there are in effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from ensemble.plugin.base import FloatArray, IntArray

RESAMPLES = 10_000
"""How often the bootstrap draws, where nothing else is asked for."""

_CHUNK_CELLS = 1 << 18
"""Draws counted at once, 2 MiB of them, which a processor's cache can hold."""

_CHUNKS = 8
"""So many times as many are multiplied at once."""


def bootstrap_means(
    losses: FloatArray, clusters: IntArray, *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Draw clusters with replacement, and average the rows that each draw holds.

    The draw is the same for every column, so that differences between columns are paired. As many
    clusters are drawn as there are; clusters differ in size, so a mean is a ratio of two sums
    (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993; clusters are the units because
    rows of one cluster are not independent).

    Parameters
    ----------
    losses
        ``(n, m)``, finite: one column a candidate. Or ``(r, n, m)``: replicates of them, of which
        each serves an equal share of the draws.
    clusters
        ``(n,)`` cluster of each row.
    resamples
        How often to draw.
    seed
        The same seed draws the same clusters.

    Returns
    -------
    FloatArray
        ``(resamples, m)`` means.

    Raises
    ------
    ValueError
        There are no rows, or a loss is not finite: rows that were not measured are left out (and
        counted) by the caller.
    """
    replicates = [
        _cluster_totals(each, clusters) for each in (losses if losses.ndim == 3 else [losses])
    ]
    generator = np.random.default_rng(seed)
    ends = [resamples * (i + 1) // len(replicates) for i in range(len(replicates))]
    drawn = [
        counts @ totals
        for totals, begin, end in zip(replicates, [0, *ends], ends, strict=False)
        for counts in _drawn(generator, len(totals), end - begin)
    ]
    sums = np.concatenate(drawn)
    return np.asarray(sums[:, :-1] / sums[:, -1:])


def bootstrap_draws(
    losses: FloatArray, clusters: IntArray, *, resamples: int, seed: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Draw clusters with replacement, some draws at a time.

    Yields
    ------
    tuple
        How often each cluster comes up in each draw ``(draws, n_clusters)``, and the same each
        time: sums of its losses, and its rows in the last column, ``(n_clusters, m + 1)``.
    """
    totals = _cluster_totals(losses, clusters)
    for counts in _drawn(np.random.default_rng(seed), len(totals), resamples):
        yield counts, totals


def effective_clusters(clusters: IntArray) -> float:
    """Give how many clusters of equal size would tell as much: Kish, *Survey Sampling*, 1965.

    Parameters
    ----------
    clusters
        ``(n,)`` cluster of each row; one row at least.
    """
    return effective_count(np.unique(clusters, return_counts=True)[1])


def effective_count(sizes: ArrayLike) -> float:
    """Give the same from the sizes of clusters; 0 where there are no rows."""
    counts = np.asarray(sizes, dtype=np.float64)
    squares = float((counts**2).sum())
    return float(counts.sum()) ** 2 / squares if squares else 0.0


def _cluster_totals(losses: FloatArray, clusters: IntArray) -> FloatArray:
    """Sum the rows of each cluster: ``(n_clusters, m + 1)``, the last column counts rows."""
    if losses.ndim != 2 or len(losses) == 0 or clusters.shape != (len(losses),):
        raise ValueError(
            f"losses must be (n, m) and clusters (n,) with n > 0, "
            f"got {losses.shape} and {clusters.shape}"
        )
    if not np.isfinite(losses).all():
        raise ValueError("a loss is not finite; leave out rows that were not measured")
    inverse = np.unique(clusters, return_inverse=True)[1]
    columns = [np.bincount(inverse, weights=column) for column in losses.T]
    return np.column_stack([*columns, np.bincount(inverse)]).astype(np.float64)


def _drawn(generator: np.random.Generator, clusters: int, draws: int) -> Iterator[FloatArray]:
    """Count how often each cluster comes up, ``(some draws, clusters)`` at a time.

    Few draws are counted at once, and many multiplied: a product with few rows waits for memory.
    """
    chunk = max(1, _CHUNK_CELLS // clusters)
    for start in range(0, draws, chunk * _CHUNKS):
        end = min(start + chunk * _CHUNKS, draws)
        counts = np.empty((end - start, clusters))
        for at in range(0, len(counts), chunk):
            some = counts[at : at + chunk]
            some[:] = _draw_counts(generator, clusters, len(some))
        yield counts


def _draw_counts(generator: np.random.Generator, clusters: int, draws: int) -> IntArray:
    """Count how often each cluster comes up in each draw: ``(draws, clusters)``."""
    picks: NDArray[np.int64] = generator.integers(0, clusters, size=(draws, clusters))
    picks += np.arange(draws)[:, None] * clusters
    counts = np.bincount(picks.ravel(), minlength=draws * clusters)
    return counts.reshape(draws, clusters)
