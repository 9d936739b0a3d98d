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
    """Rows as LightGBM takes them: values ``(m, k)``, classes and weights ``(m,)``.

    ``added`` is ``(m, 3)``, what stands beside the trees in each row's scores.
    """

    values: LogitArray
    classes: IntArray
    weight: FloatArray
    added: FloatArray


def both_orders(
    matrix: FeatureMatrix,
    labels: FloatArray,
    weight: FloatArray,
    added: FloatArray,
    rows: IntArray,
) -> Rows:
    """Take some battles in both orders, once for each class that has a share in the label.

    Parameters
    ----------
    matrix
        Features of ``n`` battles.
    labels
        ``(n, 3)`` distributions; a row enters with each class's share as its weight.
    weight
        ``(n,)`` weights of the battles.
    added
        ``(n, 3)`` what is added to the scores of the battles, as they are; its sides are exchanged
        with theirs.
    rows
        Indices of the battles to take.
    """
    taken = matrix.take(rows)
    both = _swapped_below(labels[rows])
    row, classes = np.nonzero(both)
    share = both[row, classes] * np.tile(weight[rows], 2)[row]
    values = np.concatenate([taken.values, taken.swapped().values])
    return Rows(values[row], classes, share, _swapped_below(added[rows])[row])


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
