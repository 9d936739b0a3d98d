"""How long learners take that are fitted on CPU cores, by what was measured elsewhere."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble.plugin.suggestion import DataSummary, Machine

BASIS = "as 3,000 and 24,000 battles took on 2 cores of an AMD EPYC"
"""What the times that learners name were measured on."""


def cheap_minutes(
    data: DataSummary, machine: Machine, milliseconds: float, *, pretrains: bool
) -> float | None:
    """Estimate the minutes of a cheap learner, which is fitted without each pair of folds too.

    Parameters
    ----------
    data
        Rows and folds.
    machine
        Its cores fit folds side by side.
    milliseconds
        Of one core, for each row of each fit.
    pretrains
        Whether the rows of an earlier stage are learned from.

    Returns
    -------
    float or None
        None where the rows are not known yet.
    """
    if not len(data.target_ids):
        return None
    folds, target = data.n_splits, len(data.target_ids)
    external = data.train_rows + (data.pretrain_rows if pretrains else 0)
    pairs = comb(folds, 2)
    rows = target * (folds - 1 + pairs * (folds - 2) / folds) + external * (folds + pairs)
    return rows * milliseconds / 60_000 / max(1, machine.cores)
