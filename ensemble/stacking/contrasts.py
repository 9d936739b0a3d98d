"""Neighbors in other folds against neighbors in the own, and what labels have to do with it.

The computation behind ``leakage.py``, which says what it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from ensemble.stacking.neighbors import SIZES, Battles, Neighbors, fold_slices, within_folds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

SAMPLE = 500
"""Most battles that a standard error is first told from."""


class Figures(NamedTuple):
    """Of each tested column, ``(n_columns,)``: influence, standard error, variance of contrasts.

    The variance is that of a contrast times a label drawn by the label shares.
    """

    influence: FloatArray
    error: FloatArray
    variance: FloatArray

    @property
    def statistic(self) -> FloatArray:
        """Influence in standard errors; 0 where there are none."""
        there = self.error > 0
        return np.divide(self.influence, self.error, out=np.zeros(len(there)), where=there)


@dataclass(frozen=True)
class Tested:
    """The logits whose contrasts are looked at: columns.

    Parameters
    ----------
    logits
        ``(3, n, n_learners)``, the mean of each row and each fold removed.
    learner
        ``(n_columns,)`` whose logits a column holds.
    left
        ``(n_columns,)`` whether it holds, behind a minus sign, what a location leaves of them.
    x, slopes
        The location ``(n, d)``, each fold's mean removed, and for each fold its rows and the linear
        regression ``(3, d, n_learners)`` of the logits on it; nothing where no column needs them.
    """

    logits: FloatArray
    learner: IntArray
    left: BoolArray
    x: FloatArray
    slopes: Sequence[tuple[slice, FloatArray]] = ()

    @classmethod
    def at(
        cls, x: FloatArray, logits: FloatArray, folds: IntArray, once: IntArray, left: IntArray
    ) -> Tested:
        """Take some learners' logits as they are, and what a location leaves of some."""
        x, slopes = within_folds(x, folds), []
        if len(left):
            slopes = [(rows, _slope(x[rows], logits[:, rows])) for rows in fold_slices(folds)]
        learner = np.concatenate([once, left])
        return cls(logits, learner, np.arange(len(learner)) >= len(once), x, slopes)

    def contrasts(self, compare: csr_matrix, columns: IntArray | None = None) -> FloatArray:
        """Compare neighbors: ``(3, lines, n_columns)`` for weights of rows ``(lines, n)``."""
        learner, left = self.learner, self.left
        if columns is not None:
            learner, left = learner[columns], left[columns]
        some, place = np.unique(learner, return_inverse=True)
        whole = len(some) == self.logits.shape[2]
        logits = self.logits if whole else self.logits[:, :, some]
        found = np.stack([compare @ of_class for of_class in logits[:-1]])
        # A row's logits sum to 0, so the last class follows from the others.
        found = np.concatenate([found, -found.sum(axis=0, keepdims=True)])[:, :, place]
        if left.any():
            found[:, :, left] = self._told(compare, learner[left]) - found[:, :, left]
        return found

    def influence(self, weights: FloatArray) -> FloatArray:
        """Sum logits times weights ``(3, n)`` over rows and classes: ``(n_columns,)``."""
        found = _summed(weights, self.logits)[self.learner]
        told = sum(
            (_summed(weights[:, rows] @ self.x[rows], slope) for rows, slope in self.slopes),
            np.zeros(self.logits.shape[2]),
        )
        return np.asarray(np.where(self.left, told[self.learner] - found, found))

    def _told(self, compare: csr_matrix, learners: IntArray) -> FloatArray:
        """Compare what the location tells of logits; it has few columns."""
        by_column = compare.tocsc()
        parts = (
            (by_column[:, rows] @ self.x[rows]) @ slope[:, :, learners]
            for rows, slope in self.slopes
        )
        return np.asarray(sum(parts, np.zeros((3, compare.shape[0], len(learners)))))


def _summed(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Sum ``(3, n)`` times ``(3, n, k)`` over the first two: ``(k,)``."""
    return np.asarray(sum(one @ other for one, other in zip(weights, values, strict=True)))


def figures_at(
    x: FloatArray, tested: Tested, battles: Battles, threshold: float, *, signed: bool
) -> Iterator[Figures]:
    """Find the influence of labels at one location, for each number of neighbors.

    Parameters
    ----------
    x
        ``(n, d)`` the location.
    tested
        What is tested there.
    battles
        All battles, and those that are asked.
    threshold
        The statistic from which a test is significant. Every influence is exact; a standard error
        is told from ``SAMPLE`` battles, and computed from all where the statistic comes near.
    signed
        Whether positive influence alone counts.
    """
    neighbors = Neighbors.of(x, battles)
    usable = neighbors.there.min(axis=1) > 0
    if not usable.any():  # each fold is one cluster: nothing can be compared
        nothing = np.zeros(len(tested.learner))
        yield from (Figures(nothing, nothing, nothing) for _ in SIZES)
        return
    lines = _Lines.of(battles, battles.asked[usable])
    step = max(1, -(-len(lines.surprise) // SAMPLE))
    few = lines.every(step)
    for size in SIZES:
        compare = neighbors.compared(size, len(battles.labels))[usable]
        found = few.figures(tested.contrasts(compare[::step]))
        yield found if step == 1 else _surer(found, few, lines, compare, tested, threshold, signed)


def _surer(
    found: Figures,
    few: _Lines,
    lines: _Lines,
    compare: csr_matrix,
    tested: Tested,
    threshold: float,
    signed: bool,
) -> Figures:
    """Make every influence exact, and all of those that may be significant."""
    count = len(lines.surprise)
    weights = compare.T @ within_folds(lines.surprise, lines.folds)
    influence = tested.influence(np.ascontiguousarray(weights.T)) / count
    told = Figures(influence, found.error * np.sqrt(len(few.surprise) / count), found.variance)
    strength = told.statistic if signed else np.abs(told.statistic)
    unknown = (told.error == 0) & (influence != 0)  # the sample missed the few that differ
    # One battle of the sample can make its error so many times too large.
    far = threshold / max(2.0, np.sqrt(count / len(few.surprise)))
    near = np.flatnonzero((strength > far) | unknown)
    if not len(near):
        return told
    exact = lines.figures(tested.contrasts(compare, near))
    for values, better in zip(told, exact, strict=True):
        values[near] = better
    return told


@dataclass(frozen=True)
class _Lines:
    """Battles that were asked and have neighbors: ``m`` lines of comparisons."""

    surprise: FloatArray
    folds: IntArray
    clusters: IntArray
    spread: FloatArray

    @classmethod
    def of(cls, battles: Battles, rows: IntArray) -> _Lines:
        shares = battles.labels.mean(axis=0)
        spread = np.diag(shares) - np.outer(shares, shares)
        surprise = battles.labels[rows] - shares
        return cls(surprise, battles.folds[rows], battles.clusters[rows], spread)

    def every(self, step: int) -> _Lines:
        """Take every so many-th."""
        parts = self.surprise[::step], self.folds[::step], self.clusters[::step]
        return _Lines(*parts, self.spread)

    def figures(self, contrasts: FloatArray) -> Figures:
        """Compute the figures of contrasts ``(3, m, n_columns)``."""
        count = max(contrasts.shape[1], 1)
        contrasts = np.stack([within_folds(of_class, self.folds) for of_class in contrasts])
        products = sum(
            surprise[:, None] * of_class
            for surprise, of_class in zip(self.surprise.T, contrasts, strict=True)
        )
        influence = np.sum(products, axis=0) / count
        number = np.unique(self.clusters, return_inverse=True)[1]
        by_cluster = csr_matrix((np.ones(len(number)), (number, np.arange(len(number)))))
        errors = np.sqrt(((by_cluster @ (products - influence)) ** 2).sum(axis=0)) / count
        moments = sum(
            self.spread[i, j] * np.einsum("nw,nw->w", contrasts[i], contrasts[j])
            for i in range(3)
            for j in range(3)
        )
        return Figures(influence, errors, np.asarray(moments) / count)


def _slope(x: FloatArray, logits: FloatArray) -> FloatArray:
    """Regress logits ``(3, n, k)`` on a location ``(n, d)``: ``(3, d, k)``."""
    return np.asarray(np.linalg.pinv(x, rcond=np.finfo(np.float64).eps * len(x)) @ logits)
