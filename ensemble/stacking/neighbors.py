"""Battles near one another by a location, in each fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

SIZES = (1, 4, 16)
"""Numbers of neighbors a fold."""
_SPARE = 4
"""Further neighbors in the own fold, for those that are of the battle's own cluster."""


class Battles(NamedTuple):
    """The battles that neighbors are sought among, one fold after the other.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions.
    folds, clusters
        ``(n,)``; folds ascend.
    asked
        Ascending indices of those whose neighbors are sought.
    threads
        CPU threads of the search.
    """

    labels: FloatArray
    folds: IntArray
    clusters: IntArray
    asked: IntArray
    threads: int


class Neighbors(NamedTuple):
    """Neighbors of the battles that are asked, in each fold.

    Parameters
    ----------
    found
        ``(n_asked, n_folds, most)`` the neighbors, nearest first; in a battle's own fold, only
        those of other clusters.
    there
        ``(n_asked, n_folds)`` how many of them there are.
    share
        ``(n_asked, n_folds)`` what the mean over a fold's neighbors counts: parts of 1 in the
        others, -1 in the own.
    """

    found: IntArray
    there: IntArray
    share: FloatArray

    @classmethod
    def of(cls, x: FloatArray, battles: Battles) -> Neighbors:
        """Find them by a location ``(n, d)``."""
        _, folds, clusters, asked, threads = battles
        slices, most = fold_slices(folds), max(SIZES)
        found = np.zeros((len(asked), len(slices), most), dtype=np.int64)
        there = np.zeros(found.shape[:2], dtype=np.int64)
        share = np.full(found.shape[:2], 1 / max(len(slices) - 1, 1))
        for number, rows in enumerate(slices):
            tree = cKDTree(x[rows])
            own = (asked >= rows.start) & (asked < rows.stop)
            # As many as in the own fold: of equally near ones, others would be found.
            near = rows.start + _nearest(tree, x[asked[~own]], most + _SPARE, threads)[:, :most]
            found[~own, number, : near.shape[1]] = near
            there[~own, number] = near.shape[1]
            near = rows.start + _nearest(tree, x[asked[own]], most + _SPARE, threads)
            same = clusters[near] == clusters[asked[own]][:, None]
            # Those of the battle's own cluster, itself among them, go to the end.
            kept = np.take_along_axis(near, np.argsort(same, axis=1, kind="stable"), axis=1)
            width = min(most, near.shape[1])
            found[own, number, :width] = kept[:, :width]
            there[own, number] = np.minimum((~same).sum(axis=1), most)
            share[own, number] = -1.0
        return cls(found, there, share)

    def compared(self, size: int, n: int) -> csr_matrix:
        """Weigh the nearest in other folds against those in the own: a sparse ``(n_asked, n)``."""
        counts = np.minimum(self.there, size)[:, :, None]
        weights = self.share[:, :, None] / np.maximum(counts, 1) * (np.arange(size) < counts)
        lines, columns = len(self.found), self.found.shape[1] * size
        ends = np.arange(lines + 1) * columns
        return csr_matrix((weights.ravel(), self.found[:, :, :size].ravel(), ends), (lines, n))


def _nearest(tree: cKDTree, points: FloatArray, count: int, threads: int) -> IntArray:
    """Find the nearest of a tree's points: ``(len(points), at most count)`` indices into it."""
    count = min(count, tree.n)
    found = tree.query(points, k=count, workers=threads)[1]
    return np.asarray(found, dtype=np.int64).reshape(len(points), count)


def fold_slices(folds: IntArray) -> list[slice]:
    """Divide ascending folds ``(n,)`` into one slice each."""
    ends = [*(np.flatnonzero(np.diff(folds)) + 1).tolist(), len(folds)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def within_folds(values: FloatArray, folds: IntArray) -> FloatArray:
    """Take the mean of each fold, which ascend, out of ``(n, ...)``: a new float64 array.

    Folds differ in class shares, and so do their models.
    """
    within = np.array(values, dtype=np.float64)
    for rows in fold_slices(folds):
        within[rows] -= within[rows].mean(axis=0)
    return within
