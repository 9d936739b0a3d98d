"""Mean log losses with intervals, column by column, each over the rows that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.accuracy import as_accuracy
from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import MIN_CLUSTERS, Estimate, expanded_interval
from ensemble.evaluation.losses import class_prior_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]

RESAMPLES = 500
"""Bootstrap draws of the intervals per fold and source; they decide nothing."""


@dataclass(frozen=True)
class Score:
    """A log loss with its 95% interval; NaN where nothing was measured.

    Parameters
    ----------
    rows
        How many rows it is the mean of.
    log_loss, low, high
        Nats a row.
    """

    rows: int
    log_loss: float
    low: float
    high: float


NO_SCORE = Score(0, np.nan, np.nan, np.nan)


def scores(losses: FloatArray, clusters: IntArray) -> list[Score]:
    """Average each column of losses ``(n, m)`` over its measured rows; intervals by clusters."""
    result = [NO_SCORE] * losses.shape[1]
    for columns, rows in _same_rows(np.isfinite(losses)):
        chosen = losses[rows][:, columns]
        for column, values, ends in zip(
            columns, chosen.T, _intervals(chosen, clusters[rows]), strict=True
        ):
            result[column] = Score(len(values), float(values.mean()), *ends)
    return result


def accuracies(errors: FloatArray, clusters: IntArray) -> list[Estimate]:
    """Give the accuracy of each column of errors ``(n, m)``, as ``scores`` does; NaN of no row."""
    return [_accuracy(score) for score in scores(errors, clusters)]


def _accuracy(error: Score) -> Estimate:
    low, high = (None if np.isnan(x) else float(x) for x in (error.low, error.high))
    return as_accuracy(Estimate(error.log_loss, low, high))


def _intervals(losses: FloatArray, clusters: IntArray) -> list[tuple[float, float]]:
    """Give each column's interval; NaN where the clusters are too few for one."""
    effective = effective_clusters(clusters)
    if effective < MIN_CLUSTERS:
        return [(np.nan, np.nan)] * losses.shape[1]
    samples = bootstrap_means(losses, clusters, resamples=RESAMPLES)
    return [expanded_interval(draws, effective) for draws in samples.T]


def _same_rows(measured: BoolArray) -> list[tuple[list[int], IntArray]]:
    """Group the columns that were measured on the same rows: they share one bootstrap."""
    groups: dict[bytes, list[int]] = {}
    for column in range(measured.shape[1]):
        groups.setdefault(measured[:, column].tobytes(), []).append(column)
    indexed = [(columns, np.flatnonzero(measured[:, columns[0]])) for columns in groups.values()]
    return [(columns, rows) for columns, rows in indexed if len(rows)]


def class_prior_loss(labels: FloatArray, folds: IntArray, metric: Metric = "log_loss") -> float:
    """Score, on each fold, the label shares of the other folds; NaN where there is one fold."""
    return float(class_prior_losses(labels, folds, metric).mean()) if len(labels) else float("nan")
