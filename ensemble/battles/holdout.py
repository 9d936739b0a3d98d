"""The final hold-out: target rows that nothing but the last score sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.times import latest_rows
from ensemble.errors import FoldError

if TYPE_CHECKING:
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray


def choose_holdout(
    clusters: IntArray, share: float, seed: int, times: FloatArray | None = None
) -> BoolArray:
    """Choose the rows that are held out to the end.

    Parameters
    ----------
    clusters
        ``(n,)`` cluster of each target row.
    share
        Of the rows, at most; 0 chooses none.
    seed
        Decides which clusters are taken.
    times
        ``(n,)``; with times the latest rows are taken, in place of clusters drawn at random.

    Returns
    -------
    BoolArray
        ``(n,)`` mask. Without times, whole clusters.

    Raises
    ------
    FoldError
        The share is less than the smallest cluster, or than the latest time has rows.
    """
    if not share:
        return np.zeros(len(clusters), dtype=bool)
    chosen = _drawn_clusters(clusters, share, seed) if times is None else latest_rows(times, share)
    if not chosen.any():
        what = f"{_fewest(clusters)} of the smallest cluster"
        what = what if times is None else f"{_fewest(times, last=True)} of the latest time"
        raise FoldError(
            f"a hold-out of {share:.2%} of {len(clusters):,} target rows is less than the {what}",
            where="folds.holdout",
            hint="set holdout higher, or 0 for none",
        )
    return chosen


def _fewest(values: IntArray | FloatArray, *, last: bool = False) -> str:
    """Count the rows of the value with the fewest, or of the last."""
    counts = np.unique(values, return_counts=True)[1]
    rows = int(counts[-1] if last else counts.min())
    return "one row" if rows == 1 else f"{rows:,} rows"


def _drawn_clusters(clusters: IntArray, share: float, seed: int) -> BoolArray:
    """Take clusters in a random order, each that still fits."""
    numbers, sizes = np.unique(clusters, return_counts=True)
    order = np.random.default_rng([seed, len(numbers)]).permutation(len(numbers))
    room, taken = share * len(clusters), []
    for at in order:
        if sizes[at] <= room:
            room -= sizes[at]
            taken.append(numbers[at])
    return np.asarray(np.isin(clusters, taken))
