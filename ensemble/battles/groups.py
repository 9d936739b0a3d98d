"""Groups (clusters) assigned to parts, whole: what folds, early stopping and cross-fitting rest on.

Stored folds and fits depend on every draw here: with another one, raise ``VERSION`` of
``battles.split``, ``oof.fold_key`` and ``sources.study``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray


def assign_groups(
    loads: FloatArray, n_parts: int, seed: int, *, least_total: float = 0.0
) -> IntArray:
    """Assign groups to parts at random, so that each part has about the same share of every load.

    Greedy, largest group first: each goes where it adds least to the sum over loads of squared
    shares. No part is empty while there are as many groups as parts.

    Parameters
    ----------
    loads
        ``(n_groups, k)`` what each group holds; the first column is its number of rows, above 0.
    n_parts
        Number of parts.
    seed
        Decides among groups of the same size.
    least_total
        A load whose total is less counts as if its total were this; a load without a total does
        not count.

    Returns
    -------
    IntArray
        ``(n_groups,)`` part of each group, from 0 to ``n_parts - 1``.
    """
    totals = np.maximum(loads.sum(axis=0), least_total)
    costs = np.divide(loads, totals**2, out=np.zeros_like(loads), where=totals > 0)
    shuffled = np.random.default_rng(seed).permutation(len(loads))
    filled = np.zeros((n_parts, loads.shape[1]))
    part = np.empty(len(loads), dtype=np.int64)
    for group in shuffled[np.argsort(-loads[shuffled, 0], kind="stable")]:
        # An empty part costs 0 and any other more, since the first load counts rows.
        part[group] = np.argmin(filled @ costs[group])
        filled[part[group]] += loads[group]
    return part


def assign_by_hash(
    clusters: IntArray, n_parts: int, purpose: str, strata: IntArray | None = None
) -> IntArray:
    """Assign clusters to parts in turn, in the order of a hash: no part has two more than another.

    Parameters
    ----------
    clusters
        ``(n,)`` cluster of each row.
    n_parts
        Number of parts; with fewer clusters some are empty.
    purpose
        Another one assigns the clusters in another order.
    strata
        ``(n,)`` stratum of each row, the same in all rows of a cluster: one stratum is assigned
        after the other, so that each is spread over all parts. None takes all as one.

    Returns
    -------
    IntArray
        ``(n,)`` part of each row.
    """
    numbers, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    fractions = cluster_fractions(numbers, purpose)
    keys = (fractions,) if strata is None else (fractions, strata[first])
    part = np.empty(len(numbers), dtype=np.int64)
    part[np.lexsort(keys)] = np.arange(len(numbers)) % n_parts
    return part[inverse]


def cluster_fractions(clusters: IntArray, purpose: str) -> FloatArray:
    """Give each row a number in [0, 1) that its cluster alone decides: ``(n,)``.

    Parameters
    ----------
    clusters
        ``(n,)`` cluster of each row.
    purpose
        Another one draws the clusters in another order.
    """
    numbers, inverse = np.unique(clusters, return_inverse=True)
    digests = (hashlib.sha256(f"{purpose} {number}".encode()).digest() for number in numbers)
    fractions = [int.from_bytes(digest[:6]) / 2**48 for digest in digests]
    return np.array(fractions, dtype=np.float64)[inverse]
