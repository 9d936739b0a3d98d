"""Whether columns tell the label: values that settle it, or that it settles.

A teacher with such a column has nothing to teach: its logits are the labels, in other words. A
column tells too much where rows of one value have one label nearly always (each row is guessed from
the others that have its value, its digits aside where they number it); where the label says what
stands in it, as of ``is_tie``; where numbers below and above some place have one label each, as of
a margin; and where of two numbers the greater one is the winner's.
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

    from ensemble.plugin.base import FloatArray, IntArray

CERTAIN, SUSPICIOUS = 0.98, 0.9
"""Share of rows from which on a column is refused, and from which on it is warned of."""
FEWEST = 30
"""Rows that it takes to tell."""


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
        pl.Series("_label", winner), row_keys(battles).alias("_texts")
    )
    known = (battles["role"] == TARGET_ROLE) & ~labels.select(
        pl.any_horizontal(pl.all().is_null())
    ).to_series()
    rows = rows.filter(known).unique("_texts", keep="first", maintain_order=True)
    whole = {*((name,) for name in columns), *side_pairs(columns), tuple(columns)}
    groups = dict.fromkeys([*((n,) for n in columns), *combinations(columns, 2), tuple(columns)])
    found = [leak for g in groups if (leak := _leak(rows, g, alike=g in whole)) is not None]
    return sorted(found, key=lambda leak: (-leak.share, len(leak.columns)))


def _leak(rows: pl.DataFrame, group: tuple[str, ...], *, alike: bool) -> LabelLeak | None:
    told = [(_settles(rows, group), "settles the label of its rows")] if alike else []
    if len(group) == 1:
        unnumbered = rows.with_columns(pl.col(group).str.replace_all(r"\d+", "#"))
        told.append((_settles(unnumbered, group), "settles the label of its rows"))
        told.append((_is_settled(rows, group[0]), "is settled by the label"))
        told.append((_divides(rows, group[0]), "divides the labels at one number"))
    if len(group) == 2:
        told.append((_orders(rows, *group), "is greater on the winner's side"))
    share, what = max(told)
    return LabelLeak(group, what, share) if share >= SUSPICIOUS else None


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


def _orders(rows: pl.DataFrame, first: str, second: str) -> float:
    """Share of rows with a winner and two different numbers whose greater one is the winner's."""
    numbers = rows.select(pl.col(first, second).cast(pl.Float64, strict=False), "_label")
    apart = numbers.drop_nulls().filter((pl.col(first) != pl.col(second)) & (pl.col("_label") < 2))
    if len(apart) < FEWEST:
        return 0.0
    a_greater = (apart[first] > apart[second]) == (apart["_label"] == 0)
    share = float(a_greater.sum()) / len(apart)
    return max(share, 1 - share)


def _divides(rows: pl.DataFrame, name: str) -> float:
    """Share of rows that one number divides, by their winner or by whether there is one.

    Ties may be few: of them it is the share that is left when each mistake takes one of the fewer.
    """
    numbers = rows.select(pl.col(name).cast(pl.Float64, strict=False), "_label")
    numbers = numbers.filter(pl.col(name).is_finite()).sort(name)
    won = numbers.filter(pl.col("_label") < 2)
    winner, _ = _cut(won[name], won["_label"] == 0)
    right, fewer = _cut(numbers[name], numbers["_label"] == 2)
    return max(winner, 1 - (1 - right) / fewer if fewer else 0.0)


def _cut(numbers: pl.Series, is_one: pl.Series) -> tuple[float, float]:
    """Give the share of rows on the right side of the best number, and that of the smaller class.

    Both are 0 where there are too few rows, or hardly any of one class.
    """
    total, ones = len(is_one), int(is_one.sum())
    fewer = min(ones, total - ones)
    if total < FEWEST or fewer <= (1 - SUSPICIOUS) * total:
        return 0.0, 0.0
    values, before = numbers.to_numpy(), is_one.to_numpy().cumsum()
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    # Ones up to the end, and zeros after it.
    right = before[ends] + (total - ends - 1) - (ones - before[ends])
    return float(max(right.max(), (total - right).max()) / total), fewer / total


def _counts(rows: pl.DataFrame, group: Sequence[str]) -> IntArray:
    """Count labels by value: ``(values, 3)``."""
    told = rows.group_by(pl.struct(group).alias("_value")).agg(
        *((pl.col("_label") == y).sum().alias(str(y)) for y in range(len(LABEL_COLUMNS)))
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
