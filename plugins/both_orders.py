"""Rows for models that learn every battle in both orders, and whole groups for early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import FloatArray, IntArray, LogitArray


class Rows(NamedTuple):
    """Rows as LightGBM takes them: values ``(m, k)``, classes and weights ``(m,)``."""

    values: LogitArray
    classes: IntArray
    weight: FloatArray


def both_orders(
    matrix: FeatureMatrix, labels: FloatArray, weight: FloatArray, rows: IntArray
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
    rows
        Indices of the battles to take.
    """
    taken = matrix.take(rows)
    both = np.concatenate([labels[rows], swap_classes(labels[rows])])
    row, classes = np.nonzero(both)
    share = both[row, classes] * np.tile(weight[rows], 2)[row]
    return Rows(np.concatenate([taken.values, taken.swapped().values])[row], classes, share)


def deal_groups(groups: IntArray, n_parts: int, seed: int) -> IntArray:
    """Deal groups out, whole, at random, about equally many rows to each part.

    Parameters
    ----------
    groups
        ``(n,)`` group of each row.
    n_parts
        Number of parts.
    seed
        Seed of the order in which groups of equal size are dealt.

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
    order = np.random.default_rng(seed).permutation(len(sizes))
    part = np.empty(len(sizes), dtype=np.int64)
    filled = np.zeros(n_parts, dtype=np.int64)
    # The largest first, each to the emptiest part; the permutation decides between equals.
    for index in order[np.argsort(-sizes[order], kind="stable")]:
        emptiest = int(filled.argmin())
        part[index] = emptiest
        filled[emptiest] += sizes[index]
    return part[group]
