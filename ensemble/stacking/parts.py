"""Rows of one fold alone, parted so that candidates can be scored on rows they were not fitted on.

Where learners have predicted rows of one fold in common, as with files of one fold, all logits of
these rows come from models that saw none of them. Any split of the rows by clusters is then nested
exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.folds import SourceAwareGroupKFold
from ensemble.stacking.nested import ANY_FOLDS

if TYPE_CHECKING:
    from ensemble.stacking.data import StackData

PARTS = 5


def in_parts(data: StackData, seed: int) -> StackData:
    """Part rows that all lie in one fold, by whole clusters with equal shares of labels.

    Parameters
    ----------
    data
        The rows that are scored.
    seed
        Decides among clusters of the same size.

    Returns
    -------
    StackData
        The same where there are several folds, or a single cluster.
    """
    clusters = len(np.unique(data.clusters))
    if len(np.unique(data.folds)) != 1 or clusters < 2:
        return data
    splitter = SourceAwareGroupKFold(min(PARTS, clusters), seed=seed)
    parts = splitter.assign(data.clusters, data.labels, np.asarray(data.sources))
    return replace(data, parts=parts.astype(np.int64), nested_logits={}, rules=ANY_FOLDS)
