"""Whether columns tell the label: values that settle it, or that it settles.

A teacher with such a column has nothing to teach: its logits are the labels, in other words. A
column tells too much where rows of one value have one label nearly always (each row is guessed from
the others that have its value, its digits aside where they number it); where the label says what
stands in it, as of ``is_tie``; where numbers below and above some place have one label each, as of
a margin; and where of any two numbers the greater one is the winner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.feature_cache import row_keys
from ensemble.battles.schema import LABEL_COLUMNS, TARGET_ROLE
from ensemble.battles.swap import side_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]

CERTAIN, SUSPICIOUS = 0.98, 0.9
"""Share of rows from which on a column is refused, and from which on it is warned of."""
FEWEST = 30
"""Rows that it takes to tell."""
_RAREST = 10
"""Rows of the rarer class that it takes to judge numbers."""
_LABEL, _TEXTS = "_label", "prompt"
"""Names that no privileged column can have."""


@dataclass(frozen=True)
class LabelLeak:
    """A privileged column, or several, that tells the label.

    Parameters
    ----------
    columns
        Their names.
    what
        What was found, in words that the names precede.
    share
        How well it does, in [0, 1].
    """

    columns: tuple[str, ...]
    what: str
    share: float

    @property
    def is_certain(self) -> bool:
        """Whether it is refused, and not only warned of."""
        return self.share >= CERTAIN

    @property
    def sentence(self) -> str:
        """Say it."""
        names = " and ".join(f'"{name}"' for name in self.columns)
        return f"{names} {self.what} ({self.share:.1%})"


def label_leaks(
    battles: pl.DataFrame, table: pl.DataFrame, columns: Sequence[str]
) -> list[LabelLeak]:
    """Find privileged columns that tell the label of target rows.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``; rows of the same texts count once.
    table
        Of ``PrivilegedColumns``, in the same order.
    columns
        Names of those in question.
    """
    labels = battles.select(LABEL_COLUMNS)
    winner = labels.to_numpy().argmax(axis=1)
    rows = table.select(columns).with_columns(
        pl.Series(_LABEL, winner), row_keys(battles).alias(_TEXTS)
    )
    known = (battles["role"] == TARGET_ROLE) & ~labels.select(
        pl.any_horizontal(pl.all().is_null())
    ).to_series()
    rows = rows.filter(known).unique(_TEXTS, keep="first", maintain_order=True)
    groups = dict.fromkeys([*((name,) for name in columns), *side_pairs(columns), tuple(columns)])
    found = [leak for group in groups if (leak := _leak(rows, group)) is not None]
    found += _ordered_pairs(rows, columns)
    return sorted(found, key=lambda leak: (-leak.share, len(leak.columns)))


def _leak(rows: pl.DataFrame, group: tuple[str, ...]) -> LabelLeak | None:
    shares = [(_settles(rows, group), "settles the label of its rows")]
    if len(group) == 1:
        unnumbered = rows.with_columns(pl.col(group).str.replace_all(r"\d+", "#"))
        shares.append((_settles(unnumbered, group), "settles the label of its rows"))
        shares.append((_is_settled(rows, group[0]), "is settled by the label"))
        shares.append((_divides(rows, group[0]), "divides the labels at one number"))
    share, what = max(shares)
    return LabelLeak(group, what, share) if share >= SUSPICIOUS else None


def _ordered_pairs(rows: pl.DataFrame, columns: Sequence[str]) -> Iterator[LabelLeak]:
    """Find pairs of columns of numbers of which the greater one is the winner's.

    Any two: which of them are of the sides, their names need not say.
    """
    won = rows.filter(pl.col(_LABEL) < 2)
    is_a = won[_LABEL].to_numpy() == 0
    numbers = {name: _numbers(won, name) for name in columns}
    known = [name for name in columns if np.isfinite(numbers[name]).sum() >= FEWEST]
    for first, second in combinations(known, 2):
        share = _orders(numbers[first] - numbers[second], is_a)
        if share >= SUSPICIOUS:
            yield LabelLeak((first, second), "is greater on the winner's side", share)


def _numbers(rows: pl.DataFrame, name: str) -> FloatArray:
    """Read a column as numbers ``(n,)``; NaN where it has none."""
    numbers = rows[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _settles(rows: pl.DataFrame, group: Sequence[str]) -> float:
    """Share of rows whose label the others of the same values name; 0 where few have others."""
    counts = _counts(rows.drop_nulls(list(group)), group)
    counts = counts[counts.sum(axis=1) > 1]
    total = int(counts.sum())
    if total < FEWEST or _is_even(counts.sum(axis=0)):
        return 0.0
    # The others of a row of class y are one less in y: that has still to be the most.
    others = [np.delete(counts, y, axis=1).max(axis=1) for y in range(counts.shape[1])]
    right = counts - 1 > np.stack(others, axis=1)
    return float((counts * right).sum() / total)


def _is_settled(rows: pl.DataFrame, name: str) -> float:
    """Share of what a column says that the label says too: of its entropy."""
    counts = _counts(rows.drop_nulls(name), [name])
    total = counts.sum()
    values = counts.sum(axis=1) / max(total, 1)
    if total < FEWEST or np.sort(counts.sum(axis=1))[-2:].min() < FEWEST / 10 or len(counts) < 2:
        return 0.0
    own = _entropy(values)
    label = counts.sum(axis=0)
    within = [_entropy(counts[:, y] / n) * n / total for y, n in enumerate(label) if n]
    return float(1 - sum(within) / own) if own > 0 else 0.0


def _orders(difference: FloatArray, is_a: BoolArray) -> float:
    """Share of the battles of one winner, mean over both, whose greater number is the winner's.

    Two numbers that are always in one order, as a time and a length, have a share of a half.
    """
    apart = np.isfinite(difference) & (difference != 0)
    greater, is_a = difference[apart] > 0, is_a[apart]
    if min(is_a.sum(), (~is_a).sum()) < _RAREST:
        return 0.0
    share = float(greater[is_a].mean() + (~greater[~is_a]).mean()) / 2
    return max(share, 1 - share)


def _divides(rows: pl.DataFrame, name: str) -> float:
    """Say how well one number parts the battles by winner, or those with a winner from ties."""
    numbers, label = _numbers(rows, name), rows[_LABEL].to_numpy()
    has_winner = label < 2
    return max(
        _best_threshold(numbers[has_winner], label[has_winner] == 0),
        _best_threshold(numbers, ~has_winner),
    )


def _best_threshold(numbers: FloatArray, is_one: BoolArray) -> float:
    """Give the balanced accuracy of the best threshold; 0 where a class has too few rows.

    The share of each class on its own side, mean over both: random numbers have about a half,
    however rare a class is.
    """
    order = np.argsort(numbers)[: np.isfinite(numbers).sum()]  # NaN comes last
    values, is_one = numbers[order], is_one[order]
    if min(is_one.sum(), (~is_one).sum()) < _RAREST:
        return 0.0
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    ones_below = is_one.cumsum()[ends] / is_one.sum()
    others_below = (~is_one).cumsum()[ends] / (~is_one).sum()
    balanced = (ones_below + 1 - others_below) / 2
    return float(max(balanced.max(), 1 - balanced.min()))


def _counts(rows: pl.DataFrame, group: Sequence[str]) -> IntArray:
    """Count labels by value: ``(values, 3)``."""
    told = rows.group_by(pl.struct(group).alias("_value")).agg(
        *((pl.col(_LABEL) == y).sum().alias(str(y)) for y in range(len(LABEL_COLUMNS)))
    )
    return told.select("0", "1", "2").to_numpy().astype(np.int64)


def _is_even(label: IntArray) -> bool:
    """Say whether one class has nearly all rows, so that any column would seem to name it."""
    return bool(label.max() >= SUSPICIOUS * label.sum())


def _entropy(shares: FloatArray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def certain(leaks: Sequence[LabelLeak]) -> Iterator[str]:
    """Give the sentences of those that are refused."""
    yield from (leak.sentence for leak in leaks if leak.is_certain)
