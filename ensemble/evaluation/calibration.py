"""How far probabilities can be taken at their word: reliability, confusion, correlation.

Everywhere: ``labels`` and ``probabilities`` are ``(n, 3)`` in ``CLASSES`` order, NaN where a row
has not been predicted; ``clusters`` is ``(n,)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

BINS = 10

# Difference between the means of the last and the first bin, in probability.
_FLAT = 0.01

# Half-width of a 95% normal interval, in standard errors.
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Bin:
    """One point of a reliability curve.

    Parameters
    ----------
    rows
        Rows in the bin.
    predicted
        Their mean predicted probability.
    observed, low, high
        The share of the class among their labels, with a 95% interval over clusters; NaN ends
        with fewer than ``MIN_CLUSTERS`` effective clusters.
    """

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """How far the probabilities of one class can be taken at their word.

    Parameters
    ----------
    bins
        Ten bins of nearly equal size, fewer where many probabilities are equal, by rising
        probability.
    predicted, observed
        Over all rows: mean predicted probability and share of the class.
    gap
        Mean distance between both over the bins, weighted by rows (the expected calibration
        error of one class).
    """

    bins: tuple[Bin, ...]
    predicted: float
    observed: float
    gap: float

    @property
    def is_flat(self) -> bool:
        """Whether the predictions hardly vary: no curve can be seen in them, whatever is drawn."""
        return self.bins[-1].predicted - self.bins[0].predicted < _FLAT


def reliability(
    labels: FloatArray, probabilities: FloatArray, clusters: IntArray
) -> tuple[Reliability, ...]:
    """Compare predicted with observed shares for each class; empty where nothing is predicted."""
    measured = np.isfinite(probabilities).all(axis=1)
    if not measured.any():
        return ()
    return tuple(
        _class_reliability(labels[measured, k], probabilities[measured, k], clusters[measured])
        for k in range(labels.shape[1])
    )


def _class_reliability(label: FloatArray, predicted: FloatArray, clusters: IntArray) -> Reliability:
    # Equal probabilities stay in one bin: the order of rows must not decide what is seen.
    tenths = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(predicted, tenths, method="higher"))
    numbers = np.searchsorted(edges, predicted, side="right")
    parts = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    bins = tuple(_bin(label[part], predicted[part], clusters[part]) for part in parts)
    gap = sum(b.rows * abs(b.predicted - b.observed) for b in bins) / len(label)
    return Reliability(bins, float(predicted.mean()), float(label.mean()), gap)


def _bin(label: FloatArray, predicted: FloatArray, clusters: IntArray) -> Bin:
    observed = float(label.mean())
    low, high = _wilson(observed, _effective_rows(label - observed, clusters))
    return Bin(len(label), float(predicted.mean()), observed, low, high)


def _effective_rows(deviations: FloatArray, clusters: IntArray) -> float:
    """Say how many independent rows would know a mean as well; NaN for one cluster.

    Rows divided by the design effect, the variance of cluster sums over that of rows (Kish,
    *Survey Sampling*, 1965). Where all rows are equal, each cluster counts once.
    """
    inverse = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(inverse, weights=deviations)
    if len(sums) < 2:
        return float("nan")
    spread = float((deviations**2).sum())
    if spread == 0:
        return float(len(sums))
    return len(deviations) / max(1.0, float((sums**2).sum()) / spread)


def _wilson(share: float, rows: float) -> tuple[float, float]:
    """Give Wilson's 95% score interval (1927), which has a width at shares 0 and 1 too."""
    z = _NORMAL_95
    scale = 1 + z**2 / rows
    center = (share + z**2 / (2 * rows)) / scale
    margin = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / scale
    return float(center - margin), float(center + margin)


def confusion(labels: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Count label mass by true (rows) and most probable (columns) class: ``(3, 3)``.

    A soft label counts in each of its classes, by its share. Equal probabilities go to the first.
    """
    measured = np.isfinite(probabilities).all(axis=1)
    predicted = np.eye(labels.shape[1])[probabilities[measured].argmax(axis=1)]
    return np.asarray(labels[measured].T @ predicted)


def correlations(columns: FloatArray) -> FloatArray:
    """Correlate columns ``(n, m)`` by Pearson, each pair over the rows that both have: ``(m, m)``.

    NaN where a pair shares fewer than two rows or a column does not vary.
    """
    m = columns.shape[1]
    result = np.full((m, m), np.nan)
    if len(columns) > 1 and np.isfinite(columns).all():
        return _whole_correlations(columns)
    for i in range(m):
        for j in range(i, m):
            result[i, j] = result[j, i] = _correlation(columns[:, i], columns[:, j])
    return result


def _whole_correlations(columns: FloatArray) -> FloatArray:
    """Correlate columns without gaps, all pairs at once."""
    centered = columns - columns.mean(axis=0)
    products = centered.T @ centered
    scales = np.sqrt(np.outer(products.diagonal(), products.diagonal()))
    known = scales > 0
    found = np.clip(products / np.where(known, scales, 1.0), -1.0, 1.0)
    return np.asarray(np.where(known, found, np.nan))


def _correlation(first: FloatArray, second: FloatArray) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        return float("nan")
    x, y = first[both] - first[both].mean(), second[both] - second[both].mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0 else float("nan")
