"""What choosing the best of many flatters, and what stratified folds do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from ensemble.evaluation.bootstrap import bootstrap_draws, effective_clusters
from ensemble.evaluation.intervals import LEVEL, MIN_CLUSTERS, interval
from ensemble.evaluation.losses import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Metric
    from ensemble.evaluation.intervals import Estimate
    from ensemble.plugin.base import FloatArray, IntArray

RESAMPLES = 1000
"""Bootstrap draws of the correction, as in its source."""

_DEALS = 200
"""Random deals into folds that stratified ones are compared with."""


class Corrected(NamedTuple):
    """The log loss of the best of several, corrected for the choice.

    Parameters
    ----------
    best
        The lowest mean loss, as measured.
    corrected
        What the best does on rows that did not choose it.
    low, high
        Interval of ``corrected``; None with too few clusters.
    """

    best: float
    corrected: float
    low: float | None
    high: float | None

    @property
    def optimism(self) -> float:
        """How much the choice flatters; never below 0."""
        return max(self.corrected - self.best, 0.0)


def corrected_gain(gain: Estimate, level: float) -> float | None:
    """Correct a gain for having been chosen because its interval lies above 0.

    Such a gain is the larger, the luckier its rows were (the winner's curse). Given that it passed,
    the likelihood of the true gain is that of a normal distribution cut at the least gain that
    would have passed. Its maximum takes too much off where the truth is large, and the measured
    gain too little; the mean of both errs least (Zhong and Prentice, *Bias-reduced estimators and
    confidence intervals for odds ratios in genome-wide association studies*, Biostatistics 9,
    2008).

    Parameters
    ----------
    gain
        As measured, with its interval.
    level
        What the interval covers.

    Returns
    -------
    float or None
        From half of the measured gain up to all of it; None where it did not pass.
    """
    if gain.low is None or gain.low <= 0:
        return None
    from scipy.optimize import brentq

    least = gain.mean - gain.low
    error = least / float(-special.ndtri((1.0 - level) / 2.0))

    def slope(truth: float) -> float:
        cut = (least - truth) / error
        log_density = -(cut**2) / 2.0 - np.log(2.0 * np.pi) / 2.0
        hazard = np.exp(log_density - special.log_ndtr(-cut))
        return float((gain.mean - truth) / error - hazard)

    # Below 0 the truth is not looked for: the stack was shown to gain.
    likeliest = brentq(slope, 0.0, gain.mean) if slope(0.0) > 0 else 0.0
    return (gain.mean + float(likeliest)) / 2.0


def correct_for_choice(
    losses: FloatArray,
    clusters: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Corrected:
    """Estimate what the best of several columns does on rows that did not choose it (BBC-CV).

    Clusters are drawn with replacement. Each draw chooses the column that does best on the rows
    drawn, and scores it on the rows left out: Tsamardinos, Greasidou and Borboudakis,
    *Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation*,
    Machine Learning 107, 2018. No model is fitted again.

    Parameters
    ----------
    losses
        ``(n, m)`` finite log loss, or error, of each row under each of ``m`` tries.
    clusters
        ``(n,)``.
    resamples, seed, level
        Draws, their seed, and what the interval covers.
    """
    means = losses.mean(axis=0)
    best = float(means.min())
    outside = []
    for counts, totals in bootstrap_draws(losses, clusters, resamples=resamples, seed=seed):
        inside = counts @ totals
        left = (counts == 0).astype(np.float64) @ totals
        some = (inside[:, -1] > 0) & (left[:, -1] > 0)
        chosen = (inside[some, :-1] / inside[some, -1:]).argmin(axis=1)
        outside.append(left[some, chosen] / left[some, -1])
    scores = np.concatenate(outside)
    if not len(scores):
        return Corrected(best, best, None, None)
    corrected = float(scores.mean())
    if effective_clusters(clusters) < MIN_CLUSTERS:
        return Corrected(best, corrected, None, None)
    return Corrected(best, corrected, *interval(scores, level))


class Stratified(NamedTuple):
    """What folds with equal class shares flatter a log loss by, in nats a battle.

    Parameters
    ----------
    optimism
        That of a predictor which knows the class shares.
    by_source
        That of one which knows them for each source; the same where there is one.
    """

    optimism: float
    by_source: float

    @property
    def excess(self) -> float:
        """What it flatters one which tells the source beyond one which does not."""
        return max(self.by_source - self.optimism, 0.0)


def stratification_optimism(
    labels: FloatArray,
    clusters: IntArray,
    folds: IntArray,
    sources: Sequence[str] | None = None,
    *,
    seed: int = 0,
    metric: Metric = "log_loss",
) -> Stratified:
    """Give how much the folds' equal class shares flatter a log loss, or an accuracy.

    Folds with equal class shares make the shares of the training rows fit the held-out rows better
    than those of new battles. The log loss of the training shares is computed on the folds as they
    are, and on random deals of the same clusters into as many folds; the difference is what any
    predictor that knows the shares is flattered by. About ``(1 + 1 / (2 * (K - 1))) * 2 / n`` for
    ``n`` single rows of three classes in ``K`` folds. Each source has equal shares too, and a
    predictor that tells the source is flattered by each of them.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions.
    clusters, folds
        ``(n,)``.
    sources
        ``(n,)`` source of each row; None where all are of one.
    seed
        Of the random deals.
    metric
        What is flattered.
    """
    number = np.unique(clusters, return_inverse=True)[1]
    fold = np.unique(folds, return_inverse=True)[1]
    first = np.unique(number, return_index=True)[1]
    source = np.zeros(len(labels), int) if sources is None else _numbers(sources)
    # One row a cluster; a column for each class of each source.
    cells = number * (source.max() + 1) + source
    shape = (number.max() + 1, source.max() + 1)
    columns = [np.bincount(cells, column, shape[0] * shape[1]) for column in labels.T]
    totals = np.stack(columns, axis=-1).reshape(*shape, 3).astype(np.float64)
    own = fold[first]
    generator = np.random.default_rng(seed)
    dealt = [_losses_of_shares(totals, generator.permutation(own), metric) for _ in range(_DEALS)]
    flattered = np.mean(dealt, axis=0) - _losses_of_shares(totals, own, metric)
    optimism, by_source = np.maximum(flattered, 0.0).tolist()
    return Stratified(optimism, by_source if shape[1] > 1 else optimism)


def _numbers(values: Sequence[str]) -> IntArray:
    return np.asarray(np.unique(np.asarray(values), return_inverse=True)[1], dtype=np.int64)


def _losses_of_shares(totals: FloatArray, folds: IntArray, metric: Metric) -> FloatArray:
    """Score each fold with the label shares of the others: all shares, and those of each source.

    ``totals`` are ``(n_clusters, n_sources, 3)``.
    """
    sums = np.zeros((folds.max() + 1, *totals.shape[1:]))
    np.add.at(sums, folds, totals)
    others = sums.sum(axis=0) - sums
    shares = _shares(others.sum(axis=1, keepdims=True))
    # A source that has hardly a row elsewhere is thought to be like the others.
    known = _shares(others + shares)
    whole = sums.sum(axis=1, keepdims=True)
    return np.array(
        [
            METRICS[metric](held_out, predicted).sum() / sums.sum()
            for held_out, predicted in ((whole, shares), (sums, known))
        ]
    )


def _shares(counts: FloatArray) -> FloatArray:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-12))
