"""Log loss, and how sure of it we can be: a paired bootstrap over clusters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from ensemble.plugin.base import FloatArray, IntArray

SMALLEST_PROBABILITY = 1e-15
"""Probabilities below it count as it, so that one sure mistake cannot make a score infinite."""

RESAMPLES = 10_000
"""How often the bootstrap draws, where nothing else is asked for."""

LEVEL = 0.95
"""How much of the bootstrap distribution an interval covers."""

MIN_CLUSTERS = 20.0
"""With fewer effective clusters there is no interval: none of so few could be trusted."""

_CHUNK_CELLS = 1 << 18
"""Draw counts held at once, float64: 2 MiB, which a processor's cache can hold."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Parameters
    ----------
    mean
        Mean over the rows that were measured, not over resamples.
    low, high
        Ends of the bootstrap interval.
    """

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Give the numbers as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A mean with its interval, where there are clusters enough for one.

    Parameters
    ----------
    mean
        Mean over the rows that were measured.
    low, high
        Ends of the interval; None with fewer than ``MIN_CLUSTERS`` effective clusters.
    """

    mean: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Give the numbers as a JSON object."""
        return asdict(self)

    @property
    def gains(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low is not None and self.low > 0

    @property
    def loses(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high is not None and self.high < 0


def softmax(logits: ArrayLike) -> FloatArray:
    """Turn logits ``(..., k)`` into probabilities ``(..., k)`` float64, over the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - over_classes(np.maximum, values))
    return np.asarray(powers / over_classes(np.add, powers))


def over_classes(operation: np.ufunc, values: FloatArray) -> FloatArray:
    """Reduce the last axis ``(..., k)``, a short one, to ``(..., 1)``.

    Column by column: NumPy's own reductions of three numbers take several times as long.
    """
    columns = [values[..., i : i + 1] for i in range(values.shape[-1])]
    return np.asarray(reduce(operation, columns))


def row_log_loss(labels: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Score each row: ``-sum(label * log(probability))``, in nats.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions over ``CLASSES``.
    probabilities
        ``(n, 3)``; NaN where no fold has predicted the row.

    Returns
    -------
    FloatArray
        ``(n,)`` float64; NaN where a probability is NaN.
    """
    logarithms = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return np.asarray(-over_classes(np.add, labels * logarithms)[..., 0], dtype=np.float64)


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
    chunk = max(1, _CHUNK_CELLS // len(replicates[0]))
    ends = [resamples * (i + 1) // len(replicates) for i in range(len(replicates))]
    drawn = [
        _draw_counts(generator, len(totals), min(chunk, end - start)) @ totals
        for totals, begin, end in zip(replicates, [0, *ends], ends, strict=False)
        for start in range(begin, end, chunk)
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
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // len(totals))
    for start in range(0, resamples, chunk):
        yield _draw_counts(generator, len(totals), min(chunk, resamples - start)), totals


def interval(samples: FloatArray, level: float = LEVEL) -> tuple[float, float]:
    """Give the percentile interval that covers ``level`` of the samples ``(resamples,)``."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail])
    return float(low), float(high)


def estimate(values: FloatArray, samples: FloatArray, level: float = LEVEL) -> Estimate:
    """Join the mean of the measured values ``(n,)`` with the interval of its resamples."""
    return Estimate(float(np.mean(values)), *interval(samples, level))


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


def measured(
    values: FloatArray, samples: FloatArray, effective: float, level: float = LEVEL
) -> Measured:
    """Join the mean of the measured values with an interval that few clusters make wider.

    Parameters
    ----------
    values
        ``(n,)``.
    samples
        ``(resamples,)`` their bootstrap means.
    effective
        Effective clusters (``effective_clusters``); below ``MIN_CLUSTERS`` there is no interval.
    level
        What the interval covers.
    """
    mean = float(np.mean(values))
    if effective < MIN_CLUSTERS:
        return Measured(mean, None, None)
    return Measured(mean, *expanded_interval(samples, effective, level))


def expanded_interval(
    samples: FloatArray, effective: float, level: float = LEVEL
) -> tuple[float, float]:
    """Give the interval that covers ``level`` of the samples, wider where there are few clusters.

    The tails of the percentile interval are made as much rarer as Student's distribution and the
    divisor ``n - 1`` make an interval wider than the normal distribution and ``n`` do (the
    expanded percentile interval: Hesterberg, *What Teachers Should Know About the Bootstrap*, The
    American Statistician 69, 2015). With many clusters it is the percentile interval.

    Parameters
    ----------
    samples
        ``(resamples,)`` bootstrap means.
    effective
        Effective clusters, more than 1.
    level
        What the interval covers.
    """
    student = stats.t.isf((1.0 - level) / 2.0, effective - 1.0)
    tail = stats.norm.sf(student * np.sqrt(effective / (effective - 1.0)))
    return interval(samples, float(1.0 - 2.0 * tail))


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


def _draw_counts(generator: np.random.Generator, clusters: int, draws: int) -> FloatArray:
    """Count how often each cluster comes up in each draw: ``(draws, clusters)``."""
    picks: NDArray[np.int64] = generator.integers(0, clusters, size=(draws, clusters))
    picks += np.arange(draws)[:, None] * clusters
    counts = np.bincount(picks.ravel(), minlength=draws * clusters)
    return counts.reshape(draws, clusters).astype(np.float64)
