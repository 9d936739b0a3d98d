"""Whole groups of battles, split into parts for early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.groups import assign_groups
from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray


def group_split(
    groups: IntArray,
    n_parts: int,
    seed: int,
    labels: FloatArray | None = None,
    eval_mask: BoolArray | None = None,
) -> IntArray:
    """Split rows into parts by whole groups, at random, about equally many rows to each part.

    Parameters
    ----------
    groups
        ``(n,)`` group of each row.
    n_parts
        Number of parts.
    seed
        Decides among groups of the same size.
    labels
        ``(n, 3)`` distributions. With them, ties too are spread about equally: a group goes where
        what it holds is fewest, and the rarer that is, the more it counts. A and B are one class
        here, since both orders are learned.
    eval_mask
        ``(n,)`` mask of the rows that the learner is evaluated on; None where all are alike.

    Returns
    -------
    IntArray
        ``(n,)`` part of each row, from 0 to ``n_parts - 1``; none is empty. -1 where the row is of
        a kind that the learner is not evaluated on.

    Raises
    ------
    LearnerError
        There are fewer groups than parts.
    """
    eval_mask = np.ones(len(groups), dtype=bool) if eval_mask is None else eval_mask
    _, group, sizes = np.unique(groups[eval_mask], return_inverse=True, return_counts=True)
    if len(sizes) < n_parts:
        raise LearnerError(
            f"{n_parts} models cannot be stopped early on {len(sizes)} groups of battles",
            hint=f"give more battles, or fewer models (n_models = {len(sizes)})",
        )
    loads = sizes[:, None].astype(np.float64)
    if labels is not None:
        ties = np.bincount(group, weights=labels[eval_mask, 2])
        loads = np.column_stack([sizes, ties, sizes - ties])
    part = np.full(len(groups), -1)
    part[eval_mask] = assign_groups(loads, n_parts, seed)[group]
    return part
