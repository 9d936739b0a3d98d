"""The rule that cuts rows from a fold's training: honesty rules 1 and 2 hang on it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.plugin.base import BoolArray


def cut_from_training(clusters: NDArray[Any], held_out: BoolArray) -> BoolArray:
    """Mark the rows that share a cluster with a held-out row, those themselves among them.

    Whatever its role, no such row may be learned from: near duplicates tell labels.

    Parameters
    ----------
    clusters
        ``(n,)`` cluster of each row.
    held_out
        ``(n,)`` mask.

    Returns
    -------
    BoolArray
        ``(n,)`` mask.
    """
    return np.asarray(np.isin(clusters, np.unique(clusters[held_out])))
