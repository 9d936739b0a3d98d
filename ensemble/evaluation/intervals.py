"""Means with intervals, from the draws of a bootstrap over clusters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

LEVEL = 0.95
"""How much of the bootstrap distribution an interval covers."""

MIN_CLUSTERS = 20.0
"""With fewer effective clusters there is no interval: none of so few could be trusted."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, where there are clusters enough for one.

    Parameters
    ----------
    mean
        Mean over the rows that were measured, not over resamples.
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
    def is_above(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low is not None and self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high is not None and self.high < 0


def interval(samples: FloatArray, level: float = LEVEL) -> tuple[float, float]:
    """Give the percentile interval that covers ``level`` of the samples ``(resamples,)``."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail])
    return float(low), float(high)


def estimate(
    values: FloatArray,
    samples: FloatArray,
    effective: float | None = None,
    level: float = LEVEL,
) -> Estimate:
    """Join the mean of the measured values with an interval, which few clusters make wider.

    Parameters
    ----------
    values
        ``(n,)``.
    samples
        ``(resamples,)`` their bootstrap means.
    effective
        Effective clusters (``effective_clusters``); below ``MIN_CLUSTERS`` there is no interval.
        None takes the percentile interval as it is.
    level
        What the interval covers.
    """
    mean = float(np.mean(values))
    if effective is None:
        return Estimate(mean, *interval(samples, level))
    if effective < MIN_CLUSTERS:
        return Estimate(mean, None, None)
    return Estimate(mean, *expanded_interval(samples, effective, level))


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
    student = -special.stdtrit(effective - 1.0, (1.0 - level) / 2.0)
    tail = special.ndtr(-student * np.sqrt(effective / (effective - 1.0)))
    return interval(samples, float(1.0 - 2.0 * tail))


def max_t(errors: FloatArray, spread: FloatArray, level: float = LEVEL) -> float:
    """Give how many standard errors hold for all of several means at once (max-t).

    The quantile of the largest standardized deviation in each resample: Westfall and Young,
    *Resampling-Based Multiple Testing*, 1993; for intervals Hothorn, Bretz and Westfall,
    *Simultaneous Inference in General Parametric Models*, 2008; Romano and Wolf, *Exact and
    Approximate Stepdown Methods for Multiple Hypothesis Testing*, JASA 100, 2005.

    Parameters
    ----------
    errors
        ``(resamples, ...)`` deviations from what was measured.
    spread
        ``(...)`` their standard errors; what has none always holds.
    level
        What the intervals cover together.
    """
    deviations = np.abs(errors) / np.where(spread > 0, spread, np.inf)
    return float(np.quantile(deviations.reshape(len(errors), -1).max(axis=1), level))
