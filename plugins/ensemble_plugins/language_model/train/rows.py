"""Battles to learn from, in one order or both, and those of them that early stopping looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.swap import stack_orders
from ensemble.errors import LearnerError
from ensemble_plugins.group_split import group_split
from ensemble_plugins.language_model.model.batches import aligned
from ensemble_plugins.language_model.text.tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble_plugins.language_model.settings import TrainingSettings

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    LogitArray = NDArray[np.float32]


@dataclass(frozen=True)
class LabeledRows:
    """Battles to learn from.

    Parameters
    ----------
    orders
        Token ids of ``n`` battles as they are, and if wanted with A and B exchanged.
    labels
        ``(n, 3)`` distributions.
    weight
        ``(n,)`` positive weights.
    groups
        ``(n,)`` groups that early stopping keeps whole.
    teacher
        ``(n, 3)`` logits to distil from, or None.
    offset
        ``(n, 3)``, added to the logits in training alone, or None.
    eval_mask
        ``(n,)`` mask of the rows that early stopping may look at; None lets it look at all.
    """

    orders: tuple[Tokens, ...]
    labels: FloatArray
    weight: FloatArray
    groups: IntArray
    teacher: LogitArray | None = None
    offset: FloatArray | None = None
    eval_mask: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: IntArray) -> LabeledRows:
        """Keep some battles."""
        return LabeledRows(
            tuple(tokens.take(rows) for tokens in self.orders),
            self.labels[rows],
            self.weight[rows],
            self.groups[rows],
            None if self.teacher is None else self.teacher[rows],
            None if self.offset is None else self.offset[rows],
            None if self.eval_mask is None else self.eval_mask[rows],
        )


@dataclass(frozen=True)
class Items:
    """What is computed: every battle in each of its orders.

    Parameters
    ----------
    tokens
        ``orders * n`` rows: all battles in the first order, then all in the second.
    labels, weight, teacher, offset
        Of each row, its classes exchanged where its sides are.
    orders
        1 or 2.
    """

    tokens: Tokens
    labels: FloatArray
    weight: FloatArray
    teacher: LogitArray | None
    offset: FloatArray | None
    orders: int

    @classmethod
    def of(cls, rows: LabeledRows) -> Items:
        """Lay the orders of battles one below the other; weights are scaled to a mean of 1."""
        orders = len(rows.orders)
        return cls(
            Tokens.concatenate(rows.orders),
            stack_orders(rows.labels, orders),
            np.tile(rows.weight / rows.weight.mean(), orders),
            None if rows.teacher is None else stack_orders(rows.teacher, orders),
            None if rows.offset is None else stack_orders(rows.offset, orders),
            orders,
        )

    def battle_lengths(self, multiple: int) -> IntArray:
        """Give the tokens of each battle in all its orders, each rounded up: ``(n,)``."""
        lengths = aligned(self.tokens.lengths, multiple).reshape(self.orders, -1)
        return np.asarray(lengths.sum(axis=0), dtype=np.int64)

    def of_battles(self, battles: IntArray) -> IntArray:
        """Give the items of some battles."""
        count = len(self.tokens) // self.orders
        return np.concatenate([battles + order * count for order in range(self.orders)])


def holdout_split(
    rows: LabeledRows, settings: TrainingSettings, seed: int
) -> tuple[LabeledRows, LabeledRows | None]:
    """Part the rows that early stopping looks at from those that are learned, by whole groups.

    Returns
    -------
    tuple
        Rows to learn, and about ``validation_fraction`` of those that may be looked at to stop by;
        None without early stopping. What shares a group with the latter is not learned.

    Raises
    ------
    LearnerError
        All rows that may be looked at are of one group.
    """
    if not settings.early_stopping:
        return rows, None
    eval_mask = np.ones(len(rows), dtype=bool) if rows.eval_mask is None else rows.eval_mask
    n_groups = len(np.unique(rows.groups[eval_mask]))
    if n_groups < 2:
        raise LearnerError(
            "early stopping needs battles of two groups or more: all are of one",
            hint="give more battles, or set early_stopping = false to train all epochs",
        )
    n_parts = min(round(1 / settings.validation_fraction), n_groups)
    parts = group_split(rows.groups, n_parts, seed, eval_mask=eval_mask)
    stops = np.flatnonzero(parts == _part_of_most_groups(parts[eval_mask], rows.groups[eval_mask]))
    learned = ~np.isin(rows.groups, rows.groups[stops])
    return rows.take(np.flatnonzero(learned)), rows.take(stops)


def _part_of_most_groups(parts: IntArray, groups: IntArray) -> int:
    """Choose a part: the battles of one large group, together, tell little."""
    _, firsts = np.unique(groups, return_index=True)
    return int(np.bincount(parts[firsts]).argmax())
