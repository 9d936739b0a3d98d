"""How sure we can be of the effect of several treatments, measured beside one baseline.

Two things make a measured effect uncertain. Other target rows would have given other scores: a
paired bootstrap over clusters. And the same learner fitted again, with another seed alone, gives
other predictions, which that bootstrap cannot see: the variance between seeds is estimated fold by
fold, and added as normal noise to what the bootstrap drew. The baseline's own noise is common to
all treatments, and is drawn once for all of them.

Several treatments are tried, so the intervals that decide are simultaneous: they all hold at once
with 95% (``max_t``). Unlike Bonferroni's or Holm's they know that treatments of one source are
alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.bootstrap import RESAMPLES, bootstrap_means
from ensemble.evaluation.intervals import LEVEL, Estimate, interval, max_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, IntArray


@dataclass(frozen=True)
class Arm:
    """What one way to train did to the target's rows.

    Parameters
    ----------
    losses
        ``(seeds, n)`` log loss of the scored rows, one fit of every fold for each seed.
    folds
        ``(n,)`` fold of each scored row.
    """

    losses: FloatArray
    folds: IntArray

    @property
    def mean(self) -> FloatArray:
        """Loss of each row, averaged over seeds: ``(n,)``."""
        return np.asarray(self.losses.mean(axis=0))

    def variance_of_a_fit(self) -> float:
        """Variance of a mean loss over all rows between seeds of the same training rows.

        The sum over folds of the variance between seeds of what each fold adds to the mean: folds
        are fitted apart. NaN with a single seed.
        """
        seeds, rows = self.losses.shape
        if seeds < 2:
            return float("nan")
        added = [self.losses[:, self.folds == fold].sum(axis=1) / rows for fold in self._numbers()]
        return float(np.sum([np.var(part, ddof=1) for part in added]))

    def _numbers(self) -> IntArray:
        return np.unique(self.folds)


@dataclass(frozen=True)
class Effect:
    """What one treatment gains over the baseline; positive is better.

    Parameters
    ----------
    gain
        Mean, with its own 95% interval.
    low, high
        Ends of the simultaneous interval.
    error
        Standard error of the gain, of rows and fits together.
    fit_error
        The part of it that is due to fits.
    """

    gain: Estimate
    low: float
    high: float
    error: float
    fit_error: float


def effects(
    baseline: Arm,
    treated: Sequence[Arm],
    clusters: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Effect]:
    """Measure treatments against one baseline, on the same rows.

    Parameters
    ----------
    baseline
        The target alone, two seeds or more.
    treated
        One arm a treatment, two seeds or more each; all of the family that is decided on together.
    clusters
        ``(n,)`` cluster of each scored row.
    resamples, seed, level
        Bootstrap draws, their seed, and what the intervals cover.

    Returns
    -------
    list[Effect]
        In the order of ``treated``.

    Notes
    -----
    Between-seed variances from a few fits are themselves uncertain. An arm counts with its own or
    with the mean over all arms, whichever is larger, so that one that is small by luck does not
    make a treatment look sure.
    """
    if not treated:
        return []
    gains = np.column_stack([baseline.mean - arm.mean for arm in treated])
    drawn = bootstrap_means(gains, clusters, resamples=resamples, seed=seed)
    means = gains.mean(axis=0)
    fits = _fit_variances([baseline, *treated])
    noise = _noise(fits, resamples, seed)
    errors = drawn - means + noise
    spread = errors.std(axis=0)
    reach = max_t(errors, spread, level)
    return [
        Effect(
            gain=Estimate(float(means[i]), *interval(means[i] + errors[:, i], level)),
            low=float(means[i] - reach * spread[i]),
            high=float(means[i] + reach * spread[i]),
            error=float(spread[i]),
            fit_error=float(np.sqrt(fits[0] + fits[i + 1])),
        )
        for i in range(len(treated))
    ]


def _fit_variances(arms: Sequence[Arm]) -> FloatArray:
    """Give the variance that fits add to each arm's mean loss over its seeds: ``(arms,)``."""
    single = np.array([arm.variance_of_a_fit() for arm in arms])
    if not np.isfinite(single).all():
        raise ValueError("an arm has one seed only: what its fits vary by is not measured")
    seeds = np.array([len(arm.losses) for arm in arms])
    return np.asarray(np.maximum(single, single.mean()) / seeds)


def _noise(variances: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Draw what fits add to the gains: ``(resamples, treatments)``; the baseline's is shared."""
    generator = np.random.default_rng([seed, 1])
    drawn = generator.standard_normal((resamples, len(variances))) * np.sqrt(variances)
    return np.asarray(drawn[:, :1] - drawn[:, 1:])
