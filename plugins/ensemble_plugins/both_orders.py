"""Rows for models that learn every battle in both orders, and whole groups for early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, LogitArray


class Rows(NamedTuple):
    """Battles in both orders, the exchanged ones below: ``2 n`` rows.

    Parameters
    ----------
    values
        ``(2 n, k)`` float32.
    labels
        ``(2 n, 3)`` distributions.
    weight
        ``(2 n,)``.
    start
        ``(2 n, 3)`` scores to begin with.
    """

    values: LogitArray
    labels: FloatArray
    weight: FloatArray
    start: FloatArray


def both_orders(
    matrix: FeatureMatrix, labels: FloatArray, weight: FloatArray, start: FloatArray
) -> Rows:
    """Take battles in both orders.

    Parameters
    ----------
    matrix
        Features of ``n`` battles.
    labels
        ``(n, 3)`` distributions.
    weight
        ``(n,)`` weights of the battles.
    start
        ``(n, 3)`` scores of the battles as they are; their sides are exchanged with the battles'.
    """
    values = np.concatenate([matrix.values, matrix.swapped().values])
    return Rows(values, _swapped_below(labels), np.tile(weight, 2), _swapped_below(start))


def _swapped_below(values: FloatArray) -> FloatArray:
    return np.concatenate([values, swap_classes(values)])


def deal_watched(
    groups: IntArray,
    n_parts: int,
    seed: int,
    labels: FloatArray,
    judged: BoolArray | None = None,
) -> IntArray:
    """Deal the rows that early stopping may look at into parts, by whole groups.

    Parameters
    ----------
    groups, n_parts, seed, labels
        As ``deal_groups`` takes them.
    judged
        ``(n,)`` mask of the rows that the learner is judged on; None where all are alike.

    Returns
    -------
    ``(n,)`` part of each row; -1 where it is of a kind that the learner is not judged on.
    """
    if judged is None:
        return deal_groups(groups, n_parts, seed, labels)
    part = np.full(len(groups), -1)
    part[judged] = deal_groups(groups[judged], n_parts, seed, labels[judged])
    return part


def deal_groups(
    groups: IntArray, n_parts: int, seed: int, labels: FloatArray | None = None
) -> IntArray:
    """Deal groups out, whole, at random, about equally many rows to each part.

    Parameters
    ----------
    groups
        ``(n,)`` group of each row.
    n_parts
        Number of parts.
    seed
        Seed of the order in which groups of equal size are dealt.
    labels
        ``(n, 3)`` distributions. With them, ties too are spread about equally: a group goes where
        what it holds is fewest, and the rarer that is, the more it counts. A and B are one class
        here, since both orders are learned.

    Returns
    -------
    ``(n,)`` part of each row, from 0 to ``n_parts - 1``; none is empty.

    Raises
    ------
    LearnerError
        There are fewer groups than parts.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < n_parts:
        raise LearnerError(
            f"{n_parts} models cannot be stopped early on {len(sizes)} groups of battles",
            mend=f"give more battles, or fewer models (n_models = {len(sizes)})",
        )
    loads = sizes[:, None].astype(np.float64)
    if labels is not None:
        ties = np.bincount(group, weights=labels[:, 2])
        loads = np.column_stack([sizes, ties, sizes - ties])
    totals = loads.sum(axis=0)
    prices = np.divide(loads, totals**2, out=np.zeros_like(loads), where=totals > 0)
    order = np.random.default_rng(seed).permutation(len(sizes))
    part = np.empty(len(sizes), dtype=np.int64)
    filled = np.zeros((n_parts, loads.shape[1]))
    # The largest first; the permutation decides between equals. An empty part costs nothing.
    for index in order[np.argsort(-sizes[order], kind="stable")]:
        cheapest = int((filled @ prices[index]).argmin())
        part[index] = cheapest
        filled[cheapest] += loads[index]
    return part[group]
