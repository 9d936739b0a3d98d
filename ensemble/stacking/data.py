"""What a stack is fitted and scored on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ensemble.stacking.nested import ANY_FOLDS, NestingRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray, IntArray, LogitArray, MetaFeatures


@dataclass(frozen=True)
class StackData:
    """What a stack is fitted and scored on: target rows.

    Parameters
    ----------
    ids, sources
        Id and source of each of ``n`` battles.
    meta
        OOF logits of every learner, and features; NaN where a learner has not predicted a row.
    labels
        ``(n, 3)`` distributions over ``CLASSES``.
    clusters, folds
        ``(n,)`` cluster of each battle, and the fold that it is held out in.
    nested_logits
        Outer fold ``k`` to logits ``(n, n_learners, 3)`` float32. For the learners among
        ``nested_learners``, the rows of another fold ``j`` hold the logits of the model that was
        fitted without ``j`` and ``k``. All else is as in ``meta``: rows of fold ``k``, whose models
        never saw it, and the other learners. Empty where all nesting is plain.
    nested_learners
        Names of the learners whose nested logits are exact.
    seed_logits
        For learners with several seeds the OOF logits of each, ``(n_seeds, n, 3)``; their mean is
        what ``meta`` holds.
    parts
        ``(n,)`` where all rows are of one fold: the part of it that scores each row, see
        ``in_parts``. None where folds do.
    rules
        Which rows an outer fold is fitted on.
    unscored
        Ids of target rows beside these that no fold predicts; they are counted.
    """

    ids: list[str]
    sources: list[str]
    meta: MetaFeatures
    labels: FloatArray
    clusters: IntArray
    folds: IntArray
    nested_logits: Mapping[int, LogitArray] = field(default_factory=dict)
    nested_learners: tuple[str, ...] = ()
    seed_logits: Mapping[str, LogitArray] = field(default_factory=dict)
    parts: IntArray | None = None
    rules: NestingRules = ANY_FOLDS
    unscored: tuple[str, ...] = ()

    @property
    def outer(self) -> IntArray:
        """What candidates are held out by, ``(n,)``: folds, or parts of the only one."""
        return self.folds if self.parts is None else self.parts

    def fitting_meta(self, fold: int) -> MetaFeatures:
        """Give what candidates are fitted on for one outer fold; of use are its other rows alone.

        Parameters
        ----------
        fold
            The outer fold, which the candidates will be scored on.
        """
        logits = self.nested_logits.get(fold)
        return self.meta if logits is None else replace(self.meta, logits=logits)

    def take(self, rows: NDArray[np.bool_]) -> StackData:
        """Keep the rows of a mask ``(n,)``."""
        if rows.all():  # no copy of what can be most of the memory
            return self
        kept = np.flatnonzero(rows)
        return StackData(
            [self.ids[i] for i in kept],
            [self.sources[i] for i in kept],
            self.meta.take(rows),
            self.labels[rows],
            self.clusters[rows],
            self.folds[rows],
            {fold: logits[rows] for fold, logits in self.nested_logits.items()},
            self.nested_learners,
            {name: logits[:, rows] for name, logits in self.seed_logits.items()},
            None if self.parts is None else self.parts[rows],
            self.rules,
        )
